"""Calls of a function on a cluster: retries, time-outs, and failures as the errors of dvl."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from dvl_core.errors import InvalidOptionError, WorkerError
from dvl_ray.capacity import describe, rooms
from dvl_ray.session import Session
from dvl_ray.worker import Stored

__all__ = ["Call", "Calls", "RemoteError"]

SECONDS_TO_WAIT = 1.0
"""How long to wait for a call before who waits can look around."""
SECONDS_BETWEEN_LOOKS = 10.0
"""Also the time that a result has to be transferred in."""
SECONDS_WITHOUT_ANSWER = 15.0
"""With the looks, less than the minute after which Ray ends a process whose cluster is gone."""


class RemoteError(Exception):
    """The traceback on the worker, as the cause of an exception that was raised there."""


@dataclass(eq=False)
class Call:
    """A call that is under way, or has ended with a value or an error."""

    arguments: tuple[Any, ...]
    reference: Any
    tries: int = 1
    done: bool = False
    value: Any = None
    error: BaseException | None = None
    cause: BaseException | None = None

    @property
    def failed(self) -> bool:
        """Whether it ended with an error."""
        return self.error is not None

    def fail(self, error: BaseException, cause: BaseException) -> None:
        """End with an error."""
        self.done, self.error, self.cause = True, error, cause


@dataclass
class Calls:
    """Calls of one function, all with the same demands.

    Parameters
    ----------
    session : Session
        The connection.
    function : callable
        What is called, on a worker.
    request : mapping of str to float
        Resources that a call asks for.
    max_retries : int
        How often a call is made again whose worker died.
    wait_seconds : float
        How long to wait for a node that has what a call asks for.
    runtime_env : dict, optional
        The environment of the calls.
    """

    session: Session
    function: Callable[..., Any]
    request: dict[str, float]
    max_retries: int
    wait_seconds: float
    runtime_env: dict[str, Any] | None = None
    room: int = field(default=0, init=False)
    """How many calls the cluster has room for, as far as is known."""
    _silent_since: float | None = field(default=None, init=False)
    _no_room_since: float | None = field(default=None, init=False)
    _next_look: float = field(default=0.0, init=False)
    _next_glance: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        import ray

        resources = dict(self.request)
        options: dict[str, Any] = {
            "num_cpus": resources.pop("CPU"),
            "num_gpus": resources.pop("GPU", 0.0),
            # Tried again here and not by Ray, which would do so for ever if memory runs out.
            "max_retries": 0,
        }
        if "memory" in resources:
            options["memory"] = int(resources.pop("memory"))
        if self.runtime_env is not None:
            options["runtime_env"] = self.runtime_env
        try:
            self._remote = ray.remote(resources=resources, **options)(self.function)
        except (TypeError, ValueError) as error:
            raise InvalidOptionError(f"Ray refuses what tasks ask for: {error}") from error
        self._look_for_room()

    def store(self, thing: Any) -> Stored:
        """Put an object into the object store, for as long as what is returned exists."""
        import ray

        return Stored(ray.put(thing))

    def start(self, *arguments: Any) -> Call:
        """Make a call."""
        return Call(arguments, self._remote.remote(*arguments))

    def wait(self, calls: Iterable[Call]) -> None:
        """Wait until one of the calls that are under way ends, or for about a second.

        Calls whose worker died are made again, if they may be, as soon as that is known.

        Raises
        ------
        WorkerError
            If the cluster is gone.
        InvalidOptionError
            If no node can run a call.
        """
        import ray
        from ray.exceptions import RayError

        self._look_around()
        self._look_for_death()
        under_way = {call.reference: call for call in calls if not call.done}
        try:
            # Fetched afterwards, with more time: Ray begins a transfer anew when it is asked again.
            look = partial(ray.wait, fetch_local=False)
            ended, rest = look(list(under_way), timeout=SECONDS_TO_WAIT)
            if ended and rest:
                ended += look(rest, num_returns=len(rest), timeout=0)[0]
        except (RayError, ConnectionError) as error:
            raise WorkerError(f"the Ray cluster does not answer: {error}") from error
        for reference in ended:
            self._collect(under_way[reference])

    def result(self, call: Call) -> Any:
        """Wait for a call and return its result, once.

        Raises
        ------
        WorkerError
            If the worker died in each of the tries, or the cluster is gone.
        Exception
            What the function raised.
        """
        while not call.done:
            self.wait([call])
        if call.error is None:
            return call.value
        # Raised where nothing refers to it: in a cycle it would keep all that its traceback knows,
        # backend and cluster included.
        error, cause = call.error, call.cause
        call.error = call.cause = None
        try:
            raise error from cause
        finally:
            del error, cause

    def cancel(self, calls: Iterable[Call]) -> None:
        """Cancel the calls that wait for room; those that run end by themselves.

        To cancel a call that is just about to end ends this process: a check in Ray fails.
        """
        import ray

        under_way = [call.reference for call in calls if not call.done]
        # They may have ended, or the cluster be gone.
        with contextlib.suppress(Exception):
            if under_way and self.session.is_open:
                look = partial(ray.wait, num_returns=len(under_way), fetch_local=False)
                for reference in look(under_way, timeout=0)[1][self.room :]:
                    ray.cancel(reference)

    def _collect(self, call: Call) -> None:
        """Take what came of a call that has ended, or make it again."""
        import ray
        from ray.exceptions import (
            GetTimeoutError,
            LocalRayletDiedError,
            RayError,
            RayTaskError,
            RuntimeEnvSetupError,
            TaskCancelledError,
        )

        try:
            call.value = ray.get(call.reference, timeout=SECONDS_BETWEEN_LOOKS)
            call.done = True
        except RayTaskError as error:
            call.fail(error.cause, RemoteError(str(error)))
        except GetTimeoutError:
            # Its transfer goes on, and it is asked for again.
            return
        except RuntimeEnvSetupError as error:
            call.fail(InvalidOptionError(f"runtime_env cannot be set up: {error}"), error)
        except TaskCancelledError as error:
            call.fail(WorkerError("a task on Ray was cancelled"), error)
        except LocalRayletDiedError as error:
            self.session.end()
            raise WorkerError("the part of Ray that runs on this machine died") from error
        except (RayError, ConnectionError) as error:
            if call.tries > self.max_retries or not self.session.answers:
                call.fail(WorkerError(_account(error, call.tries)), error)
                return
            call.reference = self._remote.remote(*call.arguments)
            call.tries += 1

    def _look_around(self) -> None:
        """Find out, now and then, whether the cluster is there; workers live on without it."""
        if not self.session.is_open:
            raise WorkerError("the connection to the Ray cluster was closed during a run")
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + SECONDS_BETWEEN_LOOKS
        if self.session.answers:
            self._silent_since = None
            self._look_for_room()
            return
        self._silent_since = self._silent_since or now
        if now - self._silent_since > SECONDS_WITHOUT_ANSWER:
            self.session.end()
            raise WorkerError(
                f"the Ray cluster at {self.session.connection[0]} has not answered for "
                f"{SECONDS_WITHOUT_ANSWER:g} s"
            )

    def _look_for_death(self) -> None:
        """Find out, once a second, whether a cluster that was started here has died.

        Ray notices after a quarter of a minute or more, and may then end this process.
        """
        now = time.monotonic()
        if now < self._next_glance:
            return
        self._next_glance = now + SECONDS_TO_WAIT
        if self.session.has_died:
            self.session.end()
            raise WorkerError("the Ray cluster that was started on this machine died")

    def _look_for_room(self) -> None:
        """Refuse what no node can run, instead of waiting for ever."""
        if self._silent_since is not None:
            return
        now = time.monotonic()
        nodes = self.session.nodes()
        self.room = rooms(nodes, self.request)
        if self.room:
            self._no_room_since = None
            return
        self._no_room_since = self._no_room_since or now
        if now - self._no_room_since >= self.wait_seconds:
            there = [
                describe({name: node["Resources"].get(name, 0.0) for name in self.request})
                for node in nodes
            ]
            raise InvalidOptionError(
                f"a task asks for {describe(self.request)}, which no node of the Ray cluster has "
                f"(they have {'; '.join(there)}); if the cluster will grow, set wait_seconds"
            )


def _account(error: Exception, tries: int) -> str:
    """Return what is known of a loss."""
    first = str(error).strip().split("\n", 1)[0]
    times = "once" if tries == 1 else f"{tries} times"
    return f"a task was tried {times} on Ray and lost: {type(error).__name__}: {first}"
