"""Which task is handed out next: results in order, workers busy, bounded on the way, in groups."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dvl_core.flights import Demand, hand_out
from dvl_core.grouping import GROUP_SECONDS, GroupDone, group_size, run_group
from dvl_core.tasks import TASKS_OUT_PER_WORKER


@dataclass
class FakeFlight:
    """Groups that end in the order that `ends` says: which of those that run ends next."""

    ends: Iterator[int]
    group_size: int = 1
    groups: list[list[Any]] = field(default_factory=list)
    ended: list[bool] = field(default_factory=list)
    most_running: int = 0
    most_out: int = 0
    cancelled: bool = False

    def __len__(self) -> int:
        return len(self.groups)

    @property
    def n_running(self) -> int:
        return self.ended.count(False)

    @property
    def is_ready(self) -> bool:
        return self.ended[0]

    def send(self, groups: Iterable[list[Any]]) -> None:
        for group in groups:
            self.groups.append(group)
            self.ended.append(False)
        self.most_running = max(self.most_running, self.n_running)
        self.most_out = max(self.most_out, len(self.groups))

    def wait(self) -> None:
        running = [i for i, ended in enumerate(self.ended) if not ended]
        self.ended[running[next(self.ends) % len(running)]] = True

    def results(self) -> list[Any]:
        done = list(itertools.takewhile(bool, self.ended))
        results = [-task for group in self.groups[: len(done)] for task in group]
        del self.groups[: len(done)], self.ended[: len(done)]
        return results

    def cancel(self) -> None:
        self.cancelled = True


@settings(deadline=None)
@given(
    ends=st.lists(st.integers(0, 20), min_size=1),
    number=st.integers(0, 60),
    ahead=st.integers(1, 8),
    size=st.integers(1, 3),
)
def test_results_come_in_order_whichever_ends_first(ends, number, ahead, size) -> None:
    flight = FakeFlight(itertools.cycle(ends), group_size=size)
    found = list(hand_out(flight, range(number), lambda: Demand(1, ahead)))
    assert found == [-task for task in range(number)]
    assert flight.most_running <= ahead
    assert flight.most_out <= max(ahead, TASKS_OUT_PER_WORKER)
    assert flight.cancelled


def test_a_long_task_keeps_nobody_waiting_until_too_many_results_wait_for_it() -> None:
    last = iter([*[-1] * 500, *[0] * 10_000])
    flight = FakeFlight(last)
    results = hand_out(flight, itertools.count(), lambda: Demand(2, 4))
    # The second group that runs ends, again and again, until so many are there; then the first.
    assert next(results) == 0
    assert flight.most_out == 2 * TASKS_OUT_PER_WORKER
    assert flight.most_running == 4


def test_who_takes_results_slowly_finds_few_waiting() -> None:
    consumed = itertools.count()
    flight = FakeFlight(itertools.repeat(0))
    results = hand_out(flight, (next(consumed) for _ in itertools.count()), lambda: Demand(2, 4))
    assert [next(results) for _ in range(50)] == [-task for task in range(50)]
    assert next(consumed) <= 50 + 4


def test_a_cluster_that_grows_is_asked_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dvl_core.flights.SECONDS_BETWEEN_COUNTS", 0.0)
    sizes = itertools.chain([1], itertools.repeat(5))
    flight = FakeFlight(itertools.repeat(0))
    list(hand_out(flight, range(30), lambda: Demand(size := next(sizes), 2 * size)))
    assert flight.most_running == 10


def test_closing_cancels_and_consumes_nothing_more() -> None:
    consumed = iter(range(1000))
    flight = FakeFlight(itertools.repeat(0))
    results = hand_out(flight, consumed, lambda: Demand(1, 2))
    next(results)
    left = len(flight)
    results.close()
    assert flight.cancelled
    assert next(consumed) == left + 1


def fail_at(shared: int, task: int) -> int:
    if task == shared:
        raise ValueError(f"task {task}")
    return task


def test_a_task_that_fails_ends_its_group_and_raises_when_it_is_first() -> None:
    assert run_group(fail_at, 2, [0, 1, 2, 3]).results == [0, 1]
    with pytest.raises(ValueError, match="task 2"):
        run_group(fail_at, 2, [2, 3])


def nap(seconds: float, task: int) -> int:
    time.sleep(seconds)
    return task


def test_a_group_ends_once_it_takes_long() -> None:
    done = run_group(nap, 1.1 * GROUP_SECONDS, [1, 2, 3])
    assert done.results == [1]
    assert done.seconds > GROUP_SECONDS
    assert group_size(done.task_seconds) == 1


def test_seconds_of_a_group_are_shared_out() -> None:
    assert GroupDone([1, 2, 3, 4], 0.02).task_seconds == 0.005
    assert group_size(0.005) == 2
