"""How busy workers are: a model of handing out tasks, simulated, and bounds in closed form.

One process hands out all tasks and folds all results, one after the other. A task goes to the
first worker that is free, and its result comes back at any time, but is folded in the order of the
tasks. From what that costs follows how long tasks must be, and how many blocks make one.

The bounds are those of operational analysis (Denning and Buzen, 1978, "The operational analysis of
queueing network models", ACM Computing Surveys 10): they hold whatever the lengths of tasks are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush, heapreplace
from typing import TYPE_CHECKING

import numpy as np

from dvl_core.errors import InvalidOptionError
from dvl_core.tasks import TASKS_OUT_PER_WORKER

if TYPE_CHECKING:
    from dvl_core.protocols import FloatArray

__all__ = [
    "LENGTHS",
    "Dispatch",
    "Schedule",
    "efficiency_bound",
    "recommended_task_seconds",
    "simulate",
]


@dataclass(frozen=True, slots=True)
class Dispatch:
    """How a backend hands out tasks, and what a task costs beyond its own work.

    Parameters
    ----------
    submit, receive : float
        Seconds of the process that hands out tasks: to send one, and to take its result.
    latency : float
        Seconds that a message is under way, there and back each. A worker that has a task in
        reserve notices nothing of it.
    worker : float
        Seconds of the worker.
    result_bytes, bandwidth : float
        Size of a result, and bytes a second that the process that hands out takes in.
    reserve : float
        Tasks out for each worker, beyond the one that it runs.
    in_order : bool
        Whether a task counts as out until it is folded, or only until its result is there: a long
        task keeps those after it from being folded.
    cancels : bool
        Whether tasks that have not started are cancelled at a stop, or run for nothing.
    """

    submit: float = 0.0
    receive: float = 0.0
    latency: float = 0.0
    worker: float = 0.0
    result_bytes: float = 0.0
    bandwidth: float = math.inf
    reserve: float = 0.0
    in_order: bool = False
    cancels: bool = False

    @property
    def driver(self) -> float:
        """Seconds a task of the process that hands out: nothing of it happens in parallel."""
        return self.submit + self.receive + self.result_bytes / self.bandwidth

    @property
    def round_trip(self) -> float:
        """Seconds that a task of no length takes if nothing else is under way."""
        return self.driver + self.worker + 2 * self.latency

    def out(self, n_workers: int) -> int:
        """Return how many tasks are out at the same time, at the most."""
        return n_workers + round(self.reserve * n_workers)


@dataclass(frozen=True, slots=True)
class Schedule:
    """What came of handing out tasks.

    Parameters
    ----------
    makespan : float
        Seconds from the first task to the end.
    efficiency : float
        Seconds of tasks that counted, of the seconds that all workers had.
    lost : float
        Seconds from the stop to the end; 0 without a stop.
    """

    makespan: float
    efficiency: float
    lost: float


def simulate(
    seconds: FloatArray, n_workers: int, dispatch: Dispatch, *, stop_after: int | None = None
) -> Schedule:
    """Simulate a run of the engine.

    Parameters
    ----------
    seconds : float array [n]
        Lengths of the tasks, in their order.
    n_workers : int
        Number of workers.
    dispatch : Dispatch
        How tasks are handed out.
    stop_after : int, optional
        Folded tasks after which a stopping rule ends the run. None: all tasks are needed.

    Examples
    --------
    >>> simulate(np.full(100, 0.5), 10, Dispatch()).makespan
    5.0
    >>> schedule = simulate(np.full(100, 0.5), 10, Dispatch(submit=0.25))  # two are kept busy
    >>> round(schedule.efficiency, 2)
    0.2
    """
    lengths = seconds.tolist()
    needed = len(lengths) if stop_after is None else min(stop_after, len(lengths))
    most_out = dispatch.out(n_workers)
    most_unfolded = TASKS_OUT_PER_WORKER * n_workers
    receive = dispatch.receive + dispatch.result_bytes / dispatch.bandwidth
    free = [0.0] * n_workers
    under_way: list[tuple[float, int, float]] = []
    came = bytearray(len(lengths) + 1)
    now = 0.0
    submitted = received = folded = 0
    wave_is_over = False
    while folded < needed:
        out = submitted - (folded if dispatch.in_order else received)
        wave_is_over = submitted - folded >= (1 if wave_is_over else most_unfolded)
        if submitted < len(lengths) and out < most_out and not wave_is_over:
            now += dispatch.submit
            # Tasks arrive in their order, so whichever worker is free first gets this one.
            start = max(now + dispatch.latency, free[0])
            end = start + dispatch.worker + lengths[submitted]
            heapreplace(free, end)
            heappush(under_way, (end + dispatch.latency, submitted, start))
            submitted += 1
        else:
            arrived, number, _ = heappop(under_way)
            now = max(now, arrived) + receive
            received += 1
            came[number] = 1
            while came[folded]:
                folded += 1
    stop = now
    for arrived, _, start in sorted(under_way):
        if start < stop or not dispatch.cancels:
            now = max(now, arrived) + receive
    efficiency = sum(lengths[:needed]) / (n_workers * now) if now else 1.0
    return Schedule(now, efficiency, now - stop)


def efficiency_bound(
    seconds: float, n_workers: int, dispatch: Dispatch, n_tasks: float = math.inf
) -> float:
    """Return the efficiency that no run exceeds, for tasks that take `seconds` on the average.

    With t for `seconds`, w for the seconds of the worker, d for those of the driver, r for the
    round trip, W workers and at most Q tasks out, the seconds a task are at least

    - (t + w) / W: workers do one task at a time;
    - d: the driver does, too. From W = t / d on more workers are of no use;
    - (t + r) / Q: that many tasks are out at the most (Little's law).

    Parameters
    ----------
    seconds : float
        Mean length of a task.
    n_workers : int
        Number of workers.
    dispatch : Dispatch
        How tasks are handed out.
    n_tasks : float
        Number of tasks: all of them take as long as one, at least.

    Examples
    --------
    >>> dispatch = Dispatch(submit=0.001, receive=0.001, reserve=1)
    >>> efficiency_bound(0.2, 100, dispatch), efficiency_bound(0.2, 1000, dispatch)
    (1.0, 0.1)
    """
    interval = max(
        (seconds + dispatch.worker) / n_workers,
        dispatch.driver,
        (seconds + dispatch.round_trip) / dispatch.out(n_workers),
        (seconds + dispatch.round_trip) / n_tasks,
    )
    return seconds / (n_workers * interval) if interval else 1.0


def recommended_task_seconds(dispatch: Dispatch, n_workers: int, efficiency: float = 0.98) -> float:
    """Return the least mean length of tasks at which the bound reaches an efficiency.

    What a backend says as `task_seconds`: the engine groups blocks into tasks of that length.

    Parameters
    ----------
    dispatch : Dispatch
        How tasks are handed out.
    n_workers : int
        Number of workers.
    efficiency : float
        Share of the workers' time that goes into tasks.

    Raises
    ------
    InvalidOptionError
        If `efficiency` is not between 0 and 1.

    Examples
    --------
    >>> round(recommended_task_seconds(Dispatch(worker=0.001), 2), 3)  # 2 % of it
    0.049
    >>> round(recommended_task_seconds(Dispatch(submit=0.001), 1000), 3)  # one a millisecond
    0.98
    """
    if not 0 < efficiency < 1:
        raise InvalidOptionError(f"efficiency must be between 0 and 1, got {efficiency}")
    spare = dispatch.out(n_workers) / n_workers - efficiency
    return efficiency * max(
        dispatch.worker / (1 - efficiency), n_workers * dispatch.driver, dispatch.round_trip / spare
    )


def _constant(n: int, _: np.random.Generator) -> FloatArray:
    return np.ones(n)


def _exponential(n: int, rng: np.random.Generator) -> FloatArray:
    return rng.exponential(size=n)


def _log_normal(n: int, rng: np.random.Generator) -> FloatArray:
    return rng.lognormal(-0.5, 1.0, n)


def _stragglers(n: int, rng: np.random.Generator) -> FloatArray:
    """One in a hundred takes twenty times as long as the others."""
    return np.where(rng.random(n) < 0.01, 20.0, 1.0) / 1.19


LENGTHS: dict[str, Callable[[int, np.random.Generator], FloatArray]] = {
    "constant": _constant,
    "exponential": _exponential,
    "log-normal": _log_normal,
    "stragglers": _stragglers,
}
"""Laws of the length of tasks, each with the mean 1: ``LENGTHS[name](n, rng)``."""
