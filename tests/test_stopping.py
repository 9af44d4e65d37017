"""Stopping rules: each on its own, composed, reused, restored."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest

from dvl_core.errors import InvalidOptionError
from dvl_core.games import FunctionGame
from dvl_core.statistics import Estimate
from dvl_core.stopping import (
    AbsoluteStandardError,
    HistoryDeviation,
    MaxEvaluations,
    MaxTime,
    MaxUpdates,
    MinUpdates,
    NoStopping,
    Progress,
    RankCorrelation,
    SignCertainty,
    StoppingRule,
)
from dvl_shapley import DataShapleyValuation, PermutationSampler


def progress(
    values: list[float] | np.ndarray = (0.0, 0.0),
    counts: list[int] | int = 1,
    stderr: list[float] | float = 1.0,
    n_evaluations: int = 1,
    elapsed: float = 0.0,
) -> Progress:
    values = np.asarray(values, dtype=float)
    ones = np.ones(len(values))
    count = (ones * counts).astype(np.int64)
    estimate = Estimate(values, ones, count, ones * np.asarray(stderr))
    return Progress(estimate, n_evaluations, 10, elapsed)


def test_max_evaluations_is_never_overdrawn() -> None:
    rule = MaxEvaluations(100)
    assert not rule.check(progress(n_evaluations=90)).done
    assert rule.check(progress(n_evaluations=91)).done


def test_updates_look_at_the_extreme_players() -> None:
    state = progress(counts=[3, 7])
    assert MaxUpdates(7).check(state).done
    assert not MaxUpdates(8).check(state).done
    assert MinUpdates(3).check(state).done
    assert not MinUpdates(4).check(state).done


def test_time_and_no_stopping() -> None:
    assert MaxTime(2).check(progress(elapsed=2.0)).done
    assert not MaxTime(2).check(progress(elapsed=1.9)).done
    assert not NoStopping().check(progress(n_evaluations=10**9)).done


def test_standard_error_names_the_certain_players() -> None:
    verdict = AbsoluteStandardError(0.1, fraction=0.5).check(
        progress(counts=20, stderr=[0.05, 0.2])
    )
    assert verdict.done
    assert verdict.certain.tolist() == [True, False]


def test_zero_spread_of_a_few_updates_is_not_convergence() -> None:
    rule = AbsoluteStandardError(0.1)
    assert not rule.check(progress(counts=4, stderr=0.0)).done


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_growing_values_never_pass_for_still(sign: float) -> None:
    rule = HistoryDeviation(n_steps=1, rtol=0.05)
    for t in range(1, 30):
        values = sign * np.array([-t, t / 2, -2.0 * t])
        done = rule.check(progress(values, counts=t)).done
        assert not done or t > 20  # relative change 1/t falls below 5 % after 20 steps


def test_still_values_pass_after_the_window_only() -> None:
    rule = HistoryDeviation(n_steps=5, rtol=0.05)
    done = [rule.check(progress([1.0, 0.0], counts=t)).done for t in range(1, 9)]
    assert done == [False] * 5 + [True] * 3


def test_the_window_counts_updates_not_blocks() -> None:
    rule = HistoryDeviation(n_steps=5, rtol=0.05)
    counts = [[1, 1]] * 20
    assert not any(rule.check(progress([1.0, 2.0], counts=c)).done for c in counts)


def test_ranks_that_keep_reversing_never_converge() -> None:
    rule = RankCorrelation(rtol=0.5, burn_in=2)
    for t in range(2, 400):
        sign = 1.0 if int(np.log2(t)) % 2 else -1.0
        assert not rule.check(progress(sign * np.arange(6.0), counts=t)).done


def test_stable_ranks_converge_and_completion_stays_in_bounds() -> None:
    rule = RankCorrelation(rtol=0.01, burn_in=4)
    verdicts = [rule.check(progress(np.arange(5.0), counts=t)) for t in range(1, 20)]
    assert verdicts[-1].done or any(v.done for v in verdicts)
    assert all(0 <= v.completion <= 1 for v in verdicts)
    first = next(i for i, v in enumerate(verdicts) if v.done) + 1
    assert first >= 4 * 1.25**2


@pytest.mark.parametrize(
    ("left", "right", "either", "both"),
    [(True, True, True, True), (True, False, True, False), (False, False, False, False)],
)
def test_composition(left: bool, right: bool, either: bool, both: bool) -> None:
    def rule(done: bool) -> StoppingRule:
        return MaxUpdates(1 if done else 1000)

    state = progress(counts=5)
    assert (rule(left) | rule(right)).check(state).done is either
    assert (rule(left) & rule(right)).check(state).done is both
    assert (~rule(left)).check(state).done is not left


def test_composed_rules_name_the_players_that_their_judges_name() -> None:
    state = progress([5.0, 0.1, 0.0], counts=20, stderr=[0.5, 0.05, 0.01], elapsed=3.0)
    small, signs = AbsoluteStandardError(0.1), SignCertainty(0.5)
    done, undone = MaxTime(2), MaxUpdates(1000)

    def named(rule: StoppingRule) -> list[bool]:
        return rule.check(state).certain.tolist()

    assert named(small) == [False, True, True]
    assert named(signs) == [True, True, False]
    assert named(small | signs) == [True, True, True]
    assert named(small & signs) == [False, True, False]
    # Budgets and negations know nothing of players, and have no say whatever their answer.
    for budget in (done, undone, ~undone, done & undone, done | undone, ~signs, NoStopping()):
        assert named(budget) == [False, False, False]
        assert named(small | budget) == named(small & budget) == named(small)
        assert named(budget & small) == named((budget & small) & done) == named(small)
    assert named((small & done) & signs) == named(small & signs)


def test_a_stable_ranking_makes_all_players_certain_and_an_unstable_one_none() -> None:
    rule = RankCorrelation(burn_in=2) | MaxUpdates(60)
    stable = [rule.check(progress(np.arange(4.0), counts=t)) for t in range(2, 20)]
    assert any(v.done for v in stable)
    for verdict in stable:
        assert verdict.certain.tolist() == [verdict.done] * 4
    rng = np.random.default_rng(0)
    rule.start(4)
    verdict = [rule.check(progress(rng.normal(size=4), counts=t)) for t in range(2, 61)][-1]
    assert verdict.done
    assert not verdict.certain.any()


def test_a_run_that_a_budget_ends_names_who_is_certain_already() -> None:
    rule = (AbsoluteStandardError(1e-3) & MinUpdates(20)) | MaxUpdates(200)
    game = FunctionGame(3, lambda c: c[:, 0] + c[:, 1] * c[:, 2] / 2)
    result = DataShapleyValuation(game, PermutationSampler(), rule, seed=0).fit().result
    assert "200 updates" in result.stop_reason
    assert result.converged.tolist() == [True, False, False]
    both = AbsoluteStandardError(0.1) & MinUpdates(50)
    result = DataShapleyValuation(game, PermutationSampler(), both, seed=0).fit().result
    assert result.converged.all()


@pytest.mark.parametrize("blocks", [90, 91])
def test_blocks_that_evaluate_nothing_use_up_the_budget_too(blocks: int) -> None:
    state = replace(progress(n_evaluations=2), n_blocks=blocks)
    verdict = MaxEvaluations(100).check(state)
    assert verdict.done is (blocks > 90)
    assert verdict.completion == blocks / 100


def test_a_ranking_that_may_be_anything_but_reversed() -> None:
    rule = RankCorrelation(rtol=1.0, burn_in=2)
    verdicts = [
        rule.check(progress(np.arange(4.0) * (-1 if t > 4 else 1), counts=t)) for t in range(2, 7)
    ]
    assert not any(v.done for v in verdicts)
    assert {v.completion for v in verdicts} == {0.0}


def test_a_composed_rule_forgets_when_started_again() -> None:
    rule = HistoryDeviation(2, 0.05) | (RankCorrelation(burn_in=2) & ~MaxUpdates(10**6))
    for t in range(1, 60):
        last = rule.check(progress([1.0, 2.0], counts=t))
    assert last.done
    rule.start(2)
    assert not rule.check(progress([1.0, 2.0], counts=60)).done


def test_state_of_a_composed_rule_restores() -> None:
    rule = HistoryDeviation(3, 0.05) | (RankCorrelation(burn_in=2) & MinUpdates(5))
    twin = copy.deepcopy(rule)
    rng = np.random.default_rng(0)
    values = 1 + rng.normal(size=(40, 4)).cumsum(axis=0) / np.arange(1, 41)[:, None]
    for t in range(1, 20):
        rule.check(progress(values[t], counts=t))
    twin.restore(rule.state())
    for t in range(20, 40):
        a, b = (r.check(progress(values[t], counts=t)) for r in (rule, twin))
        assert (a.done, a.completion) == (b.done, b.completion)
        assert a.certain.tolist() == b.certain.tolist()


@pytest.mark.parametrize(
    "make",
    [
        lambda: MaxUpdates(0),
        lambda: MinUpdates(-1),
        lambda: MaxEvaluations(0),
        lambda: MaxTime(float("nan")),
        lambda: AbsoluteStandardError(0.0),
        lambda: AbsoluteStandardError(0.1, fraction=1.5),
        lambda: HistoryDeviation(0),
        lambda: RankCorrelation(0.0),
    ],
)
def test_nonsense_is_refused(make: object) -> None:
    with pytest.raises(InvalidOptionError):
        make()
