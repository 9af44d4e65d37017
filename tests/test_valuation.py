"""What all valuations share: arguments, defaults, refusals, results; and the talk's three steps."""

from __future__ import annotations

import inspect

import joblib
import numpy as np
import pytest
from sklearn.datasets import load_iris, make_regression
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge

from dvl_banzhaf import DataBanzhafValuation, MSRSampler
from dvl_core import (
    Dataset,
    FunctionGame,
    MaxEvaluations,
    MaxUpdates,
    ModelUtility,
    RankCorrelation,
    SupervisedScorer,
)
from dvl_core.errors import (
    DataError,
    DvlWarning,
    InvalidOptionError,
    NotFittedError,
    UnsupportedSemivalueError,
    UtilityError,
)
from dvl_core.games import AdditiveGame, ShoesGame, SizeGame
from dvl_core.samplers import LOOSampler
from dvl_core.stores import MemoryStore
from dvl_loo import LOOValuation
from dvl_shapley import DataShapleyValuation, PermutationSampler

VALUATIONS = [DataShapleyValuation, DataBanzhafValuation, LOOValuation]


@pytest.mark.parametrize("cls", VALUATIONS)
def test_signatures_follow_one_pattern(cls: type) -> None:
    parameters = list(inspect.signature(cls).parameters.values())
    assert [p.name for p in parameters[:3]] == ["utility", "sampler", "stopping"]
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters[3:])
    assert all(p.default is not p.empty for p in parameters[1:])
    assert {"seed", "backend", "store", "progress", "checkpoint"} <= {p.name for p in parameters}


def test_a_result_before_fit_is_refused() -> None:
    with pytest.raises(NotFittedError, match="call fit"):
        _ = DataShapleyValuation(AdditiveGame([1.0, 2.0])).result


def test_an_unbound_utility_asks_for_data() -> None:
    x, y = load_iris(return_X_y=True)
    utility = ModelUtility(Ridge(), SupervisedScorer("r2", Dataset(x, y)))
    with pytest.raises(DataError, match="fit\\(train\\)"):
        LOOValuation(utility).fit()


def test_without_a_rule_it_says_what_it_does() -> None:
    with pytest.warns(DvlWarning, match=r"stopping after 1,000 utility evaluations"):
        result = DataBanzhafValuation(SizeGame(20), seed=0).fit().result
    assert 900 < result.n_evaluations <= 1000
    assert "1,000" in result.stop_reason


def test_an_exact_method_needs_no_rule() -> None:
    result = LOOValuation(AdditiveGame([1.0, -2.0])).fit().result
    assert result.values.tolist() == [1.0, -2.0]
    assert result.stop_reason == "complete"


def test_a_refused_sampler_is_told_what_would_do() -> None:
    trained = []

    def game(coalitions: np.ndarray) -> np.ndarray:
        trained.append(len(coalitions))
        return coalitions.sum(axis=1).astype(float)

    with pytest.raises(
        UnsupportedSemivalueError, match=r"these would do: .*antithetic-permutation"
    ):
        DataShapleyValuation(FunctionGame(5, game), LOOSampler(), MaxUpdates(1)).fit()
    assert not trained


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        ((SizeGame(3), None, 100), "stopping"),
        ((SizeGame(3), PermutationSampler), "sampler"),
        ((SizeGame(3), "permutation"), "sampler"),
        ((LogisticRegression(),), "utility"),
    ],
)
def test_parts_of_the_wrong_kind_are_named(arguments: tuple[object, ...], culprit: str) -> None:
    with pytest.raises(InvalidOptionError, match=f"{culprit} must be an object such as"):
        DataShapleyValuation(*arguments)


@pytest.mark.parametrize("seed", [-1, 1.5, "a", True])
def test_a_seed_must_be_a_natural_number(seed: object) -> None:
    with pytest.raises(InvalidOptionError, match="seed"):
        DataShapleyValuation(SizeGame(3), None, MaxUpdates(2), seed=seed).fit()


def test_a_fresh_seed_is_kept_and_reproduces() -> None:
    first = DataShapleyValuation(ShoesGame(2, 3), None, MaxUpdates(20)).fit().result
    again = DataShapleyValuation(ShoesGame(2, 3), None, MaxUpdates(20), seed=first.seed).fit()
    assert first.values.tobytes() == again.result.values.tobytes()


def test_a_small_budget_leaves_players_without_a_value_and_says_so() -> None:
    with pytest.warns(DvlWarning, match="have no value"):
        result = LOOValuation(SizeGame(100), None, MaxEvaluations(40)).fit().result
    assert np.isnan(result.values[64:]).all()
    assert (result.counts[64:] == 0).all()
    assert not result.converged[64:].any()


def test_repr_shows_what_differs_from_the_defaults() -> None:
    text = repr(DataBanzhafValuation(ShoesGame(1, 1), MSRSampler(), MaxUpdates(5), seed=3))
    assert "seed=3" in text
    assert "MaxUpdates(n_updates=5)" in text
    assert "checkpoint" not in text


def test_the_store_of_the_utility_is_used() -> None:
    train, test = Dataset.from_sklearn(load_iris(), train_size=20, random_state=0)
    store = MemoryStore()
    scorer = SupervisedScorer("accuracy", test)
    utility = ModelUtility(LogisticRegression(max_iter=1000), scorer, store=store)
    first = LOOValuation(utility, seed=0).fit(train).result
    again = LOOValuation(utility, seed=0).fit(train).result
    assert len(store) == first.n_computed == 21
    assert again.n_computed == 0
    assert again.n_evaluations == 21


def test_what_cannot_be_fingerprinted_gets_no_ledger_and_says_so() -> None:
    class Odd:
        n_players = 3

        def with_data(self, train: object) -> Odd:
            return self

        def __call__(self, coalitions: np.ndarray) -> np.ndarray:
            return coalitions.sum(axis=1).astype(float)

    store = MemoryStore()
    with pytest.warns(DvlWarning, match="no fingerprint"):
        LOOValuation(Odd(), store=store).fit()
    assert len(store) == 0


def test_a_utility_of_the_wrong_shape_is_caught() -> None:
    class Wrong:
        n_players = 3

        def with_data(self, train: object) -> Wrong:
            return self

        def __call__(self, coalitions: np.ndarray) -> np.ndarray:
            return np.zeros((len(coalitions), 1))

    with pytest.raises(UtilityError, match="shape"):
        LOOValuation(Wrong()).fit()


def test_failures_are_counted_not_hidden() -> None:
    x = np.arange(12.0)[:, None]
    y = np.repeat([0, 1], 6)
    train = Dataset(x, y)
    utility = ModelUtility(LogisticRegression(), SupervisedScorer("accuracy", train))
    valuation = DataShapleyValuation(utility, PermutationSampler(), MaxUpdates(20), seed=0)
    result = valuation.fit(train).result
    # The empty coalition, and at least the first player of each permutation.
    assert result.n_failures >= 21


def test_the_three_steps_of_the_talk() -> None:
    train, test = Dataset.from_sklearn(load_iris(), train_size=0.6, random_state=0)
    model = LogisticRegression(max_iter=500)
    scorer = SupervisedScorer("accuracy", test)
    utility = ModelUtility(model, scorer)
    rule = RankCorrelation(rtol=0.5) | MaxEvaluations(3000)
    valuation = DataBanzhafValuation(utility, MSRSampler(), rule)
    with joblib.parallel_backend("loky", n_jobs=2):
        valuation.fit(train)
    values = valuation.values(sort=True)
    assert np.all(np.diff(values.values) >= 0)
    clean = train.drop_indices(values[:10].indices)
    assert len(clean) == len(train) - 10
    assert model.fit(*clean).score(*test) > 0.8
    assert clean.fit(model).score(*test) > 0.8


def test_removing_the_lowest_values_of_regression_with_outliers_helps() -> None:
    x, y = make_regression(80, 3, noise=5.0, random_state=0)
    y[:6] += 400
    train, test = Dataset(x[:40], y[:40]), Dataset(x[40:], y[40:])
    model = GradientBoostingRegressor(n_estimators=10, random_state=0)
    utility = ModelUtility(model, SupervisedScorer("neg_mean_absolute_error", test))
    rule = MaxEvaluations(1200)
    valuation = DataShapleyValuation(utility, None, rule, seed=1).fit(train)
    lowest = valuation.values(sort=True)[:8].indices
    assert len({0, 1, 2, 3, 4, 5} & set(lowest.tolist())) >= 5
    before = utility.with_data(train)(np.ones((1, 40), dtype=bool))[0]
    clean = train.drop_indices(lowest)
    after = utility.with_data(clean)(np.ones((1, len(clean)), dtype=bool))[0]
    assert after > before + 0.1 * abs(before)
