"""What ``joblib.parallel_config("ray")`` stands for.

A thread here waits for each batch of calls that runs there. Unlike Ray's own adapter it hands out
results one by one, and an argument that comes again travels once.
"""

from __future__ import annotations

import contextlib
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from joblib.parallel import BatchedCalls, ThreadingBackend

from dvl_ray.worker import run_batch

if TYPE_CHECKING:
    from dvl_ray.backend import RayBackend
    from dvl_ray.calls import Call, Calls

__all__ = ["RayJoblibBackend"]

_SMALL = (type(None), bool, int, float, str, range)


class RayJoblibBackend(ThreadingBackend):  # type: ignore[misc]
    """Run joblib's calls on a Ray cluster.

    Parameters
    ----------
    nesting_level, inner_max_num_threads
        As joblib gives them.
    **options
        Of `RayBackend`, all but `n_jobs`, which joblib takes.
    """

    default_n_jobs = -1
    supports_sharedmem = False
    uses_threads = False

    def __init__(
        self,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(nesting_level, inner_max_num_threads)
        self._options = options
        self._ray: RayBackend | None = None
        self._calls: Calls | None = None
        self._lock = threading.Lock()
        self._seen: dict[int, list[Any]] = {}
        self._under_way: list[Call] = []

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return how many calls run at the same time."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 has no meaning")
        from dvl_ray.backend import RayBackend

        # A cluster that is started is as large as what is asked for first.
        given = n_jobs if n_jobs is not None and n_jobs > 0 else None
        if self._ray is None:
            self._ray = RayBackend(n_jobs=given, **self._options)
        room = self._ray.n_workers
        if given is not None:
            return min(given, room)
        return max(1, room + 1 + (-1 if n_jobs is None else n_jobs))

    def configure(self, n_jobs: int = 1, parallel: Any = None, **keywords: Any) -> int:
        """Prepare for calls; return how many run at the same time."""
        workers: int = super().configure(n_jobs, parallel, **keywords)
        assert self._ray is not None
        self._calls = self._ray.calls(run_batch)
        return workers

    def submit(self, func: Any, callback: Any = None) -> Any:
        """Start a batch of calls."""
        return super().submit(partial(self._run, self._calls, self._packed(func)), callback)

    def stop_call(self) -> None:
        """Let go of the arguments of the calls."""
        with self._lock:
            self._seen.clear()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Cancel what has not begun."""
        with self._lock:
            under_way = list(self._under_way)
        if self._calls is not None:
            self._calls.cancel(under_way)
        super().abort_everything(ensure_ready)

    def _run(self, calls: Calls, batch: Any) -> Any:
        """Run a batch there and wait for it; in a thread of its own."""
        with self._lock:
            call = calls.start(batch)
            self._under_way.append(call)
        try:
            return calls.result(call)
        finally:
            with self._lock, contextlib.suppress(ValueError):
                self._under_way.remove(call)

    def _packed(self, batch: Any) -> Any:
        """Return a batch with arguments that were in the one before replaced by references."""
        items = [
            (function, [self._stored(i, a) for i, a in enumerate(arguments)], keywords)
            for function, arguments, keywords in batch.items
        ]
        return BatchedCalls(items, (batch._backend, batch._n_jobs))

    def _stored(self, position: int, argument: Any) -> Any:
        """Return an argument, or what stands for it if it is the same object as last time."""
        if isinstance(argument, _SMALL):
            return argument
        with self._lock:
            seen = self._seen.get(position)
            if seen is None or seen[0] is not argument:
                self._seen[position] = [argument, None]
                return argument
            if seen[1] is None:
                assert self._calls is not None
                seen[1] = self._calls.store(argument)
            return seen[1]
