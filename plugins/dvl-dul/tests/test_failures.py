"""What goes wrong in learning a utility, and what the user is told."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression

from dvl_core import Dataset, FunctionGame, MaxUpdates, ModelUtility, SupervisedScorer
from dvl_core.errors import (
    DataError,
    DvlWarning,
    InvalidOptionError,
    NotFittedError,
    RunInterrupted,
    UtilityError,
)
from dvl_core.testing.samples import model_utility, train_data
from dvl_dul import DataUtilityLearning, IndicatorUtilityModel
from dvl_shapley import DataShapleyValuation

ONE = np.array([[True, False, False, True]])


def linear(coalitions: np.ndarray) -> np.ndarray:
    return coalitions @ np.arange(1.0, coalitions.shape[1] + 1)


def test_without_players() -> None:
    learned = DataUtilityLearning(model_utility())
    with pytest.raises(DataError, match=r"no players yet: bind it with utility\.with_data"):
        learned(ONE)
    with pytest.raises(DataError, match="no players yet"):
        _ = learned.training


@pytest.mark.parametrize(
    "coalitions", [ONE[:, :3], ONE[0], ONE.astype(int)], ids=["narrow", "flat", "numbers"]
)
def test_other_coalitions(coalitions: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"bool array of shape \[b, 4\]"):
        DataUtilityLearning(FunctionGame(4, linear), seed=0)(coalitions)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_training": 9}, "at least 10.*fewer coalitions; got 9"),
        ({"n_training": 20.0}, "n_training must be an integer"),
        ({"n_training": True}, "n_training must be an integer"),
        ({"sizes": "binomal"}, "sizes must be one of uniform, binomial, got 'binomal'"),
        ({"validation": 1.0}, r"validation must be in \[0, 1\), got 1.0"),
        ({"validation": float("nan")}, "validation must be in"),
        ({"seed": -1}, "seed must be a non-negative integer"),
        ({"model": LinearRegression}, "LinearRegression is a class: call it"),
        ({"model": "ridge"}, "'ridge' has no fit"),
        ({"model": FunctionGame(2, linear)}, "has no fit"),
    ],
)
def test_bad_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        DataUtilityLearning(FunctionGame(4, linear), **options)


def test_no_utility() -> None:
    with pytest.raises(InvalidOptionError, match="utility must be an object such as ModelUtility"):
        DataUtilityLearning(LogisticRegression())


class OnlyFits:
    def fit(self, x: np.ndarray, y: np.ndarray) -> None:
        """Learn nothing."""


def test_a_regressor_that_cannot_predict() -> None:
    with pytest.raises(InvalidOptionError, match=r"OnlyFits.*has no predict"):
        IndicatorUtilityModel(OnlyFits())


class Predicting(OnlyFits):
    def __init__(self, value: float, width: int = 1) -> None:
        self.value = value
        self.width = width

    def predict(self, x: np.ndarray) -> np.ndarray:
        predicted = np.full((len(x), self.width), self.value)
        return predicted[:, 0] if self.width == 1 else predicted


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_predictions_that_are_not_finite(value: float) -> None:
    learned = DataUtilityLearning(
        FunctionGame(4, linear), Predicting(value), validation=0.0, seed=0
    )
    with pytest.raises(UtilityError, match=r"(nan|inf) on the coalition of 2 players \[0, 3\]"):
        learned(ONE)


def test_predictions_of_another_shape() -> None:
    learned = DataUtilityLearning(
        FunctionGame(4, linear), Predicting(0.0, 2), validation=0.0, seed=0
    )
    with pytest.raises(UtilityError, match=r"one number for each of 1 coalitions.*\(1, 2\)"):
        learned(ONE)


class Refusing(Predicting):
    def fit(self, x: np.ndarray, y: np.ndarray) -> None:
        raise ZeroDivisionError("no")


def test_a_model_that_fails() -> None:
    learned = DataUtilityLearning(FunctionGame(4, linear), Refusing(0.0), validation=0.0, seed=0)
    with pytest.raises(UtilityError, match=r"Refusing.*from 16 coalitions: ZeroDivisionError: no"):
        learned(ONE)


def test_a_utility_that_fails_names_the_coalition() -> None:
    def broken(coalitions: np.ndarray) -> np.ndarray:
        return np.where(coalitions.sum(axis=1) == 2, np.nan, 1.0)

    with pytest.raises(UtilityError, match="2 of 4 players"):
        DataUtilityLearning(FunctionGame(4, broken), seed=0)(ONE)


def test_failures_in_training_are_counted() -> None:
    learned = DataUtilityLearning(model_utility(), n_training=60, seed=0).with_data(train_data())
    coalitions = _training_coalitions(learned)
    y = train_data().y.astype(bool)
    one_class = ~((coalitions & y).any(axis=1) & (coalitions & ~y).any(axis=1))
    assert learned.training.n_failures == one_class.sum() > 1


def _training_coalitions(learned: DataUtilityLearning) -> np.ndarray:
    """Return what the wrapped utility is asked, by wrapping it in a game that looks on."""
    asked = []
    utility = learned.utility

    def watched(coalitions: np.ndarray) -> np.ndarray:
        asked.append(coalitions.copy())
        return utility(coalitions)

    game = FunctionGame(utility.n_players, watched)
    DataUtilityLearning(game, n_training=learned.n_training, seed=learned.seed)(
        np.zeros((0, 12), dtype=bool)
    )
    return np.concatenate(asked)


def test_mostly_failures_are_announced() -> None:
    # Six classes of two rows each: most coalitions lack one.
    x = np.arange(12.0)[:, None]
    train = Dataset(x, np.arange(12) // 2)
    scorer = SupervisedScorer("accuracy", train, default=0.0)

    class Demanding(LogisticRegression):
        def fit(self, x: np.ndarray, y: np.ndarray) -> LogisticRegression:
            if len(np.unique(y)) < 6:
                raise ValueError("a class is missing")
            return super().fit(x, y)

    learned = DataUtilityLearning(
        ModelUtility(Demanding(), scorer), n_training=40, seed=0, validation=0.0
    ).with_data(train)
    with pytest.warns(DvlWarning, match="of 40 training coalitions could not be evaluated"):
        failures = learned.training.n_failures
    assert failures > 20


def test_a_model_that_explains_nothing_is_announced() -> None:
    learned = DataUtilityLearning(FunctionGame(8, linear), DummyRegressor(), seed=0)
    with pytest.warns(DvlWarning, match=r"Dummy.*explains nothing.*R2 = -?0.*raise n_training"):
        report = learned.training
    assert report.r2 <= 0
    assert report.n_validation == 19


def test_a_constant_game_has_nothing_to_explain() -> None:
    learned = DataUtilityLearning(FunctionGame(8, lambda c: np.full(len(c), 0.25)), seed=0)
    assert np.isnan(learned.training.r2)
    assert learned.training.mae == pytest.approx(0.0, abs=1e-12)
    assert learned(np.eye(8, dtype=bool)) == pytest.approx(0.25)


def test_an_interruption_while_learning_leaves_no_result() -> None:
    def interrupted(coalitions: np.ndarray) -> np.ndarray:
        raise KeyboardInterrupt

    valuation = DataShapleyValuation(
        DataUtilityLearning(FunctionGame(4, interrupted)), None, MaxUpdates(3), seed=0
    )
    with pytest.raises(KeyboardInterrupt, match="training coalitions") as caught:
        valuation.fit()
    assert not isinstance(caught.value, RunInterrupted)
    with pytest.raises(NotFittedError):
        _ = valuation.result
