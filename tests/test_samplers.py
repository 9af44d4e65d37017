"""The core samplers and the engine: exact where they say so, unbiased where they say so."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dvl_banzhaf import MSRSampler
from dvl_core import engine
from dvl_core.designs import draws
from dvl_core.errors import DvlWarning, InvalidOptionError, UnsupportedSemivalueError
from dvl_core.games import RandomGame, exact_values
from dvl_core.protocols import Sampler, Semivalue
from dvl_core.result import ValuationResult
from dvl_core.samplers import (
    AntitheticSampler,
    DeterministicPermutationSampler,
    DeterministicUniformSampler,
    LOOSampler,
    MatchedSampler,
    UniformSampler,
)
from dvl_core.semivalues import (
    BanzhafSemivalue,
    BetaSemivalue,
    LOOSemivalue,
    ShapleySemivalue,
    SizeLawSemivalue,
)
from dvl_core.stopping import MaxEvaluations, MaxUpdates, StoppingRule
from dvl_shapley import (
    AntitheticOwenSampler,
    AntitheticPermutationSampler,
    OwenSampler,
    PermutationSampler,
    StratifiedSampler,
    TruncatedPermutationSampler,
    VRDSSampler,
)

EXACT = [DeterministicUniformSampler(), DeterministicPermutationSampler()]
DRAWN = [
    UniformSampler(),
    AntitheticSampler(),
    PermutationSampler(),
    AntitheticPermutationSampler(),
    MSRSampler(),
    MSRSampler(p=0.3),
]
SEMIVALUES = [
    ShapleySemivalue(),
    BanzhafSemivalue(),
    BanzhafSemivalue(0.3),
    BetaSemivalue(4, 1),
    BetaSemivalue(1, 4),
    LOOSemivalue(),
]


def name(component: object) -> str:
    return repr(component)


def value(
    game: object, sampler: Sampler, semivalue: Semivalue, stopping: StoppingRule | None, seed: int
) -> ValuationResult:
    with warnings.catch_warnings():
        # Uneven weights are part of what is tested here.
        warnings.simplefilter("ignore", DvlWarning)
        design = sampler.design(game.n_players, semivalue)
    return engine.run(design, game, seed=seed, stopping=stopping)


@pytest.mark.parametrize("sampler", EXACT, ids=name)
@pytest.mark.parametrize("semivalue", SEMIVALUES, ids=name)
@settings(max_examples=10, deadline=None)
@given(n=st.integers(1, 5), seed=st.integers(0, 10**6))
def test_enumerations_are_exact(sampler: Sampler, semivalue: Semivalue, n: int, seed: int) -> None:
    game = RandomGame(n, seed)
    result = value(game, sampler, semivalue, None, seed)
    np.testing.assert_allclose(result.values, exact_values(game, semivalue), atol=1e-12)
    assert (result.stderr == 0).all()
    assert result.converged.all()
    assert result.stop_reason == "complete"


@settings(max_examples=20, deadline=None)
@given(n=st.integers(1, 5), seed=st.integers(0, 10**6))
def test_enumerations_take_any_size_law(n: int, seed: int) -> None:
    law = np.random.default_rng(seed).dirichlet(np.ones(n))
    semivalue = SizeLawSemivalue(tuple(law / law.sum()), "random law")
    game = RandomGame(n, seed)
    expected = exact_values(game, semivalue)
    for sampler in EXACT:
        result = value(game, sampler, semivalue, None, 0)
        np.testing.assert_allclose(result.values, expected, atol=1e-12)


def test_leave_one_out_needs_one_evaluation_a_player_and_one_more() -> None:
    game = RandomGame(7, 1)
    result = value(game, LOOSampler(), LOOSemivalue(), None, 0)
    np.testing.assert_allclose(result.values, exact_values(game, LOOSemivalue()), atol=1e-14)
    assert result.n_evaluations == 8
    assert (result.stderr == 0).all()


@pytest.mark.parametrize("sampler", DRAWN, ids=name)
@pytest.mark.parametrize("semivalue", SEMIVALUES, ids=name)
def test_drawn_estimates_agree_with_enumeration(sampler: Sampler, semivalue: Semivalue) -> None:
    for n in (1, 2, 5):
        game = RandomGame(n, n)
        result = value(game, sampler, semivalue, MaxEvaluations(20_000), seed=11)
        error = np.abs(result.values - exact_values(game, semivalue))
        # Sixty comparisons at five standard errors: a false alarm once in 30,000 suites.
        assert (error <= 5 * result.stderr + 1e-12).all(), (error, result.stderr)
        assert result.stderr.max() < 0.2


@pytest.mark.parametrize("sampler", DRAWN[:5], ids=name)
def test_standard_errors_mean_what_they_say(sampler: Sampler) -> None:
    semivalue = BanzhafSemivalue()
    game = RandomGame(5, 3)
    exact = exact_values(game, semivalue)
    runs = [value(game, sampler, semivalue, MaxEvaluations(1500), seed) for seed in range(150)]
    z = np.array([(run.values - exact) / run.stderr for run in runs])
    # 150 runs of 5 correlated players: the mean square of z has a spread of about 0.1.
    assert 0.7 < np.square(z).mean() < 1.4
    assert abs(z.mean()) < 0.25


def test_truncation_saves_evaluations_and_is_declared() -> None:
    game = RandomGame(6, 0)
    whole = value(game, PermutationSampler(), ShapleySemivalue(), MaxUpdates(500), 0)
    sampler = TruncatedPermutationSampler(rule="fixed", fraction=0.5)
    cut = value(game, sampler, ShapleySemivalue(), MaxUpdates(500), 0)
    assert cut.n_evaluations < 0.7 * whole.n_evaluations
    assert sampler.design(6, ShapleySemivalue()).guarantee == "biased-by-option"


def test_no_tolerance_truncates_nothing_but_ties() -> None:
    game = RandomGame(5, 2)
    sampler = TruncatedPermutationSampler(tolerance=0.0, burn_in=0.0)
    cut = value(game, sampler, ShapleySemivalue(), MaxUpdates(300), 5)
    whole = value(game, PermutationSampler(), ShapleySemivalue(), MaxUpdates(300), 5)
    np.testing.assert_allclose(cut.values, whole.values, atol=1e-12)


def test_fixed_truncation_gives_zero_to_those_after_the_cut() -> None:
    game = RandomGame(4, 0)
    sampler = TruncatedPermutationSampler(rule="fixed", fraction=0.0)
    result = value(game, sampler, ShapleySemivalue(), MaxUpdates(100), 0)
    assert (result.values == 0).all()
    assert result.n_evaluations == 2


def test_msr_for_its_own_semivalue_is_a_difference_of_means() -> None:
    game = RandomGame(4, 9)
    design = MSRSampler().design(4, BanzhafSemivalue())
    rng = np.random.default_rng(0)
    sample = design.evaluate(0, game, rng, np.zeros(0))
    accumulator = design.accumulator()
    accumulator.fold(sample)
    estimate = accumulator.estimate()
    members = np.unpackbits(sample["members"], axis=1, count=4).astype(bool)
    u = sample["values"]
    for i in range(4):
        inside, outside = u[members[:, i]], u[~members[:, i]]
        np.testing.assert_allclose(estimate.values[i], inside.mean() - outside.mean(), rtol=1e-12)
        spread = inside.var(ddof=1) / len(inside) + outside.var(ddof=1) / len(outside)
        np.testing.assert_allclose(estimate.stderr[i], np.sqrt(spread), rtol=1e-10)


@pytest.mark.parametrize("semivalue", SEMIVALUES[:-1], ids=name)
def test_leave_one_out_covers_nothing_else(semivalue: Semivalue) -> None:
    with pytest.raises(UnsupportedSemivalueError, match="never draws coalitions of size 0"):
        LOOSampler().design(4, semivalue)


def test_ruinous_weights_are_announced() -> None:
    with pytest.warns(DvlWarning, match="effective sample size"):
        MSRSampler().design(50, ShapleySemivalue())
    with pytest.warns(DvlWarning, match="effective sample size"):
        UniformSampler().design(50, ShapleySemivalue())


def test_too_many_players_to_enumerate_are_refused_before_anything_is_trained() -> None:
    with pytest.raises(InvalidOptionError, match="too many"):
        DeterministicUniformSampler().design(40, ShapleySemivalue())
    with pytest.raises(InvalidOptionError, match="too many"):
        DeterministicPermutationSampler().design(20, ShapleySemivalue())


@pytest.mark.parametrize(
    "make",
    [
        UniformSampler,
        AntitheticSampler,
        MatchedSampler,
        StratifiedSampler,
        lambda **options: StratifiedSampler("neyman", **options),
        VRDSSampler,
        OwenSampler,
        lambda **options: OwenSampler(strategy="grid", **options),
        AntitheticOwenSampler,
    ],
)
def test_players_come_in_turn_or_at_random(make: Callable[..., Sampler]) -> None:
    game, semivalue = RandomGame(6, 4), BanzhafSemivalue()
    counts = {}
    for order in ("in-turn", "random"):
        design = make(order=order).design(6, semivalue)
        result = engine.run(design, game, seed=1, stopping=MaxEvaluations(6_000))
        assert (np.abs(result.values - exact_values(game, semivalue)) < 5 * result.stderr).all()
        counts[order] = result.counts
    assert np.ptp(counts["in-turn"]) <= 1 < np.ptp(counts["random"])
    with pytest.raises(InvalidOptionError, match="order must be 'in-turn' or 'random', got 'up'"):
        make(order="up")


def test_equal_keys_at_the_cut_do_not_let_in_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = draws.random_bits, []

    def tied_at_first(rng: np.random.Generator, n_bytes: int):
        calls.append(n_bytes)
        return np.zeros(n_bytes, np.uint8) if len(calls) == 1 else real(rng, n_bytes)

    monkeypatch.setattr(draws, "random_bits", tied_at_first)
    sizes = np.array([0, 1, 3, 5])
    drawn = draws.uniform_subsets(np.random.default_rng(0), sizes, 5)
    assert drawn.sum(axis=1).tolist() == sizes.tolist()
    assert len(calls) == 2
