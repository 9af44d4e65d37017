"""Rules that say what is known: what they call certain is right as often as they claim."""

from __future__ import annotations

import numpy as np
import pytest

from dvl_core import (
    MaxEvaluations,
    RelativeStandardError,
    ShapleySemivalue,
    SignCertainty,
    StableSet,
)
from dvl_core.errors import InvalidOptionError
from dvl_core.games import RandomGame, exact_values
from dvl_core.statistics import Estimate
from dvl_core.stopping import Progress, StoppingRule
from dvl_shapley import DataShapleyValuation, PermutationSampler


def progress(values: list[float], stderr: float | list[float], counts: int = 1000) -> Progress:
    n = len(values)
    errors = np.broadcast_to(np.asarray(stderr, dtype=float), n).copy()
    estimate = Estimate(np.array(values), np.ones(n), np.full(n, counts), errors)
    return Progress(estimate, 1, 10, 0.0)


def test_relative_errors_are_measured_against_the_spread() -> None:
    values = [0.0, 1.0, 2.0, 3.0]
    assert RelativeStandardError(0.1).check(progress(values, 0.1)).done
    assert not RelativeStandardError(0.1).check(progress(values, 0.2)).done
    # The unit of the utility does not matter.
    milli = [v / 1000 for v in values]
    assert RelativeStandardError(0.1).check(progress(milli, 0.1 / 1000)).done


def test_a_spread_that_is_all_noise_is_no_spread() -> None:
    noise = np.random.default_rng(0).normal(size=200)
    assert not RelativeStandardError(1.0).check(progress(list(noise), 1.05)).done
    assert not RelativeStandardError(1.0).check(progress([1.0, 1.0], 0.1)).done


def test_relative_errors_name_the_certain_and_take_a_share() -> None:
    state = progress([0.0, 1.0, 2.0, 3.0], [0.01, 0.01, 0.01, 1.0])
    verdict = RelativeStandardError(0.1, fraction=0.75).check(state)
    assert verdict.done
    assert verdict.certain.tolist() == [True, True, True, False]
    assert not RelativeStandardError(0.1).check(state).done


def test_signs() -> None:
    state = progress([-1.0, 0.01, 2.0, 0.0], [0.1, 0.1, 0.1, 0.0])
    verdict = SignCertainty(0.95, fraction=0.5).check(state)
    assert verdict.done
    assert verdict.certain.tolist() == [True, False, True, False]
    assert not SignCertainty(0.95, fraction=0.75).check(state).done


def test_the_set_is_stable_when_no_interval_reaches_the_cut() -> None:
    values = [5.0, 1.0, 4.0, 0.9]
    verdict = StableSet(2).check(progress(values, 0.2))
    assert verdict.done
    assert verdict.certain.all()
    close = StableSet(1).check(progress(values, 0.2))
    assert not close.done
    assert close.certain.tolist() == [True, False, True, False]
    assert StableSet(2, "highest").check(progress(values, 0.2)).done
    assert not StableSet(1, "highest").check(progress(values, 0.3)).done


def test_a_set_as_large_as_the_game_is_always_stable() -> None:
    assert StableSet(3).check(progress([1.0, 1.0, 1.0], 9.0)).done


@pytest.mark.parametrize(
    "rule", [RelativeStandardError(0.5), SignCertainty(), StableSet(1)], ids=repr
)
def test_nothing_is_certain_before_it_is_known(rule: StoppingRule) -> None:
    assert not rule.check(progress([np.nan, 1.0, 2.0], np.inf)).done
    lucky = rule.check(progress([-3.0, 1.0, 2.0], 1e-9, counts=3))
    assert not lucky.done
    assert not lucky.certain.any()


@pytest.mark.parametrize(
    "make",
    [
        lambda: RelativeStandardError(0),
        lambda: RelativeStandardError(0.1, fraction=0),
        lambda: SignCertainty(1.0),
        lambda: SignCertainty(0.9, fraction=2),
        lambda: StableSet(0),
        lambda: StableSet(2, "best"),
        lambda: StableSet(2, level=0),
    ],
)
def test_options_that_cannot_be_are_refused(make: object) -> None:
    with pytest.raises(InvalidOptionError):
        make()


def fitted(rule: StoppingRule, seed: int) -> object:
    game = RandomGame(8, 8)
    valuation = DataShapleyValuation(
        game, PermutationSampler(), rule | MaxEvaluations(200_000), seed=seed
    )
    return valuation.fit().result


def test_the_lowest_set_is_right_as_often_as_claimed() -> None:
    exact = exact_values(RandomGame(8, 8), ShapleySemivalue())
    truth = set(np.argsort(exact)[:4].tolist())
    runs = [fitted(StableSet(4, level=0.95), seed) for seed in range(40)]
    assert all("lowest values are certain" in run.stop_reason for run in runs)
    right = sum(set(run.sort()[:4].indices.tolist()) == truth for run in runs)
    # At 95 % two of 40 may be wrong; looking after every block makes it a little worse.
    assert right >= 35


def test_signs_are_right_as_often_as_claimed() -> None:
    exact = exact_values(RandomGame(8, 8), ShapleySemivalue())
    wrong = certain = 0
    for seed in range(40):
        run = fitted(SignCertainty(0.95, fraction=0.5), seed)
        certain += int(run.converged.sum())
        wrong += int((np.sign(run.values) != np.sign(exact))[run.converged].sum())
    assert certain >= 160
    assert wrong <= 0.1 * certain


def test_relative_errors_end_a_run_with_the_ranking_nearly_right() -> None:
    exact = exact_values(RandomGame(8, 8), ShapleySemivalue())
    run = fitted(RelativeStandardError(0.1), 0)
    assert run.converged.all()
    assert np.corrcoef(run.values, exact)[0, 1] > 0.97
