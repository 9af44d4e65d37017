"""The backend that runs tasks on the workers of a Dask cluster."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Self, TypeVar

from dvl_core.errors import InvalidOptionError, MissingDependencyError
from dvl_core.flights import hand_out
from dvl_core.scheduling import Dispatch, recommended_task_seconds
from dvl_dask.flight import Box, DaskFlight
from dvl_dask.local import local_client
from dvl_dask.places import Places, checked_resources

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["DaskBackend"]

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")

COSTS = Dispatch(submit=2.9e-3, receive=2.9e-3, latency=6e-3, worker=2e-3, reserve=1, cancels=True)
"""What a task costs, measured on one machine (docs/scaling.md)."""


class DaskBackend:
    """Run tasks through a client of `distributed`.

    What tasks share is sent to every worker once; workers that come later get it from the others.
    Twice as many tasks as can run at the same time are on their way, six times as many where an
    adaptive cluster is to grow; tasks of a few milliseconds travel together. Workers need the
    packages that the tasks use, and nothing from the files of this machine.

    A task whose worker dies is tried again elsewhere, as often as the scheduler allows
    (``distributed.scheduler.allowed-failures``); what the cluster loses, because all workers that
    held it died or the scheduler was restarted, is sent again. After that comes `WorkerError`.

    Parameters
    ----------
    client : distributed.Client or str, optional
        The client, or the address of a scheduler. None: the current client of this process; if
        there is none, a cluster on this machine with a process for each core, which lasts as long
        as the backend. (Scripts that start processes need ``if __name__ == "__main__":``.)
    n_jobs : int, optional
        How many tasks to run at the same time: fewer than the cluster could, or, where it grows
        with what it has to do, as many as it should grow to. None or -1: as many as it can run.
    resources : mapping, optional
        What a task takes of the resources that workers declare, such as ``{"GPU": 1}``.
    retries : int
        How often in a row to send again what the cluster has lost.
    worker_timeout : float
        Seconds to wait for a worker that can take a task.

    Raises
    ------
    InvalidOptionError
        If `client` is neither a client nor an address, or a client that is asynchronous, or another
        option is out of its range.

    Examples
    --------
    >>> with local_client(1, processes=False) as client:
    ...     list(DaskBackend(client).map(pow, 2, [1, 2, 3]))
    [2, 4, 8]
    """

    def __init__(
        self,
        client: Client | str | None = None,
        *,
        n_jobs: int | None = None,
        resources: Mapping[str, float] | None = None,
        retries: int = 1,
        worker_timeout: float = 300.0,
    ) -> None:
        if not (client is None or isinstance(client, str)):
            _check_client(client)
        if n_jobs is not None and n_jobs != -1 and n_jobs < 1:
            raise InvalidOptionError(
                f"n_jobs must be a number of tasks, or -1 for as many as can run, got {n_jobs!r}"
            )
        if retries < 0:
            raise InvalidOptionError(f"retries must be 0 or more, got {retries!r}")
        if not worker_timeout > 0:
            raise InvalidOptionError(
                f"worker_timeout must be positive seconds, got {worker_timeout!r}"
            )
        self.n_jobs = None if n_jobs == -1 else n_jobs
        self.resources = checked_resources(resources)
        self.retries = retries
        self.worker_timeout = worker_timeout
        self._given = client
        self._own: Client | None = None
        self._last_places: Places | None = None

    @property
    def client(self) -> Client:
        """The client in use."""
        if self._own is not None and self._own.status != "closed":
            return self._own
        if self._given is None:
            return self._start()
        if isinstance(self._given, str):
            try:
                return self._owned(_client_class()(self._given, set_as_default=False))
            except (OSError, ValueError) as error:
                raise InvalidOptionError(
                    f"no Dask scheduler answers at {self._given}: {error}"
                ) from error
        if self._given.status == "closed":
            raise InvalidOptionError("the client of the backend is closed: give it another one")
        return self._given

    @property
    def n_workers(self) -> int:
        """How many tasks run at the same time; at least 1, also while there are no workers."""
        return self._places().demand(self.n_jobs).n_workers

    @property
    def task_seconds(self) -> float:
        """What makes the cost of handing over two percent of the workers' time."""
        return recommended_task_seconds(COSTS, self.n_workers)

    def map(self, function: Callable[[S, T], R], shared: S, tasks: Iterable[T]) -> Iterator[R]:
        """Yield ``function(shared, task)`` in the order of `tasks`; closing it cancels the rest.

        Raises
        ------
        WorkerError
            If a task took too many workers with it, or the cluster lost all that was under way too
            often in a row. The backend works on.
        InvalidOptionError
            If none of the workers can ever take a task.
        DvlError
            If no worker comes in time.
        """
        places = self._places()
        flight = DaskFlight(places, Box((function, shared)), self.retries)
        yield from hand_out(flight, tasks, lambda: places.demand(self.n_jobs))

    def close(self) -> None:
        """Close the cluster or connection that the backend made itself; safe to call twice."""
        if self._own is not None:
            self._finalizer()
            self._own = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'' if self._given is None else repr(self._given)})"

    def _start(self) -> Client:
        """Return a client where none was given: the current one, or one that this backend owns."""
        try:
            return _client_class().current()
        except ValueError:
            return self._owned(local_client(self.n_jobs))

    def _owned(self, client: Client) -> Client:
        """Return `client`, which will be closed when this backend is no longer used."""
        self._own = client
        self._finalizer = weakref.finalize(self, _close, client)
        return client

    def _places(self) -> Places:
        """Return where tasks can run; it remembers whether they ever could."""
        client = self.client
        if self._last_places is None or self._last_places.client is not client:
            self._last_places = Places(client, self.resources, self.worker_timeout)
        return self._last_places


def _close(client: Client) -> None:
    """Close a client and the cluster that was made for it."""
    cluster = client.cluster
    client.close()
    if cluster is not None:
        cluster.close()


def _client_class() -> type[Client]:
    """Return the class of clients."""
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"the backend dask needs the package {error.name}: pip install distributed"
        ) from error
    return Client


def _check_client(client: object) -> None:
    """Refuse what is no client, or one that cannot be waited for."""
    if not isinstance(client, _client_class()):
        raise InvalidOptionError(
            f"client is a {type(client).__name__}: it must be a distributed.Client, the address "
            "of a scheduler, or None"
        )
    if client.asynchronous:
        raise InvalidOptionError(
            "the client is asynchronous: use one that was made without asynchronous=True"
        )
