"""Sizes with few coalitions are evaluated whole: known is exact, unknown unbiased."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dvl_banzhaf import KernelBanzhafSampler
from dvl_core import (
    AdjustedSampler,
    BanzhafSemivalue,
    BetaSemivalue,
    MaxEvaluations,
    RecordingSampler,
    ShapleySemivalue,
    SizeLawSemivalue,
    ValuationResult,
    engine,
)
from dvl_core.designs.adjusted import balanced_sizes
from dvl_core.designs.enumeration import EnumerationSchedule, level_means
from dvl_core.errors import DvlWarning, ResultError
from dvl_core.games import RandomGame, SizeGame, exact_values
from dvl_core.games.exact import coalitions_of
from dvl_core.protocols import Sampler, Semivalue
from dvl_shapley import LeastSquaresSampler

CASES = [
    (LeastSquaresSampler(), ShapleySemivalue()),
    (KernelBanzhafSampler(), BanzhafSemivalue()),
    (AdjustedSampler("linear"), ShapleySemivalue()),
    (AdjustedSampler("linear"), BetaSemivalue(4, 1)),
    (AdjustedSampler("linear"), BanzhafSemivalue(0.3)),
]


def run(sampler: Sampler, semivalue: Semivalue, n: int, seed: int, **options) -> ValuationResult:
    budget = MaxEvaluations(options.pop("budget", 100_000))
    design = sampler.design(n, semivalue)
    return engine.run(design, RandomGame(n, 7), seed=seed, stopping=budget, **options)


@given(
    n=st.integers(2, 16),
    paired=st.booleans(),
    units=st.sampled_from([8, 32]),
    alpha=st.sampled_from([1.0, 4.0]),
)
@settings(max_examples=60, deadline=None)
def test_every_coalition_is_enumerated_once(n: int, paired: bool, units: int, alpha: float) -> None:
    law = balanced_sizes(BetaSemivalue(1.0 if paired else alpha, 1.0).size_law(n))
    schedule = EnumerationSchedule(law, paired, units)
    assert schedule.n_blocks is not None
    found = []
    for number, one in enumerate(schedule.enumerations):
        for block in range(one.start, one.stop):
            assert schedule.place(block)[0] == number
            coalitions = schedule.coalitions(number, block)
            assert 0 < len(coalitions) <= units
            found += [coalitions, ~coalitions] if paired else [coalitions]
    rows = np.concatenate(found)
    assert len(rows) == len(np.unique(rows, axis=0)) == 2**n - 2


def test_what_is_enumerated_is_not_drawn_any_more() -> None:
    n = 60
    schedule = EnumerationSchedule(balanced_sizes(ShapleySemivalue().size_law(n)), True, 32)
    first = schedule.enumerations[0]
    assert (first.size, first.units, first.stop - first.start) == (1, n, 2)
    before, after = schedule.place(first.start - 1), schedule.place(first.stop)
    assert before[0] == after[0] == -1
    assert before[1][[1, n - 1]].min() > 0
    assert not after[1][[0, 1, n - 1, n]].any()
    np.testing.assert_allclose(after[1].sum(), 1.0)
    # As many were drawn as about half of those that there are.
    drawn = first.start * 64 * before[1][[1, n - 1]].sum()
    assert 0.3 * 2 * n < drawn <= 0.5 * 2 * n
    assert schedule.n_blocks is None
    assert all(math.comb(n, one.size) <= 20_000 for one in schedule.enumerations)


@given(n=st.integers(1, 7), seed=st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_the_means_of_all_sizes_are_the_semivalue(n: int, seed: int) -> None:
    game, everyone = RandomGame(n, seed), coalitions_of(np.arange(2**n), n)
    for semivalue in (ShapleySemivalue(), BanzhafSemivalue(0.3), BetaSemivalue(4, 1)):
        found = level_means(semivalue.size_law(n), everyone, game(everyone))
        np.testing.assert_allclose(found, exact_values(game, semivalue), atol=1e-10)


@pytest.mark.parametrize(("sampler", "semivalue"), CASES)
@pytest.mark.parametrize("n", [3, 5, 8, 11])
def test_small_games_come_to_an_end_and_are_exact(
    sampler: Sampler, semivalue: Semivalue, n: int
) -> None:
    result = run(sampler, semivalue, n, 0)
    assert result.stop_reason == "complete"
    np.testing.assert_allclose(result.values, exact_values(RandomGame(n, 7), semivalue), atol=1e-10)
    assert not result.stderr.any()
    assert result.extras["guarantee"] == "exact"
    with pytest.raises(ResultError, match="exact"):
        result.merge(run(sampler, semivalue, n, 1))
    # Draws and enumerations together are not much more than the coalitions that there are.
    assert 2**n <= result.n_evaluations < 2 * 2**n + 64


@pytest.mark.parametrize(("sampler", "semivalue"), CASES)
def test_some_sizes_known_and_others_drawn_are_unbiased_with_honest_errors(
    sampler: Sampler, semivalue: Semivalue
) -> None:
    n = 12
    exact = exact_values(RandomGame(n, 7), semivalue)
    results = [run(sampler, semivalue, n, seed, budget=700) for seed in range(40)]
    assert {result.stop_reason for result in results} != {"complete"}
    z = np.array([(result.values - exact) / result.stderr for result in results])
    assert np.abs(z.mean(axis=0)).max() < 4 / np.sqrt(len(z)) * z.std()
    assert 0.5 < float(np.square(z).mean()) < 1.6


@pytest.mark.parametrize("cut", [40, 60, 100, 150, 300])
def test_a_run_cut_anywhere_goes_on_to_the_same_bits(cut: int, tmp_path: Path) -> None:
    semivalue, sampler = ShapleySemivalue(), AdjustedSampler("linear")
    whole = run(sampler, semivalue, 10, 3, budget=900)
    path = tmp_path / "run.npz"
    run(sampler, semivalue, 10, 3, budget=cut, checkpoint=path)
    resumed = run(sampler, semivalue, 10, 3, budget=900, checkpoint=path)
    assert resumed.values.tobytes() == whole.values.tobytes()
    assert resumed.stderr.tobytes() == whole.stderr.tobytes()


def test_the_budget_is_used_up_to_the_size_of_the_next_block() -> None:
    for budget in (90, 150, 240, 500):
        design = AdjustedSampler("linear").design(24, ShapleySemivalue())
        result = engine.run(design, SizeGame(24), seed=0, stopping=MaxEvaluations(budget))
        assert budget - 16 < result.n_evaluations <= budget


def cut_short(n: int, budget: int) -> ValuationResult:
    design, stopping = LeastSquaresSampler().design(n, ShapleySemivalue()), MaxEvaluations(budget)
    return engine.run(design, SizeGame(n), seed=0, stopping=stopping)


def test_too_few_evaluations_say_how_many_are_needed() -> None:
    for n, needed in ((5, 30), (10, 36)):
        with pytest.warns(DvlWarning, match=f"for {n} players: this estimator needs {needed}"):
            result = cut_short(n, needed - 2)
        assert np.isnan(result.values).all()
        assert np.isfinite(cut_short(n, needed + 2).values).all()


def test_sizes_without_weight_are_not_evaluated() -> None:
    law = SizeLawSemivalue((0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0), "threes")
    result = run(AdjustedSampler("linear"), law, 8, 0)
    np.testing.assert_allclose(result.values, exact_values(RandomGame(8, 7), law), atol=1e-10)
    sizes = math.comb(8, 3) + math.comb(8, 4)
    assert sizes + 2 <= result.n_evaluations < sizes + 64


@pytest.mark.parametrize("budget", [400, 3_000])
def test_a_record_with_enumerations_gives_other_values(budget: int) -> None:
    n, wanted = 10, BetaSemivalue(4, 1)
    exact = exact_values(RandomGame(n, 7), wanted)
    z = []
    for seed in range(12):
        sampler = RecordingSampler(LeastSquaresSampler())
        other = run(sampler, ShapleySemivalue(), n, seed, budget=budget).revalue(wanted)
        if budget > 2**n:
            np.testing.assert_allclose(other.values, exact, atol=1e-10)
            assert not other.stderr.any()
        else:
            z.append((other.values - exact) / other.stderr)
    if z:
        assert 0.4 < float(np.square(z).mean()) < 1.8
