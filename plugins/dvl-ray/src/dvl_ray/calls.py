"""Calls of a function on a cluster: retries, time-outs, and failures as the errors of dvl."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from dvl_core.errors import InvalidOptionError, WorkerError
from dvl_ray.capacity import describe, rooms
from dvl_ray.session import Session
from dvl_ray.worker import Stored

__all__ = ["Call", "Calls", "RemoteError"]

SECONDS_BETWEEN_LOOKS = 10.0
"""Ray begins the transfer of a large result anew when it is asked for it again."""
SECONDS_WITHOUT_ANSWER = 15.0
"""With the looks, less than the minute after which Ray ends a process whose cluster is gone."""


class RemoteError(Exception):
    """The traceback on the worker, as the cause of an exception that was raised there."""


@dataclass(eq=False)
class Call:
    """A call that is under way."""

    arguments: tuple[Any, ...]
    reference: Any
    tries: int = 1


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
    _silent_since: float | None = field(default=None, init=False)
    _no_room_since: float | None = field(default=None, init=False)
    _next_look: float = field(default=0.0, init=False)

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

    def result(self, call: Call) -> Any:
        """Wait for a call and return its result.

        Raises
        ------
        WorkerError
            If the worker died in each of the tries, or the cluster is gone.
        Exception
            What the function raised.
        """
        import ray
        from ray.exceptions import (
            GetTimeoutError,
            LocalRayletDiedError,
            RayError,
            RayTaskError,
            RuntimeEnvSetupError,
            TaskCancelledError,
        )

        while True:
            self._look_around()
            try:
                return ray.get(call.reference, timeout=SECONDS_BETWEEN_LOOKS)
            except RayTaskError as error:
                raised, account = error.cause, str(error)
                break
            except GetTimeoutError:
                self._look_for_room()
            except RuntimeEnvSetupError as error:
                raise InvalidOptionError(f"runtime_env cannot be set up: {error}") from error
            except TaskCancelledError as error:
                raise WorkerError("a task on Ray was cancelled") from error
            except LocalRayletDiedError as error:
                self.session.end()
                raise WorkerError("the part of Ray that runs on this machine died") from error
            except (RayError, ConnectionError) as error:
                if call.tries > self.max_retries or not self.session.answers:
                    raise WorkerError(_account(error, call.tries)) from error
                call.reference = self._remote.remote(*call.arguments)
                call.tries += 1
        # Raised where nothing refers to it: in a cycle it would keep all that its traceback knows,
        # backend and cluster included.
        try:
            raise raised from RemoteError(account)
        finally:
            del raised

    def cancel(self, calls: Iterable[Call]) -> None:
        """Cancel the calls that have not begun."""
        import ray

        for call in calls:
            # They may have ended, or the cluster be gone.
            with contextlib.suppress(Exception):
                if self.session.is_open:
                    ray.cancel(call.reference)

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
            return
        self._silent_since = self._silent_since or now
        if now - self._silent_since > SECONDS_WITHOUT_ANSWER:
            self.session.end()
            raise WorkerError(
                f"the Ray cluster at {self.session.connection[0]} has not answered for "
                f"{SECONDS_WITHOUT_ANSWER:g} s"
            )

    def _look_for_room(self) -> None:
        """Refuse what no node can run, instead of waiting for ever."""
        if self._silent_since is not None:
            return
        now = time.monotonic()
        nodes = self.session.nodes()
        if rooms(nodes, self.request):
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
