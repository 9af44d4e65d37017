"""The model of scheduling: at its limits, against its bounds, and against the engine's queue."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dvl_core.backends import JoblibBackend
from dvl_core.backends.joblib import PROCESSES
from dvl_core.errors import InvalidOptionError
from dvl_core.scheduling import (
    LENGTHS,
    Dispatch,
    efficiency_bound,
    recommended_task_seconds,
    simulate,
)
from dvl_core.tasks import TASKS_OUT_PER_WORKER, BlockQueue, TaskResult

FREE = Dispatch()
COSTLY = Dispatch(submit=2e-4, receive=3e-4, latency=1e-3, worker=5e-4, reserve=1)
seconds = st.floats(0, 0.1)
dispatches = st.builds(
    Dispatch,
    submit=seconds,
    receive=seconds,
    latency=seconds,
    worker=seconds,
    result_bytes=st.floats(0, 1e6),
    bandwidth=st.floats(1e7, 1e9),
    reserve=st.sampled_from([0.0, 0.5, 1.0, 3.0]),
    in_order=st.booleans(),
    cancels=st.booleans(),
)


@pytest.mark.parametrize("n_workers", [1, 2, 7, 50])
def test_without_overhead_all_workers_are_always_busy(n_workers: int) -> None:
    schedule = simulate(np.full(20 * n_workers, 0.5), n_workers, FREE)
    assert schedule.efficiency == pytest.approx(1)
    assert schedule.makespan == pytest.approx(10)
    assert efficiency_bound(0.5, n_workers, FREE) == 1


def test_one_worker_pays_every_round_trip_unless_it_has_a_reserve() -> None:
    alone = replace(COSTLY, reserve=0)
    schedule = simulate(np.full(1000, 0.01), 1, alone)
    assert schedule.makespan == pytest.approx(1000 * (0.01 + alone.round_trip))
    busy = simulate(np.full(1000, 0.01), 1, COSTLY)
    assert busy.makespan == pytest.approx(1000 * (0.01 + COSTLY.worker), rel=0.001)


def test_more_workers_than_tasks_take_as_long_as_one_task() -> None:
    schedule = simulate(np.full(5, 2.0), 100, Dispatch(latency=0.5, worker=0.25))
    assert schedule.makespan == pytest.approx(2.0 + 1.0 + 0.25)
    assert schedule.efficiency == pytest.approx(5 * 2 / (100 * 3.25))
    assert schedule.efficiency == pytest.approx(
        efficiency_bound(2.0, 100, Dispatch(latency=0.5, worker=0.25), n_tasks=5)
    )


@pytest.mark.parametrize("in_order", [False, True])
def test_a_saturated_driver_feeds_only_so_many_workers(in_order: bool) -> None:
    dispatch = Dispatch(submit=0.004, receive=0.005, result_bytes=1e6, bandwidth=1e9, reserve=1)
    dispatch = replace(dispatch, in_order=in_order)
    assert dispatch.driver == pytest.approx(0.01)
    schedule = simulate(np.full(20_000, 1.0), 1000, dispatch)
    assert schedule.efficiency == pytest.approx(efficiency_bound(1.0, 1000, dispatch), rel=0.02)
    assert schedule.efficiency == pytest.approx(100 / 1000, rel=0.02)


@pytest.mark.parametrize("n_workers", [1, 2, 10, 100, 400])
@pytest.mark.parametrize("length", [0.01, 0.1, 1.0])
def test_equal_tasks_come_near_the_bound(n_workers: int, length: float) -> None:
    schedule = simulate(np.full(100 * n_workers, length), n_workers, COSTLY)
    bound = efficiency_bound(length, n_workers, COSTLY)
    assert 0.94 * bound <= schedule.efficiency <= bound * (1 + 1e-9)


@settings(max_examples=200, deadline=None)
@given(
    dispatch=dispatches,
    lengths=st.lists(st.floats(0, 1), min_size=1, max_size=60),
    n_workers=st.integers(1, 20),
    stop=st.none() | st.integers(1, 60),
)
def test_no_run_exceeds_the_bound(
    dispatch: Dispatch, lengths: list[float], n_workers: int, stop: int | None
) -> None:
    tasks = np.array(lengths)
    schedule = simulate(tasks, n_workers, dispatch, stop_after=stop)
    mean = float(tasks.mean())
    if stop is None:
        bound = efficiency_bound(mean, n_workers, dispatch, len(tasks))
        assert schedule.efficiency <= bound * (1 + 1e-9)
        assert schedule.makespan >= tasks.max()
        assert schedule.lost == 0
    most = dispatch.out(n_workers)
    longest = tasks.max() + dispatch.round_trip
    assert 0 <= schedule.lost <= -(-most // n_workers) * longest + most * dispatch.driver + 1e-9


def test_a_task_that_lasts_keeps_an_orderly_backend_from_handing_out_more() -> None:
    tasks = np.ones(1000)
    tasks[0] = 10.0
    by_turns = simulate(tasks, 10, Dispatch(reserve=1, in_order=True))
    at_once = simulate(tasks, 10, Dispatch(reserve=1))
    assert at_once.makespan == pytest.approx(1009 / 10, abs=1)
    # Nine workers do the nineteen tasks that are out, then all wait for the long one.
    assert by_turns.makespan == pytest.approx(10 + 981 / 10, abs=1)


def test_too_many_tasks_that_wait_to_be_folded_end_a_wave() -> None:
    tasks = np.ones(1000)
    tasks[0] = 100.0
    n_workers = 10
    schedule = simulate(tasks, n_workers, Dispatch())
    rest = 1000 - TASKS_OUT_PER_WORKER * n_workers
    assert schedule.makespan == pytest.approx(100 + rest / n_workers)
    queue = BlockQueue(0, 1000, 0, n_workers)
    assert len(list(queue.wave())) == TASKS_OUT_PER_WORKER * n_workers
    for _ in range(TASKS_OUT_PER_WORKER * n_workers):
        queue.observe(TaskResult([], 1.0))
    assert next(queue.wave()).start == TASKS_OUT_PER_WORKER * n_workers


@pytest.mark.parametrize(
    ("reserve", "cancels", "lost"), [(0, False, 1), (1, False, 2), (1, True, 1), (3, False, 4)]
)
def test_a_stop_waits_for_what_runs_and_for_what_is_not_cancelled(
    reserve: float, cancels: bool, lost: float
) -> None:
    dispatch = Dispatch(reserve=reserve, cancels=cancels)
    rng = np.random.default_rng(0)
    tasks = rng.uniform(0.999, 1.0, 10_000)
    schedule = simulate(tasks, 10, dispatch, stop_after=5_000)
    assert schedule.lost == pytest.approx(lost, abs=0.5)
    assert schedule.lost <= lost
    assert schedule.makespan == pytest.approx(500 + schedule.lost, rel=0.01)
    assert schedule.efficiency == pytest.approx(tasks[:5000].sum() / (10 * schedule.makespan))


@settings(max_examples=100, deadline=None)
@given(dispatch=dispatches, n_workers=st.integers(1, 10_000), efficiency=st.floats(0.1, 0.999))
def test_the_recommended_length_is_the_least_that_suffices(
    dispatch: Dispatch, n_workers: int, efficiency: float
) -> None:
    length = recommended_task_seconds(dispatch, n_workers, efficiency)
    assert 0 <= length < math.inf
    if length > 1e-9:
        found = efficiency_bound(length, n_workers, dispatch)
        assert found == pytest.approx(efficiency, rel=1e-6)
        assert efficiency_bound(0.9 * length, n_workers, dispatch) < efficiency


@pytest.mark.parametrize(
    ("law", "n_workers"),
    # Many workers come to the end of a wave where lengths differ more than that.
    [(law, 2) for law in LENGTHS] + [("constant", 64), ("exponential", 64)],
)
def test_tasks_of_the_recommended_length_keep_workers_busy(law: str, n_workers: int) -> None:
    length = recommended_task_seconds(COSTLY, n_workers, 0.95)
    tasks = length * LENGTHS[law](400 * n_workers, np.random.default_rng(1))
    assert 0.92 < simulate(tasks, n_workers, COSTLY).efficiency <= 0.95


@pytest.mark.parametrize("law", LENGTHS)
def test_lengths_have_mean_one(law: str) -> None:
    lengths = LENGTHS[law](1_000_000, np.random.default_rng(2))
    assert lengths.min() >= 0
    assert lengths.mean() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("efficiency", [0.0, 1.0, 1.5, -1.0])
def test_an_efficiency_out_of_range_is_refused(efficiency: float) -> None:
    with pytest.raises(InvalidOptionError, match="between 0 and 1"):
        recommended_task_seconds(FREE, 2, efficiency)


def test_tasks_of_joblib_get_longer_with_many_workers() -> None:
    few, many = JoblibBackend(2, "threading"), JoblibBackend(1000, "threading")
    assert 0.05 <= few.task_seconds <= 0.5
    assert many.task_seconds > few.task_seconds


@pytest.mark.slow
def test_ten_thousand_workers_are_simulated() -> None:
    lengths = LENGTHS["exponential"](200_000, np.random.default_rng(3))
    schedule = simulate(10 * lengths, 10_000, COSTLY)
    assert 0.1 < schedule.efficiency < efficiency_bound(10, 10_000, COSTLY)


def test_backends_count_with_the_costs_that_were_measured() -> None:
    """Up to a factor of two: machines differ, and the page is measured anew now and then."""
    page = Path(__file__).parents[1] / "docs" / "generate" / "scaling.json"
    measured = json.loads(page.read_text())["backends"]
    counted = {"loky": PROCESSES}
    for name, module in (("Dask", "dvl_dask.backend"), ("Ray", "dvl_ray.backend")):
        counted[name] = pytest.importorskip(module).COSTS
    for name, costs in counted.items():
        there = Dispatch(**measured[name]["costs"])
        for n_workers in (2, 100, 1000):
            found, wanted = (recommended_task_seconds(d, n_workers) for d in (costs, there))
            assert wanted / 2 < found < 2 * wanted, name
