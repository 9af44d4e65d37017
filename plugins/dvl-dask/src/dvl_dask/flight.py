"""Tasks that are under way on a cluster, and what is done when it loses them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

from dvl_core.errors import DvlError, WorkerError
from dvl_core.grouping import GROUP_SECONDS, GroupDone, group_size, run_group
from dvl_dask.places import Places

if TYPE_CHECKING:
    from distributed import Future

__all__ = ["Box", "DaskFlight"]

T = TypeVar("T")

SECONDS_TO_WAIT = 1.0
"""How long to wait for a result before looking whether there are workers."""


class Box:
    """Holds an object that Dask should neither look into nor take for a task of its own."""

    __slots__ = ("content",)

    def __init__(self, content: Any) -> None:
        self.content = content


class _Sent(NamedTuple):
    """Tasks of one group, and the promise of their results; None if the cluster did not take it."""

    tasks: list[Any]
    future: Future[GroupDone] | None


class _LostError(Exception):
    """The cluster dropped what it was given."""


@dataclass
class DaskFlight:
    """The tasks of one map that are under way, in their order; see `dvl_core.flights.Flight`.

    What they share is sent ahead, to every worker. If it is lost with the last worker that had it,
    Dask drops the tasks that need it: all are then sent again.

    Parameters
    ----------
    places : Places
        Where tasks can run.
    shared : Box
        The function and the object that all tasks share.
    retries : int
        How often in a row to send again what was lost.
    """

    places: Places
    shared: Box
    retries: int
    _context: Future[Any] | None = field(default=None, init=False)
    _sent: deque[_Sent] = field(default_factory=deque, init=False)
    _losses: int = field(default=0, init=False)
    _task_seconds: float = field(default=GROUP_SECONDS, init=False)
    _without_worker_since: float | None = field(default=None, init=False)

    def __len__(self) -> int:
        """Return the number of groups."""
        return len(self._sent)

    @property
    def n_running(self) -> int:
        """Groups that have not ended."""
        return len(self._pending())

    @property
    def is_ready(self) -> bool:
        """Whether the first group has ended, or was not taken by the cluster."""
        first = self._sent[0].future
        return first is None or bool(first.done())

    @property
    def group_size(self) -> int:
        """How many tasks to send together, by the time that the last ones took."""
        return group_size(self._task_seconds)

    def send(self, groups: Iterable[list[Any]]) -> None:
        """Send groups of tasks, after those under way; losses are left for `results` to find.

        Raises
        ------
        InvalidOptionError
            If no worker can ever take a task.
        DvlError
            If no worker comes in time.
        """
        new = list(groups)
        if new:
            self._sent.extend(self._sent_now(new))

    def wait(self) -> None:
        """Wait until a group ends in whatever way, or for about a second.

        Raises
        ------
        DvlError
            If there has been no worker for too long.
        """
        from distributed import CancelledError, wait

        pending = self._pending()
        if not pending:
            return
        try:
            # What was cancelled has ended, too.
            with self.places.client.as_current(), suppress(CancelledError):
                wait(pending, timeout=SECONDS_TO_WAIT, return_when="FIRST_COMPLETED")
        except TimeoutError:
            self._look_for_workers()
        else:
            self._without_worker_since = None

    def results(self) -> list[Any]:
        """Take the results that are there, in order; none if all had to be sent again.

        Raises
        ------
        WorkerError
            If the first task was lost, and sent again as often as may be.
        Exception
            That of the first task, if it failed.
        """
        try:
            found = self._gather()
        except _LostError as error:
            self._send_again(error)
            return []
        self._losses = 0
        return self._taken(found)

    def cancel(self) -> None:
        """Forget all that is under way; a task that has started ends by itself."""
        futures = [sent.future for sent in self._sent if sent.future is not None]
        self._sent.clear()
        self._context = None
        if futures:
            # Where the cluster is gone there is nothing to cancel.
            with suppress(Exception):
                self.places.client.cancel(futures)

    def _sent_now(self, groups: list[list[Any]]) -> list[_Sent]:
        """Send groups of tasks, and what they share unless it is there."""
        boxes = [Box(tasks) for tasks in groups]
        try:
            context = self._context or _unless_lost(self._scatter)
            futures = _unless_lost(
                lambda: self.places.client.map(
                    _run, [context] * len(boxes), boxes, pure=False, resources=self.places.resources
                )
            )
        except _LostError:
            futures = [None] * len(groups)
        return [_Sent(*pair) for pair in zip(groups, futures, strict=True)]

    def _taken(self, found: list[GroupDone]) -> list[Any]:
        """Return the results of the first groups, which are no longer under way."""
        taken: list[Any] = []
        for done in found:
            tasks, _ = self._sent.popleft()
            taken += done.results
            self._task_seconds = done.task_seconds
            if len(done.results) < len(tasks):
                # What was not done comes first; results of later groups are taken when it is there.
                self._sent.extendleft(self._sent_now([tasks[len(done.results) :]]))
                break
        return taken

    def _scatter(self) -> Future[Any]:
        """Send what all tasks share to every worker that can run one."""
        workers = self.places.wait()
        try:
            # Not hashed: equal objects must not share a name that one map may cancel under another.
            self._context = self.places.client.scatter(
                self.shared, workers=workers, broadcast=True, hash=False
            )
        except Exception as error:
            # What goes wrong at a worker that is just leaving comes as an error of no kind, or as a
            # missing key; what is wrong with the object comes as itself.
            if type(error) in (Exception, KeyError, RuntimeError):
                raise _LostError(f"a worker left while it was sent data: {error}") from error
            raise
        return self._context

    def _gather(self) -> list[GroupDone]:
        """Return what is there of the groups, in order, at least one."""
        first = self._sent[0].future
        if first is None:
            raise _LostError("it was out of reach")
        ready = []
        for _, future in self._sent:
            if future is None or future.status != "finished":
                break
            ready.append(future)
        if ready:
            found: list[GroupDone] = _unless_lost(lambda: self.places.client.gather(ready))
            return found
        if first.status == "error":
            _raise_error_of(first)
        raise _LostError(str(first.status))

    def _pending(self) -> list[Future[GroupDone]]:
        """Return the futures that have not ended."""
        return [f for _, f in self._sent if f is not None and not f.done()]

    def _look_for_workers(self) -> None:
        """Give up if there has been no worker for too long."""
        if self.places.exist():
            self._without_worker_since = None
            return
        now = time.monotonic()
        self._without_worker_since = self._without_worker_since or now
        if now - self._without_worker_since > self.places.worker_timeout:
            raise self.places.no_worker()

    def _send_again(self, error: _LostError) -> None:
        """Send all that is under way again, or give up."""
        groups = [sent.tasks for sent in self._sent]
        self.cancel()
        if self._losses == self.retries:
            number = sum(map(len, groups))
            raise WorkerError(
                f"the Dask cluster lost {number} tasks with their workers ({error})"
            ) from error
        self._losses += 1
        self.send(groups)


def _unless_lost(call: Callable[[], T]) -> T:
    """Return what a request to the cluster returns; what workers and network do to it is a loss."""
    from distributed import CancelledError, KilledWorker
    from distributed.client import ClosedClientError

    try:
        return call()
    except DvlError:
        # Some of ours are errors of the system, too.
        raise
    except (CancelledError, KilledWorker, ClosedClientError, OSError) as error:
        raise _LostError(f"{type(error).__name__}: {error}") from error


def _raise_error_of(future: Future[Any]) -> NoReturn:
    """Raise what a task raised, or say that it took its workers with it."""
    from distributed import KilledWorker

    try:
        future.result()
    except KilledWorker as error:
        raise WorkerError(f"a task was lost with its workers: {error}") from error
    raise AssertionError("a task that failed has a result")


def _run(context: Box, group: Box) -> GroupDone:
    """Run a group of tasks; on a worker."""
    function, shared = context.content
    return run_group(function, shared, group.content)
