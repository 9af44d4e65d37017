"""The backend that hands tasks to joblib: processes, threads, or what the context names."""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import joblib

from dvl_core import registry
from dvl_core.backends.serial import SerialBackend
from dvl_core.errors import UnknownComponentError, WorkerError
from dvl_core.orphans import begin_with_parent
from dvl_core.protocols import Backend
from dvl_core.scheduling import Dispatch, recommended_task_seconds

__all__ = ["JoblibBackend", "default_backend"]

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")

PROCESSES = Dispatch(submit=9e-4, receive=9e-4, latency=5e-4, worker=2.3e-3)
"""What a task costs with loky, measured on one machine (docs/scaling.md); threads cost less."""


@dataclass(frozen=True)
class JoblibBackend:
    """Run tasks through `joblib.Parallel`.

    Parameters
    ----------
    n_jobs : int, optional
        Number of workers, -1 for one per core; None: as the active ``joblib.parallel_config`` says.
    backend : str, optional
        "loky" (processes), "threading", or another name that joblib knows; None: that of the active
        ``joblib.parallel_config``, which is loky if there is none.

    Examples
    --------
    >>> with joblib.parallel_config("threading", n_jobs=2):
    ...     list(JoblibBackend().map(pow, 2, [1, 2, 3]))
    [2, 4, 8]
    """

    n_jobs: int | None = None
    backend: str | None = None

    @property
    def n_workers(self) -> int:
        """How many tasks run at the same time."""
        return int(joblib.effective_n_jobs(self.n_jobs))

    @property
    def task_seconds(self) -> float:
        """What makes the cost of handing over two percent of the workers' time."""
        return recommended_task_seconds(PROCESSES, self.n_workers)

    def map(self, function: Callable[[S, T], R], shared: S, tasks: Iterable[T]) -> Iterator[R]:
        """Yield ``function(shared, task)`` in the order of `tasks`; closing it cancels the rest.

        Closing waits for the tasks that run: workers that are left to finish can serve the next
        run.
        """
        cluster = self._cluster()
        if cluster is not None:
            yield from cluster.map(function, shared, tasks)
            return
        switch = _Switch(function)
        call = joblib.delayed(switch)
        if not self._streams():
            yield from self._in_rounds(call, shared, tasks)
            return
        parallel = joblib.Parallel(
            n_jobs=self.n_jobs,
            backend=self.backend,
            return_as="generator",
            batch_size=1,
            # A task in reserve for each worker would spare a millisecond of every task, and cost
            # the length of a task at every stop.
            pre_dispatch="n_jobs",
            **self._options(),
        )
        results = parallel(call(shared, task) for task in switch.until_off(tasks))
        try:
            with _deaths_told():
                # The chain keeps `yield from` from closing joblib's generator before it is
                # silenced.
                yield from itertools.chain(results)
        except GeneratorExit:
            switch.off = True
            # Nobody wants to know what comes of these, failures included.
            with suppress(Exception):
                for _ in results:
                    pass
            raise
        finally:
            # Stopping early is what this is for: joblib need not advise against it.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                results.close()

    def _joblib_backend(self) -> Any:
        """Return the active backend of joblib, or the class of one that is named instead."""
        active, _ = joblib.parallel.get_active_backend()
        named = joblib.parallel.BACKENDS.get(self.backend) if self.backend else None
        return active if named in (None, type(active)) else named

    def _cluster(self) -> Backend | None:
        """Return the backend of dvl-dask, if joblib would hand the tasks to Dask; or None.

        Joblib waits for ever for a task that has taken its workers with it.
        """
        there = self._joblib_backend()
        if _kind(there) != "DaskDistributedBackend":
            return None
        try:
            backend = registry.get("backend", "dask")
        except UnknownComponentError:
            return None
        found: Backend = backend(getattr(there, "client", None), n_jobs=self.n_workers)
        return found

    def _options(self) -> dict[str, Any]:
        """Return what only loky knows: workers end with this process before their first task, too.

        A worker that waits for a task when this process is killed would wait for five minutes.
        """
        if _kind(self._joblib_backend()) != "LokyBackend":
            return {}
        return {"initializer": begin_with_parent, "initargs": (os.getpid(),)}

    def _streams(self) -> bool:
        """Whether the joblib backend can hand out results one by one."""
        return bool(getattr(self._joblib_backend(), "supports_return_generator", False))

    def _in_rounds(self, call: Any, shared: S, tasks: Iterable[T]) -> Iterator[R]:
        """Yield results in rounds of two tasks per worker, for backends that cannot stream."""
        remaining = iter(tasks)
        with joblib.Parallel(n_jobs=self.n_jobs, backend=self.backend, batch_size=1) as parallel:
            while chunk := list(itertools.islice(remaining, 2 * self.n_workers)):
                with _deaths_told():
                    results = parallel(call(shared, task) for task in chunk)
                yield from results


def _kind(backend: Any) -> str:
    """Return the name of the class of a backend of joblib, or of the class itself."""
    return (backend if isinstance(backend, type) else type(backend)).__name__


@dataclass(eq=False)
class _Switch(Generic[S, T, R]):
    """A function that can be switched off.

    Joblib takes tasks in batches, and starts what it has taken even after the last of them was
    asked for: these do nothing, wherever they are when it happens.

    Parameters
    ----------
    function : callable
        What is called as long as it is on.
    """

    function: Callable[[S, T], R]
    off: bool = False

    def __call__(self, shared: S, task: T) -> R | None:
        return None if self.off else self.function(shared, task)

    def until_off(self, tasks: Iterable[T]) -> Iterator[T]:
        """Yield tasks as long as it is on."""
        for task in tasks:
            if self.off:
                return
            yield task


@contextmanager
def _deaths_told() -> Iterator[None]:
    """Turn what joblib raises when a worker process dies into `WorkerError`."""
    try:
        yield
    except BrokenExecutor as error:
        raise WorkerError(
            "a worker process died: it was killed, ran out of memory, or crashed"
        ) from error


def default_backend() -> Backend:
    """Return what a run without a backend uses: joblib if its active context has workers."""
    backend = JoblibBackend()
    return backend if backend.n_workers > 1 else SerialBackend()
