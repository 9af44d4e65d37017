"""Defects that other libraries had or have: none of them here, or of their kind.

`docs/known-defects.md` lists them all; numbers are those of that page. Where a defect belongs to a
plugin, the test is in the plugin.
"""

from __future__ import annotations

import re
import warnings
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import minimum_spanning_tree
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from dvl_banzhaf import DataBanzhafValuation, KernelBanzhafSampler, MSRSampler
from dvl_core import (
    AbsoluteStandardError,
    AntitheticSampler,
    Dataset,
    DeterministicPermutationSampler,
    DeterministicUniformSampler,
    DvlWarning,
    HistoryDeviation,
    LOOSampler,
    MatchedSampler,
    MaxEvaluations,
    MaxTime,
    MaxUpdates,
    MemoryStore,
    MinUpdates,
    ModelUtility,
    NoStopping,
    RankCorrelation,
    RelativeStandardError,
    SignCertainty,
    StableSet,
    SupervisedScorer,
    UniformSampler,
    ValuationResult,
    run_state,
)
from dvl_core.component import ComponentRef
from dvl_core.errors import ResultError
from dvl_core.games import (
    AdditiveGame,
    AirportGame,
    FunctionGame,
    MinimumSpanningTreeGame,
    RandomGame,
    ShoesGame,
    UnanimityGame,
    exact_values,
)
from dvl_core.registry import list_plugins
from dvl_core.seeds import block_generator
from dvl_core.semivalues import BanzhafSemivalue, ShapleySemivalue
from dvl_core.statistics import Estimate, RunningMoments
from dvl_core.stopping import Progress, StoppingRule
from dvl_core.testing.requirements import NotApplicable
from dvl_core.testing.sampler_estimates import check_sampler_size_law
from dvl_least_core import LeastCoreValuation
from dvl_loo import LOOValuation
from dvl_random import RandomValuation
from dvl_shapley import (
    AntitheticOwenSampler,
    AntitheticPermutationSampler,
    DataShapleyValuation,
    OwenSampler,
    PermutationSampler,
    StratifiedSampler,
    TruncatedPermutationSampler,
    VRDSSampler,
)

ROOT, HERE = Path(__file__).parents[1], Path(__file__).name
SHAPLEY = ShapleySemivalue()

observations = st.lists(st.floats(-100, 100).map(lambda x: round(x, 3)), max_size=8)


def progress(values: np.ndarray, counts: int = 1, stderr: float = 1.0) -> Progress:
    n = len(values)
    estimate = Estimate(
        np.asarray(values, dtype=float), np.ones(n), np.full(n, counts), np.full(n, stderr)
    )
    return Progress(estimate, counts, 10, 0.0)


def coalitions_of_all(n: int) -> np.ndarray:
    return (np.arange(2**n)[:, None] >> np.arange(n)) & 1 == 1


class Recording:
    """A random game that notes the coalitions it is asked for."""

    def __init__(self, n: int, sign: float = 1.0) -> None:
        self.game, self.sign = RandomGame(n, 8), sign
        self.n_players = n
        self.asked: list[np.ndarray] = []

    def with_data(self, train: Dataset) -> Recording:
        return self

    def __call__(self, coalitions: np.ndarray) -> np.ndarray:
        self.asked.append(coalitions.copy())
        return self.sign * self.game(coalitions)

    def rows(self) -> set[tuple[int, ...]]:
        return {tuple(row.astype(int)) for row in np.concatenate(self.asked)}


# -- results -------------------------------------------------------------------------------------


@given(seed=st.integers(0, 1000), by=st.sampled_from(["value", "stderr", "variance", "count"]))
def test_b10_rows_of_a_sorted_frame_stay_together(seed: int, by: str) -> None:
    """Variances and counts of a sorted result were permuted twice in its frame."""
    rng = np.random.default_rng(seed)
    result = ValuationResult(
        values=rng.normal(size=7),
        stderr=rng.random(7),
        variances=rng.random(7),
        counts=rng.integers(1, 50, 7),
        converged=rng.random(7) < 0.5,
        names=list("gfedcba"),
    )
    frame = result.sort(by).sort("value", descending=True).to_frame().set_index("index")
    assert frame["value"].is_monotonic_decreasing
    assert frame.sort_index().equals(result.to_frame().set_index("index"))


def result_of(parts: list[list[float]], seed: int) -> ValuationResult:
    """The result of a run that observed these numbers of each player."""
    moments = RunningMoments(len(parts))
    for player, part in enumerate(parts):
        moments.add_observations(np.full(len(part), player), np.array(part, dtype=float))
    e = moments.estimate()
    return ValuationResult(
        values=e.values,
        stderr=e.stderr,
        variances=e.variances,
        counts=e.counts,
        converged=[False] * len(parts),
        seed=seed,
        n_evaluations=sum(map(len, parts)),
    )


@settings(max_examples=200, deadline=None)
@given(first=st.lists(observations, min_size=3, max_size=3), data=st.data())
def test_b14_merged_moments_are_those_of_all_observations(
    first: list[list[float]], data: st.DataObject
) -> None:
    """Going on from a result squared its counts, and lost the spread of players of mean zero."""
    # The last player has a spread in each run, and the first run finds that it is worth nothing.
    first = [*first, [-2.0, 2.0]]
    second = [data.draw(observations) for _ in range(3)] + [[1.0, 3.0, 8.0]]
    merged = result_of(first, 1).merge(result_of(second, 2))
    for player, parts in enumerate(zip(first, second, strict=True)):
        seen = np.array([*parts[0], *parts[1]])
        assert merged.counts[player] == len(seen)
        if len(seen) == 0:
            assert np.isnan(merged.values[player])
            continue
        variance = seen.var(ddof=1) if len(seen) > 1 else 0.0
        np.testing.assert_allclose(merged.values[player], seen.mean(), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(merged.variances[player], variance, rtol=1e-9, atol=1e-12)
        stderr = np.sqrt(variance / len(seen)) if len(seen) > 1 else np.inf
        np.testing.assert_allclose(merged.stderr[player], stderr, rtol=1e-9, atol=1e-6)


def test_b14_the_sum_of_squares_of_ten_observations() -> None:
    """Count 10, mean 2, variance 3 stood for a sum of squares of 283; it is 67."""
    ten = 2 + np.sqrt(2.7) * np.repeat([-1.0, 1.0], 5)
    assert (ten.mean(), ten.var(ddof=1), np.square(ten).sum()) == pytest.approx((2, 3, 67))
    merged = result_of([list(ten)], 1).merge(result_of([[5.0]], 2))
    squares = merged.variances[0] * 10 + 11 * merged.values[0] ** 2
    assert squares == pytest.approx(67 + 25)


@pytest.mark.parametrize(
    "sampler", [PermutationSampler(), AntitheticPermutationSampler(), VRDSSampler()], ids=repr
)
def test_b14_merging_two_runs_is_one_pass_over_the_blocks_of_both(sampler: object) -> None:
    """What the blocks of both runs hold, folded in one pass, is the merged result."""
    game, n = RandomGame(5, 4), 5
    runs = [
        DataShapleyValuation(game, sampler, MaxEvaluations(budget), seed=seed).fit().result
        for seed, budget in ((1, 3000), (2, 700))
    ]
    design = sampler.design(n, SHAPLEY)
    together = design.accumulator()
    anchors = game(design.anchors())
    for run in runs:
        block = 0
        alone = design.accumulator()
        while alone.estimate().counts.sum() < run.counts.sum():
            sample = design.evaluate(block, game, block_generator(run.seed, block), anchors)
            alone.fold(sample)
            together.fold(sample)
            block += 1
    one_pass, merged = together.estimate(), runs[0].merge(runs[1])
    assert merged.counts.tolist() == one_pass.counts.tolist()
    np.testing.assert_allclose(merged.values, one_pass.values, rtol=1e-12)
    np.testing.assert_allclose(merged.variances, one_pass.variances, rtol=1e-10)
    np.testing.assert_allclose(merged.stderr, one_pass.stderr, rtol=1e-10)


@pytest.mark.parametrize("sampler", [MSRSampler(), KernelBanzhafSampler()], ids=repr)
def test_b14_merged_standard_errors_of_ratios_and_least_squares_mean_what_they_say(
    sampler: object,
) -> None:
    """Their variances stand for squared standard errors, and pool as those of means do."""
    game = RandomGame(10, 5)
    exact = exact_values(game, BanzhafSemivalue())

    def run(seed: int, budget: int) -> ValuationResult:
        return DataBanzhafValuation(game, sampler, MaxEvaluations(budget), seed=seed).fit().result

    parts = [(run(seed, 130), run(1000 + seed, 390)) for seed in range(50)]
    merged = [short.merge(long) for short, long in parts]
    for (short, long), result in zip(parts, merged, strict=True):
        assert result.counts.tolist() == (short.counts + long.counts).tolist()
    z = np.array([(result.values - exact) / result.stderr for result in merged])
    # 50 merged results of 10 correlated players: the mean square of z has a spread of about 0.1.
    assert 0.7 < np.square(z).mean() < 1.4
    assert abs(z.mean()) < 0.25


def test_b14_what_is_no_mean_is_not_averaged() -> None:
    """The mean of two solutions of a programme is no solution, and has no standard error."""
    game = RandomGame(6, 0)
    runs = [
        LeastCoreValuation(game, None, MaxEvaluations(200), seed=seed).fit().result
        for seed in (1, 2)
    ]
    with pytest.raises(ResultError, match="'least-core' have no standard errors"):
        runs[0].merge(runs[1])
    exact = DataShapleyValuation(game, DeterministicUniformSampler(), seed=1).fit().result
    drawn = DataShapleyValuation(game, PermutationSampler(), MaxUpdates(9), seed=2).fit().result
    for one, other in ((exact, drawn), (drawn, exact)):
        with pytest.raises(ResultError, match="the values are exact"):
            one.merge(other)


def test_b14_an_error_that_is_unknown_stays_unknown() -> None:
    """Two means of unknown error that happen to agree have no small error."""
    first, second = result_of([[1.0, 2.0], [1.0, 4.0]], 1), result_of([[1.0, 3.0], [0.0, 1.0]], 2)
    unknown = second.replaced(stderr=[np.inf, second.stderr[1]])
    assert np.isinf(first.merge(unknown).stderr).tolist() == [True, False]
    assert np.isinf(unknown.merge(first).stderr).tolist() == [True, False]


def named(names: list[str], seed: int, indices: list[int] | None = None) -> ValuationResult:
    n = len(names)
    return ValuationResult(
        values=np.arange(1.0, n + 1),
        stderr=np.ones(n),
        variances=np.full(n, 4.0),
        counts=np.full(n, 4),
        converged=[False] * n,
        indices=indices,
        names=names,
        seed=seed,
    )


def test_b23_names_that_begin_alike_are_different() -> None:
    """Names were compared by their first character."""
    with pytest.raises(ResultError, match="different names"):
        named(["a", "b"], 1).merge(named(["alice", "bob"], 2))
    long = named(["alice", "bob"], 1).merge(named(["alice", "bob"], 2).replaced(values=[3.0, 0.0]))
    assert list(long.names) == ["alice", "bob"]


def test_287_names_stay_with_their_values_when_results_are_added() -> None:
    """Names got lost or changed places when results in different orders were added."""
    merged = named(["ann", "bob", "cem"], 1).merge(named(["cem", "ann", "bob"], 2, [2, 0, 1]))
    assert dict(zip(merged.names, merged.values, strict=True)) == {
        "ann": 1.5,
        "bob": 2.5,
        "cem": 2.0,
    }


def test_b23_no_player_is_greater_than_its_equal() -> None:
    """A player compared as greater than one of the same value."""
    player, twin = named(["a"], 1)[0], named(["a"], 2)[0]
    assert player == twin
    for compare in ("__gt__", "__lt__", "__ge__", "__le__"):
        assert getattr(player, compare)(twin) is NotImplemented


def test_b23_random_values_have_the_range_they_state() -> None:
    """Random values said [0, 1) and came from [-1, 1]."""
    data = Dataset(np.zeros((2000, 1)), np.arange(2000))
    values = RandomValuation(seed=0).fit(data).result.values
    assert 0 <= values.min() < 0.01
    assert 0.99 < values.max() < 1


# -- stopping ------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), n_steps=st.integers(1, 5))
def test_b11_a_mirror_image_gets_the_same_verdict(seed: int, n_steps: int) -> None:
    """Values that grew downwards passed for still: the change was divided by a signed value."""
    steps = np.random.default_rng(seed).normal(size=(30, 3)).cumsum(axis=0)
    rules = [HistoryDeviation(n_steps, 0.5), HistoryDeviation(n_steps, 0.5)]
    for t, values in enumerate(steps, start=1):
        one, other = (
            rule.check(progress(sign * values, t))
            for rule, sign in zip(rules, (1, -1), strict=True)
        )
        assert (one.done, one.completion) == (other.done, other.completion)
        assert one.certain.tolist() == other.certain.tolist()


@pytest.mark.parametrize("sign", [1, -1])
def test_b11_values_that_grow_by_a_tenth_are_not_still(sign: int) -> None:
    """The values (-t, t/2, -2t) were still at the third check."""
    rule = HistoryDeviation(n_steps=1, rtol=0.05)
    grow = np.array([-1.0, 0.5, -2.0])
    assert not any(rule.check(progress(sign * t * grow, t)).done for t in range(1, 11))


def test_b12_a_composed_rule_starts_afresh_with_every_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Composed rules kept their counts, and their clock ran from when they were made."""
    ticks = iter(range(10**9))
    monkeypatch.setattr(run_state, "time", SimpleNamespace(perf_counter=lambda: float(next(ticks))))
    limits = {
        "time": MaxTime(200) | MaxUpdates(10**6),
        "still": (HistoryDeviation(20, 0.2) & ~MaxTime(10**9)) | MaxUpdates(10**6),
        "updates": MaxUpdates(30) | MaxTime(10**9),
    }
    for rule in limits.values():
        valuation = DataShapleyValuation(RandomGame(4, 1), PermutationSampler(), rule, seed=0)
        first, second = valuation.fit().result, valuation.fit().result
        assert second.stop_reason == first.stop_reason
        assert second.equals(first)
        assert first.counts.min() > 20


def test_b13_rankings_that_reverse_at_every_look_never_converge() -> None:
    """A correlation that did not change was taken for one that is high, even at -1."""
    rule = RankCorrelation(rtol=0.5, burn_in=2)
    sign = 1
    for t in range(2, 500):
        looks = len(rule._looks)
        latest = rule._next_look
        verdict = rule.check(progress(sign * np.arange(6.0), t))
        assert not verdict.done
        assert not verdict.certain.any()
        sign = -sign if (len(rule._looks), rule._next_look) != (looks, latest) else sign


RULES: list[StoppingRule] = [
    AbsoluteStandardError(0.5, fraction=0.5),
    RelativeStandardError(0.5, fraction=0.5),
    SignCertainty(0.9),
    StableSet(2),
    HistoryDeviation(2, 0.5),
    RankCorrelation(0.5, burn_in=2),
    RankCorrelation(1.0, burn_in=2),
    MaxEvaluations(20),
    MaxUpdates(20),
    MinUpdates(20),
    MaxTime(5),
    NoStopping(),
    ~RankCorrelation(0.2, burn_in=2),
    (HistoryDeviation(2, 0.5) & ~MaxTime(5)) | (MinUpdates(5) & StableSet(1)),
]


@pytest.mark.parametrize("rule", RULES, ids=repr)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_b13_completion_lies_between_zero_and_one(rule: StoppingRule, seed: int) -> None:
    """Completion was 1.003, or -104; and what is not known yet is certain of nobody."""
    rng = np.random.default_rng(seed)
    rule.start(4)
    values = rng.normal(size=(40, 4)).cumsum(axis=0) * rng.choice([1e-9, 0.0, 1.0, 1e9])
    for t in range(40):
        known = np.where(rng.random(4) < (0.3 if t < 5 else 0.0), np.nan, values[t])
        stderr = np.where(np.isnan(known), np.inf, rng.random(4) * rng.choice([1e-6, 1.0]))
        counts = np.where(np.isnan(known), 0, t + 1)
        estimate = Estimate(known, np.ones(4), counts, stderr)
        verdict = rule.check(Progress(estimate, 3 * t, 3, t / 5, t + 1))
        assert 0 <= verdict.completion <= 1
        assert verdict.certain.shape == (4,)
        assert not verdict.certain[np.isnan(known)].any()


def test_b13_a_rule_on_ranks_forgets_when_it_starts_again() -> None:
    """The count of updates was left over from the run before."""
    rule = RankCorrelation(burn_in=2)
    runs = []
    for _ in range(2):
        rule.start(5)
        runs.append([rule.check(progress(np.arange(5.0), t)).done for t in range(1, 20)])
    assert runs[0] == runs[1]
    assert any(runs[0])
    assert not any(runs[0][:3])


def test_300_errors_are_judged_without_dividing_by_values() -> None:
    """Errors were divided by signed values: a negative value had always converged."""
    rule = AbsoluteStandardError(0.1)
    for value in (-5.0, 0.0, 5.0):
        assert not rule.check(progress([value, value], 100, stderr=0.2)).done
        assert rule.check(progress([value, value], 100, stderr=0.05)).done


@pytest.mark.parametrize(
    "rule", [AbsoluteStandardError(0.1), RelativeStandardError(0.1), SignCertainty(), StableSet(1)]
)
def test_305_a_spread_of_zero_among_few_is_no_certainty(rule: StoppingRule) -> None:
    """A result without updates has a variance of zero, and passed for converged."""
    moments = RunningMoments(3)
    for _ in range(4):
        estimate = moments.estimate()
        verdict = rule.check(Progress(estimate, 0, 1, 0.0))
        assert not verdict.done
        assert not verdict.certain.any()
        moments.add_rows(np.array([[1.0, 2.0, 3.0]]))


# -- termination, players left out ----------------------------------------------------------------


@pytest.mark.timeout(60)
def test_b20_a_budget_ends_a_run_whose_blocks_evaluate_nothing() -> None:
    """With nothing left to draw a sampler went round for ever."""
    nothing = TruncatedPermutationSampler(rule="fixed", fraction=0.0)
    run = DataShapleyValuation(RandomGame(4, 0), nothing, MaxEvaluations(100), seed=0).fit()
    assert run.result.n_evaluations == 2
    assert "budget of 100" in run.result.stop_reason


@pytest.mark.timeout(60)
def test_b20_a_run_ends_when_all_players_are_certain() -> None:
    """With all players converged, and therefore skipped, a sampler went round for ever."""
    rule = AbsoluteStandardError(0.1) & MinUpdates(30)
    run = DataShapleyValuation(AdditiveGame([1.0, 2.0, 3.0]), PermutationSampler(), rule, seed=0)
    result = run.fit().result
    assert result.converged.all()
    assert 30 <= result.counts.min() < 200


def test_b21_every_permutation_informs_every_player() -> None:
    """Players that had converged were left out, yet the others weighed as if they were there."""
    # Player 0 adds a constant and is certain at once; the others are not.
    game = FunctionGame(4, lambda c: 5.0 * c[:, 0] + c[:, 1] * c[:, 2] * c[:, 3])
    rule = AbsoluteStandardError(0.02)
    result = DataShapleyValuation(game, PermutationSampler(), rule, seed=0).fit().result
    assert len(set(result.counts.tolist())) == 1
    assert result.counts[0] > 100
    assert result.stderr[0] == 0
    np.testing.assert_allclose(result.values.sum(), 6.0)


# -- samplers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_outer", [1, 2, 3, 10, 100])
@pytest.mark.parametrize("cls", [OwenSampler, AntitheticOwenSampler])
def test_b15_a_grid_of_levels_has_the_weights_of_a_quadrature(cls: type, n_outer: int) -> None:
    """A plain mean over a grid with both ends gave .2778 for the game of all four, not .25."""
    design = cls(n_outer=n_outer, strategy="grid").design(4, SHAPLEY)
    unanimous = design.draw.weighted_law(4)[3]
    coarse = cls is OwenSampler and n_outer == 1
    assert design.guarantee == ("biased-by-option" if coarse else "unbiased")
    assert unanimous == pytest.approx(0.125 if coarse else 0.25, abs=1e-12)


@pytest.mark.parametrize("strategy", ["uniform", "grid"])
@pytest.mark.parametrize("cls", [OwenSampler, AntitheticOwenSampler])
def test_b15_266_618_owen_estimates_agree_with_the_closed_form(cls: type, strategy: str) -> None:
    """Owen samplers, the antithetic one too, were off in the mean."""
    sampler = cls(n_outer=3, strategy=strategy)
    game = UnanimityGame([True] * 4)
    run = DataShapleyValuation(game, sampler, MaxEvaluations(20_000), seed=0).fit().result
    assert (np.abs(run.values - 0.25) < 5 * run.stderr).all()
    assert run.stderr.max() < 0.01


@pytest.mark.parametrize("p", [0.2, 0.7])
def test_597_p_is_the_chance_to_be_in(p: float) -> None:
    """Coalitions were drawn with the chance 1 - p."""
    design = MSRSampler(p).design(50, BanzhafSemivalue(p))
    packed = design.evaluate(0, lambda c: np.zeros(len(c)), np.random.default_rng(0), np.zeros(0))
    members = np.unpackbits(packed["members"], axis=1, count=50)
    # 3,200 coins.
    assert abs(members.mean() - p) < 5 * np.sqrt(p * (1 - p) / members.size)
    # Two others must be in for a third to count.
    samplers = [DeterministicUniformSampler(), DeterministicPermutationSampler(), MSRSampler()]
    samplers += [MatchedSampler(), OwenSampler(strategy="grid"), UniformSampler()]
    for sampler in samplers:
        game = UnanimityGame([True, True, True])
        run = DataBanzhafValuation(game, sampler, MaxEvaluations(20_000), p=p, seed=1).fit().result
        assert (np.abs(run.values - p**2) <= 5.5 * run.stderr + 1e-12).all(), sampler
        assert run.stderr.max() < 0.02


@pytest.mark.parametrize("p", [0.5, 0.3])
def test_605_msr_has_the_variance_of_a_difference_of_two_means(p: float) -> None:
    """Variances of maximum sample reuse were those of neither mean nor of their difference."""
    game = RandomGame(4, 9)
    design = MSRSampler().design(4, BanzhafSemivalue(p))
    accumulator, members, utilities = design.accumulator(), [], []
    for block in range(4):
        sample = design.evaluate(block, game, block_generator(0, block), np.zeros(0))
        accumulator.fold(sample)
        members.append(np.unpackbits(sample["members"], axis=1, count=4).astype(bool))
        utilities.append(sample["values"])
    inside, u = np.concatenate(members), np.concatenate(utilities)
    estimate = accumulator.estimate()
    for player in range(4):
        sides = (u[inside[:, player]], u[~inside[:, player]])
        squared = sum(side.var(ddof=1) / len(side) for side in sides)
        assert estimate.stderr[player] == pytest.approx(np.sqrt(squared), rel=1e-9)
        assert estimate.variances[player] == pytest.approx(squared * len(u), rel=1e-9)


@pytest.mark.parametrize(
    "ref", [r for r in list_plugins("sampler") if r.status == "ok"], ids=lambda r: r.name
)
def test_641_sizes_are_drawn_as_often_as_the_weights_take_for_granted(ref: ComponentRef) -> None:
    """Weights of samplers did not fit what they drew."""
    try:
        check_sampler_size_law(ref.load())
    except NotApplicable as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize(
    "sampler", [VRDSSampler(), StratifiedSampler("constant"), StratifiedSampler("linear")], ids=repr
)
@pytest.mark.parametrize("n", [1, 2, 5])
def test_b23_strata_are_the_sizes_of_what_a_player_can_join(sampler: object, n: int) -> None:
    """Strata were counted by the number of players, not by that of the others."""
    draw = (StratifiedSampler("harmonic") if sampler == VRDSSampler() else sampler).size_law(n)
    assert len(draw) == n
    assert (draw > 0).all()
    if n == 1:
        return
    design = sampler.design(n, SHAPLEY)
    sizes = set()
    for block in range(30):
        rng = np.random.default_rng(block)
        players = np.arange(8) % n
        without = design.draw(rng, players, n)
        assert not without[:, np.arange(8), players].any()
        sizes |= set(without.sum(axis=-1).ravel().tolist())
    assert sizes == set(range(n))


# -- an index that is zero is no absence -----------------------------------------------------------


@pytest.mark.parametrize(
    "sampler", [MSRSampler(), UniformSampler(), AntitheticSampler(), PermutationSampler()], ids=repr
)
def test_bug_opendataval_player_zero_alone_is_not_the_empty_coalition(sampler: object) -> None:
    """Banzhaf, AME and Data-OOB: "any index" is false of {0}, so it passed for empty."""
    game = Recording(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DvlWarning)
        run = DataBanzhafValuation(game, sampler, MaxEvaluations(3_000), seed=0).fit().result
    assert game.rows() == {tuple(row.astype(int)) for row in coalitions_of_all(3)}
    exact = exact_values(game.game, BanzhafSemivalue())
    assert (np.abs(run.values - exact) < 5.5 * run.stderr).all()


def test_bug_opendataval_a_model_is_trained_on_row_zero_alone() -> None:
    """The coalition {0} got the score of the empty one."""
    train = Dataset([[0.0], [1.0], [2.0]], [1, 0, 0])
    test = Dataset([[0.0], [1.0], [2.0], [3.0]], [1, 1, 1, 0])
    utility = ModelUtility(
        KNeighborsClassifier(1), SupervisedScorer("accuracy", test, default=0.1)
    ).with_data(train)
    rows = np.array([[False] * 3, [True, False, False], [False, True, False]])
    evaluation = utility.evaluate(rows)
    assert evaluation.values.tolist() == [0.1, 0.75, 0.25]
    assert evaluation.failed.tolist() == [True, False, False]


@pytest.mark.parametrize("rule", ["relative", "deviation"])
def test_bug_opendataval_truncation_does_not_depend_on_the_sign_of_the_total(rule: str) -> None:
    """A chain was cut by the change over the sum so far: at once if that is negative."""
    sampler = TruncatedPermutationSampler(rule, tolerance=0.2, deviations=0.5, burn_in=0.0)
    games = Recording(6), Recording(6, sign=-1.0)
    plus, minus = (
        DataShapleyValuation(game, sampler, MaxUpdates(200), seed=0).fit().result for game in games
    )
    assert games[0].rows() == games[1].rows()
    assert plus.n_evaluations == minus.n_evaluations < 200 * 5
    np.testing.assert_array_equal(plus.values, -minus.values)


def test_bug_opendataval_truncation_with_a_total_of_zero_cuts_nothing() -> None:
    """A sum near zero as the denominator cut chains at random."""
    # All players together are worth what nobody is, and no other coalition is.
    worth = np.append(np.random.default_rng(0).uniform(1, 2, 2**5 - 1), 0.0)
    worth[0] = 0.0
    game = FunctionGame(5, lambda c: worth[c @ (1 << np.arange(5))])
    sampler = TruncatedPermutationSampler(burn_in=0.0)
    cut = DataShapleyValuation(game, sampler, MaxUpdates(400), seed=3).fit().result
    whole = DataShapleyValuation(game, PermutationSampler(), MaxUpdates(400), seed=3).fit().result
    np.testing.assert_allclose(cut.values, whole.values, atol=1e-12)
    assert cut.n_evaluations == whole.n_evaluations


def test_bug_opendataval_small_coalitions_are_sampled() -> None:
    """Fewer than five players were never drawn, so that the values were not Shapley's."""
    for sampler in (PermutationSampler(), TruncatedPermutationSampler()):
        game = Recording(8)
        DataShapleyValuation(game, sampler, MaxUpdates(50), seed=0).fit()
        assert {sum(row) for row in game.rows()} >= {0, 1, 2, 3, 4, 8}


# -- stores --------------------------------------------------------------------------------------


def test_b17_a_coalition_is_found_whichever_player_it_was_drawn_for() -> None:
    """Keys held the index and the order of the coalition: hits were rare."""
    game, store = RandomGame(5, 3), MemoryStore()
    first = DataShapleyValuation(game, DeterministicUniformSampler(), seed=0, store=store).fit()
    assert first.result.n_computed == len(store) == 2**5
    for method, sampler in (
        (DataShapleyValuation, PermutationSampler()),
        (DataShapleyValuation, VRDSSampler()),
        (DataBanzhafValuation, UniformSampler()),
        (DataBanzhafValuation, MSRSampler()),
    ):
        later = method(game, sampler, MaxEvaluations(500), seed=1, store=store).fit().result
        assert later.n_evaluations > 300
        assert later.n_computed == 0
    assert LOOValuation(game, LOOSampler(), store=store).fit().result.n_computed == 0


def test_b17_values_of_other_data_models_or_scores_are_never_taken() -> None:
    """Keys did not hold the data: another data set was answered with the values of the first."""
    rng = np.random.default_rng(0)
    y = np.tile([0, 1], 12)
    x = rng.normal(size=(24, 2)) + y[:, None]
    train, test = Dataset(x[:4], y[:4]), Dataset(x[12:], y[12:])
    other_train, other_test = Dataset(x[4:8], y[4:8]), Dataset(x[12:20], y[12:20])
    model, relabelled = LogisticRegression(), Dataset(x[:4], y[[0, 1, 3, 2]])
    cases = [
        (model, SupervisedScorer("accuracy", test), train),
        (model, SupervisedScorer("accuracy", test), other_train),
        (model, SupervisedScorer("accuracy", test), relabelled),
        (model, SupervisedScorer("accuracy", other_test), train),
        (model, SupervisedScorer("accuracy", test, default=0.25), train),
        (model, SupervisedScorer("balanced_accuracy", other_test), train),
        (LogisticRegression(C=0.01), SupervisedScorer("accuracy", test), train),
        (DummyClassifier(strategy="prior"), SupervisedScorer("accuracy", test), train),
    ]
    store = MemoryStore()
    for case, (estimator, scorer, data) in enumerate(cases):
        utility = ModelUtility(estimator, scorer)
        options = {"sampler": DeterministicUniformSampler(), "seed": 0}
        alone = DataShapleyValuation(utility, **options).fit(data).result
        before = len(store)
        shared = DataShapleyValuation(utility, store=store, **options).fit(data).result
        assert shared.equals(alone), case
        assert shared.n_computed == alone.n_computed, case
        assert len(store) - before == alone.n_computed - alone.n_failures, case
        again = DataShapleyValuation(utility, store=store, **options).fit(data).result
        assert again.n_computed == again.n_failures, case


# -- games and the least core ----------------------------------------------------------------------


def test_b18_the_airport_can_be_built_and_shares_its_runway() -> None:
    """The game of the published table could not be constructed: nine costs for eight classes."""
    game = AirportGame()
    everybody = np.ones((1, 100), dtype=bool)
    assert game(everybody).tolist() == [10.0]
    assert game(~everybody).tolist() == [0.0]
    shares = game.shapley_values()
    assert shares.sum() == pytest.approx(10.0)
    assert shares[0] == pytest.approx(1 / 100)
    assert shares[-1] == pytest.approx(0.289369662, abs=1e-9)
    small = AirportGame((1, 2, 1), (1.0, 4.0, 6.0))
    np.testing.assert_allclose(small.shapley_values(), exact_values(small, SHAPLEY))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6])
def test_b18_trees_span_the_source_too(n: int) -> None:
    """The game had no source: all players cost 99 instead of 200, one alone infinitely much."""
    game = MinimumSpanningTreeGame(n)
    costs = np.zeros((n + 1, n + 1))
    for player, neighbour in pairwise([*range(n), 0]):
        if player != neighbour:
            costs[player, neighbour] = costs[neighbour, player] = 1.0
    costs[:n, n] = costs[n, :n] = n + 1.0
    for coalition in coalitions_of_all(n):
        members = [*np.flatnonzero(coalition), n]
        tree = minimum_spanning_tree(costs[np.ix_(members, members)])
        assert game(coalition[None])[0] == tree.sum()
    assert game(np.ones((1, n), dtype=bool))[0] == 2 * n
    np.testing.assert_allclose(exact_values(game, SHAPLEY), 2.0)
    np.testing.assert_allclose(game.shapley_values(), 2.0)


@pytest.mark.parametrize("left", [1, 2, 3, 4])
@pytest.mark.parametrize("right", [1, 2, 3, 4])
def test_b19_the_least_core_of_shoes(left: int, right: int) -> None:
    """Where there were as many left as right shoes the subsidy was -1/2; only one pair has that."""
    exact = LeastCoreValuation(ShoesGame(left, right), DeterministicUniformSampler()).fit().result
    scarce = {-1: (1.0, 0.0), 0: (0.5, 0.5), 1: (0.0, 1.0)}[int(np.sign(left - right))]
    np.testing.assert_allclose(exact.values, np.repeat(scarce, [left, right]), atol=1e-5)
    subsidy = -0.5 if left == right == 1 else 0.0
    assert exact.extras["subsidy"] == pytest.approx(subsidy, abs=1e-6)


def test_304_a_subsidy_is_negative_where_there_is_more_than_enough() -> None:
    """Subsidies were forced to be at least zero, unasked."""
    all_subsets = DeterministicUniformSampler()
    free = LeastCoreValuation(ShoesGame(1, 1), all_subsets).fit().result
    assert free.extras["subsidy"] == pytest.approx(-0.5, abs=1e-6)
    bound = LeastCoreValuation(ShoesGame(1, 1), all_subsets, non_negative_subsidy=True).fit().result
    assert bound.extras["subsidy"] == pytest.approx(0.0, abs=1e-6)
    # Of three, any two are worth 1: each pair gets 2/3 and lacks 1/3.
    short = LeastCoreValuation(
        FunctionGame(3, lambda c: (c.sum(axis=1) >= 2).astype(float)), all_subsets
    )
    assert short.fit().result.extras["subsidy"] == pytest.approx(1 / 3, abs=1e-6)


def test_251_fewer_constraints_than_players_have_a_solution() -> None:
    """With fewer coalitions than players the least core raised an error."""
    game = AdditiveGame(np.linspace(-1, 1, 150))
    few = LeastCoreValuation(game, None, MaxEvaluations(4), seed=0).fit().result
    assert few.extras["n_constraints"] < 150
    assert few.extras["solver_status"] == "optimal"
    assert few.values.sum() == pytest.approx(0.0, abs=1e-6)
    assert np.isinf(few.stderr).all()


# -- the page ------------------------------------------------------------------------------------


# The page writes T for the name of this file, and I for the tests of influence functions.
PAGE = (ROOT / "docs" / "known-defects.md").read_text().replace("`T::", f"`tests/{HERE}::")
PAGE = PAGE.replace("`I/", "`plugins/dvl-influence/tests/")
NAMED = sorted(set(re.findall(r"`([^`]+)::([^`]+)`", PAGE)))
NUMBERS = (*range(1, 26), 251, 266, 287, 300, 304, 305, 597, 605, 613, 618, 641, 664)


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_every_test_that_the_page_names_exists(file: str, name: str) -> None:
    assert re.search(rf"^def {name}\(|^{name} = ", (ROOT / file).read_text(), re.MULTILINE)


def test_the_page_has_every_number_and_a_guard_or_a_reason() -> None:
    rows = [line.split("|")[1:-1] for line in PAGE.splitlines() if line.startswith("| ")]
    rows = [row for row in rows if row[0].strip() != "row"]
    numbers = {int(number) for row in rows for number in re.findall(r"\d+", row[0])}
    assert set(NUMBERS) <= numbers
    for number, defect, guard in rows:
        assert defect.strip(), number
        assert "::" in guard or guard.strip().startswith("Cannot"), number


def test_the_page_names_every_test_of_this_file() -> None:
    every = re.findall(r"^def (test_(?:b\d|\d|bug)\w+)", Path(__file__).read_text(), re.MULTILINE)
    assert set(every) == {name for file, name in NAMED if file == f"tests/{HERE}"}
