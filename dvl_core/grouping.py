"""Short tasks travel to a cluster together: to hand one out costs more than it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

__all__ = ["GROUP_SECONDS", "GroupDone", "group_size", "run_group"]

GROUP_SECONDS = 0.01
"""How long tasks that travel together should take."""
LARGEST_GROUP = 8


class GroupDone(NamedTuple):
    """What came of a group of tasks."""

    results: list[Any]
    """Of the first tasks, at least of one; the others were not begun, or failed."""
    seconds: float
    """How long these took together."""

    @property
    def task_seconds(self) -> float:
        """Seconds that one of them took."""
        return self.seconds / len(self.results)


def group_size(task_seconds: float) -> int:
    """Return how many tasks to send together if one takes so long.

    Examples
    --------
    >>> group_size(0.2), group_size(0.004), group_size(0.0)
    (1, 2, 8)
    """
    return max(1, min(LARGEST_GROUP, int(GROUP_SECONDS / max(task_seconds, 1e-9))))


def run_group(function: Callable[[Any, Any], Any], shared: Any, tasks: Sequence[Any]) -> GroupDone:
    """Run tasks, at least the first one, and no more once they take long; on a worker.

    A task that fails ends the group, and raises if it is the first: sent again after the results
    before it, it will be.

    Examples
    --------
    >>> run_group(pow, 2, [1, 2, 3]).results
    [2, 4, 8]
    """
    start = time.perf_counter()
    results: list[Any] = []
    seconds = 0.0
    for task in tasks:
        try:
            results.append(function(shared, task))
        except Exception:
            if not results:
                raise
            break
        seconds = time.perf_counter() - start
        if seconds > GROUP_SECONDS:
            break
    return GroupDone(results, seconds)
