"""What every backend must do.

The functions that run as tasks are at the top level of this module, so that a backend which ships
work by reference finds them on its workers.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core.errors import UtilityError, WorkerError
from dvl_core.testing.requirements import require

if TYPE_CHECKING:
    from dvl_core.protocols import Backend, FloatArray

__all__ = [
    "check_backend_arrays",
    "check_backend_cancels",
    "check_backend_empty",
    "check_backend_is_lazy",
    "check_backend_numbers",
    "check_backend_order",
    "check_backend_raises_in_place",
    "check_backend_shares",
    "check_backend_survives_killed_worker",
    "check_backend_works_after_failure",
]

MakeBackend = Callable[[], "Backend"]

MOST_AHEAD_PER_WORKER = 64
"""A backend that has consumed more tasks than this before the first result is not lazy."""


def _add(shared: int, task: int) -> int:
    return shared + task


def _slow_if_even(shared: float, task: int) -> int:
    # Later tasks overtake earlier ones if the backend lets them.
    time.sleep(shared if task % 2 == 0 else 0.0)
    return task


def _fail_at(shared: int, task: int) -> int:
    if task == shared:
        raise UtilityError(f"task {task} failed on purpose")
    return task


def _sums(shared: FloatArray, task: FloatArray) -> FloatArray:
    return np.cumsum(shared * task[:, None], axis=0)


def _die_once(shared: tuple[str, int], task: int) -> int:
    marker, parent = shared
    if task == 3 and os.getpid() != parent and not os.path.exists(marker):
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return task


class _Counting:
    """Counts how many tasks were consumed."""

    def __init__(self, tasks: Iterator[Any]) -> None:
        self.tasks = tasks
        self.consumed = 0

    def __iter__(self) -> Iterator[Any]:
        for task in self.tasks:
            self.consumed += 1
            yield task


def check_backend_numbers(make: MakeBackend) -> None:
    """Have at least one worker, and a task length that is not negative."""
    backend = make()
    workers, seconds = backend.n_workers, backend.task_seconds
    require(
        isinstance(workers, int) and workers >= 1, f"n_workers must be at least 1, got {workers!r}"
    )
    require(
        isinstance(seconds, float | int) and 0 <= seconds < 3600,
        f"task_seconds must be a duration, got {seconds!r}",
    )


def check_backend_order(make: MakeBackend) -> None:
    """Give results in the order of the tasks, whichever finish first."""
    results = list(make().map(_slow_if_even, 0.01, range(20)))
    require(results == list(range(20)), f"20 tasks came back in the order {results}")


def check_backend_empty(make: MakeBackend) -> None:
    """Give nothing for no tasks."""
    require(list(make().map(_add, 1, [])) == [], "no tasks gave a result")


def check_backend_shares(make: MakeBackend) -> None:
    """Pass the shared object and the task to the function, in this order."""
    backend = make()
    require(list(backend.map(_add, 100, range(3))) == [100, 101, 102], "the sums are wrong")
    require(list(backend.map(_add, 200, [1])) == [201], "a second map used the first shared object")


def check_backend_arrays(make: MakeBackend) -> None:
    """Carry arrays there and back to the bit, read-only or not."""
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(300, 400))
    shared.flags.writeable = False
    tasks = [rng.normal(size=300) for _ in range(3)]
    for task, result in zip(tasks, make().map(_sums, shared, tasks), strict=True):
        require(
            np.asarray(result).tobytes() == _sums(shared, task).tobytes(),
            "an array came back with other bits than it has here",
        )


def check_backend_raises_in_place(make: MakeBackend) -> None:
    """Raise the exception of a task where its result would have been."""
    results = make().map(_fail_at, 3, range(6))
    before = list(itertools.islice(results, 3))
    require(before == [0, 1, 2], f"before the task that fails came {before}, not 0, 1, 2")
    try:
        next(results)
    except UtilityError as error:
        require("task 3" in str(error), f"the exception lost its message: {error}")
        return
    except StopIteration:
        pass
    require(False, "the exception of a task was not raised")


def check_backend_works_after_failure(make: MakeBackend) -> None:
    """Work on after a task has failed."""
    backend = make()
    with contextlib.suppress(UtilityError):
        list(backend.map(_fail_at, 0, range(3)))
    require(list(backend.map(_add, 1, range(3))) == [1, 2, 3], "after a failure results are wrong")


def check_backend_survives_killed_worker(make: MakeBackend) -> None:
    """Retry a task whose process was killed, or raise WorkerError and work on afterwards."""
    backend = make()
    with tempfile.TemporaryDirectory() as folder:
        shared = os.path.join(folder, "died"), os.getpid()
        results = list(range(8))
        with contextlib.suppress(WorkerError):
            results = list(backend.map(_die_once, shared, range(8)))
        require(results == list(range(8)), f"after a worker was killed came {results}")
        again = list(backend.map(_die_once, shared, range(8)))
        require(again == list(range(8)), "after a worker was killed the backend does not work on")


def check_backend_is_lazy(make: MakeBackend) -> None:
    """Consume tasks a bounded number ahead of the results, so that they may be endless."""
    backend = make()
    tasks = _Counting(itertools.count())
    results = backend.map(_add, 0, tasks)
    bound = MOST_AHEAD_PER_WORKER * backend.n_workers
    for expected in range(5):
        require(next(results) == expected, "the results of endless tasks are wrong")
        ahead = tasks.consumed - expected
        require(ahead <= bound, f"{ahead} tasks were consumed ahead of the results")
    _close(results)


def check_backend_cancels(make: MakeBackend) -> None:
    """Start nothing more when its iterator is closed, and take new work afterwards."""
    backend = make()
    tasks = _Counting(itertools.count())
    results = backend.map(_slow_if_even, 0.005, tasks)
    next(results)
    _close(results)
    consumed = tasks.consumed
    time.sleep(0.1)
    require(tasks.consumed == consumed, "tasks were consumed after the iterator was closed")
    require(list(backend.map(_add, 1, [1])) == [2], "after a cancelled map results are wrong")


def _close(results: Iterator[Any]) -> None:
    """Close an iterator as the engine does."""
    close = getattr(results, "close", None)
    require(close is not None, "map must return a generator, or another iterator with close()")
    assert close is not None
    close()
