"""Which task to hand out next on a cluster: for backends with messages of their own.

Whenever a task has ended, whichever it is, another one is handed out, so that a long one keeps
nobody waiting. Results are given in order; those that are there before their turn are bounded.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from dvl_core.tasks import TASKS_OUT_PER_WORKER

__all__ = ["Demand", "Flight", "hand_out"]

T = TypeVar("T")

SECONDS_BETWEEN_COUNTS = 1.0
"""How often to look how many workers there are."""


@dataclass(frozen=True, slots=True)
class Demand:
    """How much a map asks of a cluster.

    Parameters
    ----------
    n_workers : int
        Tasks that run at the same time, or will when the cluster has grown.
    ahead : int
        Tasks to have under way: more than run, so that the next one waits at its worker.
    """

    n_workers: int
    ahead: int


class Flight(Protocol):
    """Groups of tasks that were sent, in their order, until their results are taken.

    What it raises is raised where the results would have come.
    """

    def __len__(self) -> int:
        """Return the number of groups."""

    @property
    def n_running(self) -> int:
        """Groups that have not ended."""

    @property
    def is_ready(self) -> bool:
        """Whether the first group has ended, in whatever way."""

    @property
    def group_size(self) -> int:
        """How many tasks to send together."""

    def send(self, groups: Iterable[list[Any]]) -> None:
        """Send groups of tasks, after those that are there."""

    def wait(self) -> None:
        """Wait until a group ends, or for about a second."""

    def results(self) -> list[Any]:
        """Take the results that are there, in order; none if the first group is sent again."""

    def cancel(self) -> None:
        """Forget all; what has started may end by itself."""


def hand_out(flight: Flight, tasks: Iterable[Any], demand: Callable[[], Demand]) -> Iterator[Any]:
    """Yield the results of tasks in their order; closing it cancels the rest.

    As long as the first result is there no more tasks are out than are to be ahead: who takes
    results slowly finds few of them waiting.

    Parameters
    ----------
    flight : Flight
        Empty.
    tasks : iterable
        Consumed as they are sent; there may be no end.
    demand : callable
        Returns how much to ask of the cluster; called once a second.
    """
    remaining = iter(tasks)
    wanted, counted = demand(), time.monotonic()
    try:
        flight.send(_groups(remaining, 1, wanted.ahead))
        while len(flight):
            while not flight.is_ready:
                if time.monotonic() - counted > SECONDS_BETWEEN_COUNTS:
                    wanted, counted = demand(), time.monotonic()
                unfolded = TASKS_OUT_PER_WORKER * wanted.n_workers - len(flight)
                number = min(wanted.ahead - flight.n_running, unfolded)
                flight.send(_groups(remaining, flight.group_size, number))
                flight.wait()
            results = flight.results()
            flight.send(_groups(remaining, flight.group_size, wanted.ahead - len(flight)))
            yield from results
    finally:
        flight.cancel()


def _groups(tasks: Iterator[T], size: int, number: int) -> Iterator[list[T]]:
    """Yield the next tasks in groups, as many as there are, up to a number."""
    for _ in range(number):
        group = list(itertools.islice(tasks, size))
        if not group:
            return
        yield group
