"""Groups of tasks that are under way on a cluster, in their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dvl_core.grouping import GROUP_SECONDS, GroupDone, group_size
from dvl_ray.calls import Call, Calls
from dvl_ray.worker import Stored

__all__ = ["RayFlight"]


class _Sent(NamedTuple):
    """A group of tasks, and the call that runs them."""

    tasks: list[Any]
    call: Call


@dataclass
class RayFlight:
    """The groups of tasks of one map; see `dvl_core.flights.Flight`.

    Parameters
    ----------
    calls : Calls
        Of `run_tasks`.
    function : callable
        What runs a task.
    shared : object
        What all tasks share; stored with the function when the first task is sent.
    """

    calls: Calls
    function: Callable[[Any, Any], Any]
    shared: Any
    _context: Stored | None = field(default=None, init=False)
    _sent: deque[_Sent] = field(default_factory=deque, init=False)
    _task_seconds: float = field(default=GROUP_SECONDS, init=False)

    def __len__(self) -> int:
        """Return the number of groups."""
        return len(self._sent)

    @property
    def n_running(self) -> int:
        """Groups that have not ended."""
        return sum(not sent.call.done for sent in self._sent)

    @property
    def is_ready(self) -> bool:
        """Whether the first group has ended."""
        return self._sent[0].call.done

    @property
    def group_size(self) -> int:
        """How many tasks to send together, by the time that the last ones took."""
        return group_size(self._task_seconds)

    def send(self, groups: Iterable[list[Any]]) -> None:
        """Send groups of tasks, after those that are there."""
        self._sent.extend(self._started(tasks) for tasks in groups)

    def wait(self) -> None:
        """Wait until a group ends, or for about a second."""
        self.calls.wait([sent.call for sent in self._sent])

    def results(self) -> list[Any]:
        """Take the results that are there, in order.

        Raises
        ------
        WorkerError
            If the first group was lost with its worker in each of its tries.
        Exception
            That of the first task, if it failed.
        """
        taken: list[Any] = []
        while self._sent and self.is_ready and not (taken and self._sent[0].call.failed):
            done: GroupDone = self.calls.result(self._sent[0].call)
            tasks, _ = self._sent.popleft()
            taken += done.results
            self._task_seconds = done.task_seconds
            if len(done.results) < len(tasks):
                self._sent.appendleft(self._started(tasks[len(done.results) :]))
        return taken

    def cancel(self) -> None:
        """Cancel the groups that have not begun."""
        self.calls.cancel(sent.call for sent in self._sent)
        self._sent.clear()

    def _started(self, tasks: list[Any]) -> _Sent:
        """Send a group of tasks, and what they share unless it is there."""
        if self._context is None:
            self._context = self.calls.store((self.function, self.shared))
        return _Sent(tasks, self.calls.start(self._context, tasks))
