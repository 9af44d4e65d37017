"""What handing out tasks costs on backends, and how busy workers are: measured and predicted.

``python -m sides.scaling_model FILE`` writes the figures of docs/scaling.md.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
from results import machine

from dvl_core.grouping import group_size
from dvl_core.protocols import Backend
from dvl_core.scheduling import Dispatch, simulate
from sides.common import versions_of
from sides.scaling import installed, nothing, seconds_of

LENGTHS = (0.002, 0.01, 0.05, 0.2)
SECONDS_A_RUN = 2.0
EMPTY_TASKS = 2000
SINGLE_TASKS = 100
ALONE = 0.012
"""Seconds of a task that travels alone: shorter ones share a message on Dask and Ray."""
LONG, LONG_TASKS = 0.1, 40
"""Seconds of a task, not one of `LENGTHS`, and how many there are."""
POLICIES = {
    "loky": Dispatch(),
    "Dask": Dispatch(reserve=1, cancels=True),
    "Ray": Dispatch(reserve=1, cancels=True),
}
"""How many tasks each has out; what they cost is measured."""


class Stamp(NamedTuple):
    """Which process ran a task, from when to when by the clock of the machine."""

    process: int
    start: float
    end: float


def sleep(seconds: float, _: int) -> Stamp:
    """Sleep, and say when."""
    start = time.perf_counter()
    time.sleep(seconds)
    return Stamp(os.getpid(), start, time.perf_counter())


@dataclass
class Trace:
    """When tasks were handed out, ran and came back."""

    handed: list[float]
    stamps: list[Stamp]
    back: list[float]

    @classmethod
    def of(cls, backend: Backend, seconds: float, n: int) -> Trace:
        """Run some tasks."""
        handed: list[float] = []

        def tasks() -> Iterator[int]:
            for number in range(n):
                handed.append(time.perf_counter())
                yield number

        stamps, back = [], []
        for stamp in backend.map(sleep, seconds, tasks()):
            stamps.append(Stamp(*stamp))
            back.append(time.perf_counter())
        return cls(handed, stamps, back)

    @property
    def lengths(self) -> Any:
        """Seconds that tasks took [n]."""
        return np.array([stamp.end - stamp.start for stamp in self.stamps])

    def efficiency(self, n_workers: int) -> float:
        """Return the share of the workers' time that went into tasks."""
        return float(self.lengths.sum() / (n_workers * (self.back[-1] - self.handed[0])))

    @property
    def gaps(self) -> list[float]:
        """Seconds between the end of a task and the start of the next in the same process."""
        found = []
        last: dict[int, float] = {}
        for stamp in sorted(self.stamps, key=lambda stamp: stamp.start):
            if stamp.process in last:
                found.append(stamp.start - last[stamp.process])
            last[stamp.process] = stamp.end
        return found


def worker_seconds(numbers: set[int]) -> float:
    """Return the processor seconds so far of some processes."""
    return sum(sum(psutil.Process(number).cpu_times()[:2]) for number in numbers)


def costs(backend: Backend, policy: Dispatch) -> tuple[Dispatch, float]:
    """Return what a message with a task costs, and the seconds of an empty task among many."""
    workers = {stamp.process for stamp in Trace.of(backend, ALONE, SINGLE_TASKS).stamps}
    before, start = worker_seconds(workers), time.process_time()
    Trace.of(backend, ALONE, 3 * SINGLE_TASKS)
    # All threads of this process together.
    driver = (time.process_time() - start) / (3 * SINGLE_TASKS)
    worker = (worker_seconds(workers) - before) / (3 * SINGLE_TASKS)
    apart = seconds_of(backend, nothing, None, range(EMPTY_TASKS)) / EMPTY_TASKS
    if policy.reserve:
        # The next task waits at the worker, which does other things at the same time.
        worker = float(np.median(Trace.of(backend, LONG, LONG_TASKS).gaps))
        ways = []
        for _ in range(SINGLE_TASKS):
            trace = Trace.of(backend, ALONE, 1)
            there = trace.stamps[0].start - trace.handed[0]
            ways.append(there + trace.back[0] - trace.stamps[0].end)
    else:
        # Nothing waits at a worker: between two tasks a message goes there and one comes back.
        ways = Trace.of(backend, ALONE, SINGLE_TASKS).gaps
    latency = max(0.0, float(np.median(ways)) - driver - worker) / 2
    measured = replace(
        policy, submit=driver / 2, receive=driver / 2, latency=latency, worker=worker
    )
    return measured, apart


def main() -> None:
    """Measure all backends that are installed, with one and two workers."""
    found: dict[str, Any] = {}
    for name, opened in installed().items():
        rows: list[dict[str, float]] = []
        # One worker of joblib is this process, which hands out nothing.
        for n_workers in (2,) if name == "loky" else (2, 1):
            with opened(n_workers) as backend:
                if n_workers == 2:
                    dispatch, apart = costs(backend, POLICIES[name])
                for length in LENGTHS:
                    n = round(SECONDS_A_RUN * n_workers / length)
                    Trace.of(backend, length, 10)
                    trace = Trace.of(backend, length, n)
                    together = group_size(length) if dispatch.reserve else 1
                    starts = np.arange(0, n, together)
                    messages = np.add.reduceat(trace.lengths, starts)
                    predicted = simulate(messages, n_workers, dispatch).efficiency
                    rows.append(
                        {
                            "workers": n_workers,
                            "length": length,
                            "measured": trace.efficiency(n_workers),
                            "predicted": predicted,
                            "gap": float(np.median(trace.gaps)),
                        }
                    )
                    print(name, rows[-1], file=sys.stderr)
        found[name] = {
            "costs": {
                part: getattr(dispatch, part)
                for part in ("submit", "receive", "latency", "worker", "reserve", "in_order")
            },
            "apart": apart,
            "rows": rows,
        }
        print(name, found[name]["costs"], apart, file=sys.stderr)
    packages = ["joblib", "distributed", "ray"]
    outputs = {"backends": found, "machine": machine(), "versions": versions_of(packages)}
    Path(sys.argv[1]).write_text(json.dumps(outputs, indent=2) + "\n")


if __name__ == "__main__":
    main()
