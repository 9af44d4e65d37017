"""The backend that runs tasks on a Ray cluster."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Self, TypeVar

import joblib

from dvl_core.errors import InvalidOptionError
from dvl_core.flights import Demand, hand_out
from dvl_core.options import Described
from dvl_core.scheduling import Dispatch, recommended_task_seconds
from dvl_ray.calls import Calls
from dvl_ray.capacity import rooms
from dvl_ray.flight import RayFlight
from dvl_ray.session import Session, join
from dvl_ray.worker import run_tasks

__all__ = ["RayBackend"]

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")

COSTS = Dispatch(submit=1e-3, receive=1e-3, latency=3.6e-3, worker=5e-3, reserve=1, cancels=True)
"""What a task costs, measured on one machine (docs/scaling.md)."""


class RayBackend(Described):
    """Run tasks on a Ray cluster.

    What tasks share is put into the object store once for each run, and the arrays in it are used
    from there by all workers of a machine, read-only. Twice as many tasks as fit into the cluster
    are on their way at the same time, and those of a few milliseconds travel together. Workers need
    the packages that the tasks use.

    A connection of this process to Ray that exists is used and left alone. Otherwise one is opened
    at the first use and closed with this backend: by `close`, at the end of a ``with``, when
    nothing refers to the backend any more, or when Python ends. A cluster that was started for it
    ends at the same time; it listens on the loopback interface only.

    Parameters
    ----------
    address : str, optional
        Cluster to connect to: ``"host:port"``, ``"ray://host:port"``, ``"auto"`` for the one that
        runs on this machine, ``"local"`` for a new one on this machine. None: the one that this
        process is connected to; else the one that the environment variable ``RAY_ADDRESS`` names;
        else a new one.
    n_jobs : int, optional
        Most tasks at the same time, and the size of a new cluster; -1: one for each core. None: all
        for which the cluster has room.
    num_cpus : float
        CPUs that a task asks for.
    num_gpus : float
        GPUs that a task asks for. Ray starts a process for each such task.
    memory : float, optional
        Bytes of main memory that a task asks for.
    resources : mapping of str to float, optional
        What else a task asks for, by the names that the cluster gives it.
    max_retries : int
        How often a task is tried again whose worker died.
    runtime_env : mapping, optional
        Ray's description of the environment of the workers.
    wait_seconds : float
        How long to wait for a node that has what a task asks for, in clusters that grow.

    Raises
    ------
    InvalidOptionError
        If an option has no meaning; at the first use if no cluster answers at the address, or no
        node has what a task asks for.
    MissingDependencyError
        At the first use, if Ray is not installed.

    Examples
    --------
    >>> with RayBackend(n_jobs=1) as backend:  # doctest: +SKIP
    ...     list(backend.map(pow, 2, [1, 2, 3]))
    [2, 4, 8]
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        n_jobs: int | None = None,
        num_cpus: float = 1.0,
        num_gpus: float = 0.0,
        memory: float | None = None,
        resources: Mapping[str, float] | None = None,
        max_retries: int = 1,
        runtime_env: Mapping[str, Any] | None = None,
        wait_seconds: float = 0.0,
    ) -> None:
        if n_jobs is not None and n_jobs != -1 and n_jobs < 1:
            raise InvalidOptionError(f"n_jobs must be a number of workers or -1, got {n_jobs}")
        if max_retries < 0 or wait_seconds < 0:
            raise InvalidOptionError("max_retries and wait_seconds must not be negative")
        self.address = address
        self.n_jobs = n_jobs
        self.num_cpus = num_cpus
        self.num_gpus = num_gpus
        self.memory = memory
        self.resources = None if resources is None else dict(resources)
        self.max_retries = max_retries
        self.runtime_env = None if runtime_env is None else dict(runtime_env)
        self.wait_seconds = wait_seconds
        self._request = {"CPU": num_cpus, "GPU": num_gpus, **(resources or {})}
        if memory is not None:
            self._request["memory"] = memory
        for name, amount in self._request.items():
            if not 0 <= amount < math.inf or (amount > 1 and amount != int(amount)):
                raise InvalidOptionError(
                    f"a task can ask for a share of a {name} or a whole number, not for {amount}"
                )
        self._session: Session | None = None
        self._end: Callable[[], Any] | None = None

    @property
    def n_workers(self) -> int:
        """How many tasks run at the same time: as many as there is room for, or `n_jobs`."""
        return max(1, min(self._room(), self._limit))

    @property
    def task_seconds(self) -> float:
        """What makes the cost of handing over two percent of the workers' time.

        One with a GPU costs the start of a process, with imports and a context on the GPU.
        """
        return 60.0 if self.num_gpus else recommended_task_seconds(COSTS, self.n_workers)

    def map(self, function: Callable[[S, T], R], shared: S, tasks: Iterable[T]) -> Iterator[R]:
        """Yield ``function(shared, task)`` in the order of `tasks`; closing it cancels the rest."""
        calls = self.calls(run_tasks)
        yield from hand_out(
            RayFlight(calls, function, shared), tasks, lambda: self._demand(calls.room)
        )

    def calls(self, function: Callable[..., Any]) -> Calls:
        """Return what calls `function` on the cluster, each call with the demands of a task."""
        session = self._joined()
        # What a connection was opened with holds for all its tasks.
        own = None if self.runtime_env == session.runtime_env else self.runtime_env
        return Calls(session, function, self._request, self.max_retries, self.wait_seconds, own)

    def close(self) -> None:
        """End what was opened for this backend; safe to call twice, and a later use opens anew."""
        if self._end is not None:
            self._end()
        self._session = self._end = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def _limit(self) -> float:
        """The most tasks at the same time."""
        if self.n_jobs is None:
            return math.inf
        return joblib.cpu_count() if self.n_jobs == -1 else self.n_jobs

    def _demand(self, room: int) -> Demand:
        """Return how many tasks to run where there is room for so many, and to have under way."""
        room, limit = max(1, room), self._limit
        if limit < room:
            # Nothing in reserve: other workers would take it.
            return Demand(int(limit), int(limit))
        return Demand(room, 2 * room)

    def _room(self) -> int:
        """Return how many tasks the cluster has room for now."""
        return rooms(self._joined().nodes(), self._request)

    def _joined(self) -> Session:
        """Return the connection; opened at the first use, and again if it was lost."""
        if self._session is None or not (self._session.is_open and self._session.answers):
            self.close()
            tasks = joblib.cpu_count() if self._limit == math.inf else self._limit
            # A task that asks for more than the machine has is refused, not made possible.
            share = self.num_cpus if self.n_jobs not in (None, -1) else 1.0
            cpus = max(1, math.ceil(tasks * (share or 1.0)))
            self._session, opened = join(self.address, cpus, self.runtime_env)
            if opened:
                self._end = weakref.finalize(self, self._session.end)
        return self._session
