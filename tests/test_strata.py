"""Strata by player and size: one sample fits all, and complementary contributions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dvl_core import (
    AbsoluteStandardError,
    BanzhafSemivalue,
    BetaSemivalue,
    LOOSemivalue,
    MatchedSampler,
    MaxEvaluations,
    OneSampleFitsAllSampler,
    RecordingSampler,
    ShapleySemivalue,
    SizeLawSemivalue,
    engine,
)
from dvl_core.designs.adjusted import balanced_sizes
from dvl_core.designs.sized import evaluated, sized_coalitions
from dvl_core.designs.strata import StrataDesign
from dvl_core.errors import InvalidOptionError
from dvl_core.games import FunctionGame, RandomGame, exact_values
from dvl_shapley import ComplementarySampler

SAMPLERS = [
    OneSampleFitsAllSampler(),
    OneSampleFitsAllSampler(paired=True),
    OneSampleFitsAllSampler(sizes="all"),
    ComplementarySampler(),
]


def curve(n: int) -> FunctionGame:
    """A learning curve, and players of very different worth."""
    weights = np.linspace(-1, 1, n) ** 3 / 10
    return FunctionGame(n, lambda c: np.sqrt(c.mean(axis=1)) + c @ weights)


@settings(max_examples=25, deadline=None)
@given(n=st.integers(3, 6), seed=st.integers(0, 10**6), which=st.integers(0, 2))
def test_once_all_sizes_are_enumerated_values_are_exact(n: int, seed: int, which: int) -> None:
    game = RandomGame(n, seed)
    law = np.random.default_rng(seed).dirichlet(np.ones(n)) + 0.1
    semivalue = SizeLawSemivalue(tuple(law / law.sum()), "random law")
    run = engine.run(SAMPLERS[which].design(n, semivalue), game, seed=seed)
    np.testing.assert_allclose(run.values, exact_values(game, semivalue), atol=1e-10)
    assert not run.stderr.any()
    shapley = engine.run(ComplementarySampler().design(n, ShapleySemivalue()), game, seed=seed)
    expected = exact_values(game, ShapleySemivalue())
    np.testing.assert_allclose(shapley.values, expected, atol=1e-10)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_few_evaluations_are_right_on_average_and_say_how_far_off(sampler: object) -> None:
    n, semivalue = 30, ShapleySemivalue()
    game = curve(n)
    # The curve is the same for all, an additive game is worth its weights.
    exact = np.linspace(-1, 1, n) ** 3 / 10 + 1 / n
    design = sampler.design(n, semivalue)
    runs = [engine.run(design, game, seed=seed, stopping=MaxEvaluations(200)) for seed in range(80)]
    values = np.array([run.values for run in runs])
    # Most of the n^2 strata are empty: what they lack must not draw values towards each other.
    deviations = exact - exact.mean()
    slopes = (values @ deviations) / (deviations @ deviations)
    assert abs(slopes.mean() - 1) < 4 * slopes.std() / 80**0.5
    assert slopes.std() < 1.0
    z = (values - exact) / np.array([run.stderr for run in runs])
    assert 0.75 < np.square(z).mean() < 1.3


@pytest.mark.parametrize("paired", [False, True])
def test_chances_of_empty_strata_are_those_of_the_draws(paired: bool) -> None:
    n, blocks = 9, 400
    law = ShapleySemivalue().size_law(n)
    drawn = balanced_sizes(law) * (1 if paired else np.linspace(0.5, 1.5, n + 1))
    design = StrataDesign(law, drawn / drawn.sum(), "mine", paired)
    hits = np.zeros((1 if paired else 2, n + 1))
    laws = []
    for block in range(blocks):
        accumulator = design.accumulator()
        rng = np.random.default_rng(block)
        coalitions = sized_coalitions(rng, design.drawn, design.schedule.units_a_block)
        sample = evaluated(coalitions, paired, lambda c: c[:, 0] * 1.0, np.array([0.0, 1.0]))
        accumulator.fold(sample | {"enumeration": np.array(-1)})
        own = accumulator.strata[:, 0]
        hits[0] += (own > 0).mean(axis=1)
        if not paired:
            hits[1] += (accumulator.totals[:, :1] - own > 0).mean(axis=1)
        laws.append(accumulator.log_missed)
    seen = 1 - np.exp(laws[0])
    np.testing.assert_allclose(hits / blocks, seen, atol=4 * 0.5 / blocks**0.5)
    assert 0.01 < seen[0, 1] < seen[0, 4] <= 1


@pytest.mark.parametrize("semivalue", [ShapleySemivalue(), BetaSemivalue(16, 1)])
def test_errors_are_a_fraction_of_those_of_marginals(semivalue: object) -> None:
    n = 12
    weights = np.linspace(-0.01, 0.01, n)
    game = FunctionGame(
        n, lambda c: np.sqrt(c.mean(axis=1)) + c @ weights + 0.05 * (c[:, 0] & c[:, 1])
    )
    exact = exact_values(game, semivalue)

    def error(sampler: object) -> float:
        design = sampler.design(n, semivalue)
        runs = [engine.run(design, game, seed=s, stopping=MaxEvaluations(600)) for s in range(5)]
        return float(np.mean([np.square(run.values - exact).sum() for run in runs]))

    assert 2 * error(OneSampleFitsAllSampler()) < error(MatchedSampler())


@pytest.mark.parametrize("semivalue", [BanzhafSemivalue(0.2), LOOSemivalue()])
def test_laws_that_need_few_sizes(semivalue: object) -> None:
    n = 14
    game = curve(n)
    for sampler in SAMPLERS[:3]:
        design = sampler.design(n, semivalue)
        run = engine.run(design, game, seed=3, stopping=MaxEvaluations(3_000))
        error = np.abs(run.values - exact_values(game, semivalue))
        assert (error <= 5 * run.stderr + 1e-9).all()


def test_one_sample_of_all_sizes_makes_every_semivalue() -> None:
    n = 12
    game = RandomGame(n, 5)
    sampler = RecordingSampler(OneSampleFitsAllSampler(sizes="all"))
    design = sampler.design(n, ShapleySemivalue())
    run = engine.run(design, game, seed=1, stopping=MaxEvaluations(3_000))
    for semivalue in (BetaSemivalue(4, 1), BetaSemivalue(1, 4)):
        other = run.revalue(semivalue)
        error = np.abs(other.values - exact_values(game, semivalue))
        assert (error < 5 * other.stderr).all()


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_a_resumed_run_is_the_same(sampler: object, tmp_path: Path) -> None:
    game, rule = RandomGame(12, 1), AbsoluteStandardError(0.02)
    design = sampler.design(12, ShapleySemivalue())
    whole = engine.run(design, game, seed=4, stopping=rule)
    assert 0 < whole.stderr.max() <= 0.02
    for cut in (34, 130, whole.n_evaluations - 40):
        path = tmp_path / f"{cut}.npz"
        engine.run(design, game, seed=4, stopping=MaxEvaluations(cut), checkpoint=path)
        resumed = engine.run(design, game, seed=4, stopping=rule, checkpoint=path)
        assert resumed.values.tobytes() == whole.values.tobytes()
        assert resumed.stderr.tobytes() == whole.stderr.tobytes()


def test_a_large_level_of_the_utility_costs_no_digits() -> None:
    design = OneSampleFitsAllSampler().design(20, ShapleySemivalue())
    small = curve(20)
    large = FunctionGame(20, lambda c: small(c) + 1e6)
    runs = [
        engine.run(design, game, seed=0, stopping=MaxEvaluations(900)) for game in (small, large)
    ]
    np.testing.assert_allclose(runs[0].values, runs[1].values, atol=1e-7)
    np.testing.assert_allclose(runs[0].stderr, runs[1].stderr, rtol=1e-3)


def test_memory_is_bounded() -> None:
    state = OneSampleFitsAllSampler().design(300, ShapleySemivalue()).accumulator().state()
    assert sum(array.nbytes for array in state.values()) < 26 * 300**2
    for sampler in (OneSampleFitsAllSampler(), ComplementarySampler()):
        with pytest.raises(InvalidOptionError, match="6,000: use sampler adjusted"):
            sampler.design(6_001, ShapleySemivalue())


def test_unknown_sizes_are_refused() -> None:
    with pytest.raises(InvalidOptionError, match="sizes must be 'semivalue' or 'all', got 'each'"):
        OneSampleFitsAllSampler(sizes="each")
