"""The backend that runs tasks one after the other in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

__all__ = ["SerialBackend"]

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class SerialBackend:
    """Run tasks one after the other in this process.

    Examples
    --------
    >>> list(SerialBackend().map(pow, 2, [1, 2, 3]))
    [2, 4, 8]
    """

    @property
    def n_workers(self) -> int:
        """One task at a time."""
        return 1

    @property
    def task_seconds(self) -> float:
        """Tasks have no overhead."""
        return 0.0

    def map(self, function: Callable[[S, T], R], shared: S, tasks: Iterable[T]) -> Iterator[R]:
        """Yield ``function(shared, task)`` in the order of `tasks`, each when it is asked for."""
        for task in tasks:
            yield function(shared, task)
