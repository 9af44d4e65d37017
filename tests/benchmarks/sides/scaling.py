"""Backends with real processes: two workers over one, a task's overhead, the time after a stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvl_core import JoblibBackend, engine
from dvl_core.games import FunctionGame
from dvl_core.protocols import Backend
from dvl_core.samplers import MatchedSampler
from dvl_core.semivalues import ShapleySemivalue
from dvl_core.stopping import Progress, StoppingRule, Verdict
from sides.quantities import serve

N_PLAYERS = 8
REPEATS = 3


@contextmanager
def loky(n_workers: int) -> Iterator[Backend]:
    """Yield a backend of joblib's processes; they end at the end."""
    from joblib.externals.loky import get_reusable_executor

    yield JoblibBackend(n_workers, "loky")
    get_reusable_executor().shutdown(wait=True, kill_workers=True)


def dask(n_workers: int) -> AbstractContextManager[Backend]:
    """Return a backend on a Dask cluster of this machine."""
    from dvl_dask import DaskBackend, local_client

    @contextmanager
    def opened() -> Iterator[Backend]:
        with local_client(n_workers) as client:
            yield DaskBackend(client)

    return opened()


def ray(n_workers: int) -> AbstractContextManager[Backend]:
    """Return a backend on a Ray cluster of this machine."""
    from dvl_ray import RayBackend

    return RayBackend(n_jobs=n_workers)


BACKENDS: dict[str, tuple[str, Callable[[int], AbstractContextManager[Backend]]]] = {
    "loky": ("joblib", loky),
    "Dask": ("dvl_dask", dask),
    "Ray": ("dvl_ray", ray),
}
"""What each backend needs, and what opens it with so many workers."""


def installed() -> dict[str, Callable[[int], AbstractContextManager[Backend]]]:
    """Return the backends that can be opened here."""
    return {name: opened for name, (module, opened) in BACKENDS.items() if find_spec(module)}


def burn(seconds: float, _: int = 0) -> None:
    """Keep a core busy for so much processor time, which is no matter of how fast it is."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        for _ in range(1000):
            pass


def nothing(_: None, number: int) -> int:
    """Return a number."""
    return number


def seconds_of(backend: Backend, function: Any, shared: Any, tasks: Iterable[int]) -> float:
    """Return how long a map takes, whose results are as many as its tasks."""
    start = time.perf_counter()
    for _ in backend.map(function, shared, tasks):
        pass
    return time.perf_counter() - start


def sleeping(coalitions: NDArray[np.bool_]) -> NDArray[np.float64]:
    """A game whose every batch takes about as long: 0.4 to 0.6 s, as its first coalition says."""
    time.sleep(0.4 + 0.2 * float(coalitions[0].mean()))
    values: NDArray[np.float64] = coalitions.sum(axis=1).astype(float)
    return values


@dataclass
class Stopwatch(StoppingRule):
    """Stops after some blocks, and notes when."""

    blocks: int
    seconds: list[float] = field(default_factory=list)

    def __deepcopy__(self, _: Any) -> Stopwatch:
        return self

    def check(self, progress: Progress) -> Verdict:
        """Return whether enough blocks are folded."""
        done = progress.n_blocks >= self.blocks
        if done:
            self.seconds.append(time.perf_counter())
        nobody = np.zeros(N_PLAYERS, dtype=bool)
        return Verdict(done, "enough blocks", nobody, progress.n_blocks / self.blocks)


@dataclass(frozen=True)
class Watched:
    """A backend that notes how long tasks take in the workers."""

    backend: Backend
    seconds: list[float] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def map(self, function: Any, shared: Any, tasks: Iterable[Any]) -> Iterator[Any]:
        """Pass results on."""
        results = self.backend.map(function, shared, tasks)
        try:
            for result in results:
                # What all blocks need is evaluated before, and not timed.
                self.seconds.append(getattr(result, "seconds", 0.0))
                yield result
        finally:
            results.close()  # type: ignore[attr-defined]


def after_a_stop(backend: Backend, blocks: int) -> float:
    """Return the time from a stop to the end of the run, in times of the longest task."""
    rule, watched = Stopwatch(blocks), Watched(backend)
    engine.run(
        MatchedSampler().design(N_PLAYERS, ShapleySemivalue()),
        FunctionGame(N_PLAYERS, sleeping, fingerprint="sleeping"),
        seed=blocks,
        stopping=rule,
        backend=watched,
    )
    return (time.perf_counter() - rule.seconds[0]) / max(watched.seconds)


def median(measured: Callable[[], float]) -> float:
    """Return the median of some measurements."""
    return float(np.median([measured() for _ in range(REPEATS)]))


def burn_often(seconds: float, times: int) -> None:
    """Keep a core busy some times."""
    for _ in range(times):
        burn(seconds)


def bare(seconds: float, tasks: int, n_processes: int) -> float:
    """Return how long processes take for their shares of tasks, with nothing to hand out."""
    with ProcessPoolExecutor(n_processes) as pool:

        def took() -> float:
            start = time.perf_counter()
            list(
                pool.map(burn_often, [seconds] * n_processes, [tasks // n_processes] * n_processes)
            )
            return time.perf_counter() - start

        took()
        return median(took)


def measure(size: Mapping[str, float], _: Path) -> dict[str, float]:
    """Return what there is to measure of each backend that is installed."""
    task, tasks = size["task_seconds"], int(size["tasks"])
    empty, stops = int(size["empty_tasks"]), int(size["stops"])
    found = {"bare processes: two": bare(task, tasks, 1) / bare(task, tasks, 2)}
    for name, opened in installed().items():
        seconds = {}
        for n_workers in (1, 2):
            with opened(n_workers) as backend:
                seconds_of(backend, nothing, None, range(20))
                seconds[n_workers] = median(
                    partial(seconds_of, backend, burn, task, range(tasks)),
                )
                if n_workers == 2:
                    overhead = seconds_of(backend, nothing, None, range(empty)) / empty
                    found[f"{name}: overhead of a task"] = 1000 * overhead
                    found[f"{name}: end after a stop"] = max(
                        after_a_stop(backend, blocks) for blocks in range(3, 3 + stops)
                    )
        found[f"{name}: two workers"] = seconds[1] / seconds[2]
    return found


if __name__ == "__main__":
    serve(measure, ["dvl-core", "joblib", *(p for p in ("distributed", "ray") if find_spec(p))])
