"""The backend that runs tasks on the workers of a Dask cluster."""

from __future__ import annotations

import itertools
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Self, TypeVar

from dvl_core.errors import InvalidOptionError
from dvl_dask.local import local_client

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Box", "DaskBackend"]

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")


class Box:
    """Holds an object that Dask should neither look into nor take for a task of its own."""

    __slots__ = ("content",)

    def __init__(self, content: Any) -> None:
        self.content = content


class DaskBackend:
    """Run tasks through a client of `distributed`.

    What tasks share is sent to every worker once; workers that come later get it from the others.
    Twice as many tasks as there are threads are on their way at the same time. Workers need the
    packages that the tasks use, and nothing from the files of this machine.

    Parameters
    ----------
    client : distributed.Client or str, optional
        The client, or the address of a scheduler. None: the current client of this process; if
        there is none, a cluster on this machine with a process for each core, which lasts as long
        as the backend. (Scripts that start processes need ``if __name__ == "__main__":``.)

    Raises
    ------
    InvalidOptionError
        If it is neither a client nor an address, or a client that is asynchronous.

    Examples
    --------
    >>> with local_client(1, processes=False) as client:
    ...     list(DaskBackend(client).map(pow, 2, [1, 2, 3]))
    [2, 4, 8]
    """

    def __init__(self, client: Client | str | None = None) -> None:
        if not (client is None or isinstance(client, str)):
            from distributed import Client

            if not isinstance(client, Client):
                raise InvalidOptionError(
                    f"client is a {type(client).__name__}: it must be a distributed.Client, the "
                    "address of a scheduler, or None"
                )
            if client.asynchronous:
                raise InvalidOptionError(
                    "the client is asynchronous: use one that was made without asynchronous=True"
                )
        self._given = client
        self._own: Client | None = None

    @property
    def client(self) -> Client:
        """The client in use."""
        if self._own is not None:
            return self._own
        if self._given is None:
            from distributed import Client

            try:
                return Client.current()
            except ValueError:
                self._own = self._closed_with_this(local_client())
                return self._own
        if isinstance(self._given, str):
            from distributed import Client

            self._own = self._closed_with_this(Client(self._given, set_as_default=False))
            return self._own
        return self._given

    @property
    def n_workers(self) -> int:
        """How many tasks run at the same time: the threads of all workers."""
        return max(1, sum(self.client.nthreads().values()))

    @property
    def task_seconds(self) -> float:
        """The scheduler takes some milliseconds for a task; this makes that about a percent."""
        return 0.5

    def map(self, function: Callable[[S, T], R], shared: S, tasks: Iterable[T]) -> Iterator[R]:
        """Yield ``function(shared, task)`` in the order of `tasks`; closing it cancels the rest."""
        client = self.client
        remaining = iter(tasks)
        ahead = 2 * self.n_workers
        # Not hashed: equal objects must not share a name that one map may cancel under the other.
        context = client.scatter(Box((function, shared)), broadcast=True, hash=False)
        pending: deque[Any] = deque()

        def submit(number: int) -> None:
            for task in itertools.islice(remaining, number):
                pending.append(client.submit(_run, context, Box(task), pure=False))

        try:
            submit(ahead)
            while pending:
                result = pending[0].result()
                pending.popleft()
                submit(1)
                yield result
        finally:
            if pending:
                client.cancel(list(pending))

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

    def _closed_with_this(self, client: Client) -> Client:
        """Return `client`, which will be closed when this backend is no longer used."""
        self._finalizer = weakref.finalize(self, client.close)
        return client


def _run(context: Box, task: Box) -> Any:
    """Run a task; on a worker."""
    function, shared = context.content
    return function(shared, task.content)
