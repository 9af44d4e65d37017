from __future__ import annotations

import math
import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import f1_score, get_scorer, get_scorer_names, make_scorer, r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dvl_core import Dataset, SupervisedScorer
from dvl_core.errors import DataError, InvalidOptionError
from dvl_core.protocols import Scorer

RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 3))
LABELS = (X[:, 0] > 0.3).astype(int)
LABELS[:2] = [0, 1]
NUMBERS = 2 * X[:, 0] + 5
CLASSES = Dataset(X, LABELS)
REALS = Dataset(X, NUMBERS)

REGRESSION = [
    "r2",
    "explained_variance",
    "d2_absolute_error_score",
    "neg_max_error",
    "neg_mean_absolute_error",
    "neg_mean_absolute_percentage_error",
    "neg_mean_squared_error",
    "neg_median_absolute_error",
    "neg_root_mean_squared_error",
]


class Majority:
    """A model of no library."""

    def fit(self, x: np.ndarray, y: np.ndarray) -> None:
        self.classes_, counts = np.unique(y, return_counts=True)
        self.shares = counts / counts.sum()

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.repeat(self.classes_[self.shares.argmax()], len(x))

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        return np.tile(self.shares, (len(x), 1))


def test_satisfies_the_protocol() -> None:
    assert isinstance(SupervisedScorer("accuracy", CLASSES), Scorer)


@pytest.mark.parametrize("name", ["accuracy", "f1", "roc_auc", "neg_log_loss", "balanced_accuracy"])
def test_scores_as_scikit_learn_does(name: str) -> None:
    model = CLASSES.fit(LogisticRegression())
    scorer = SupervisedScorer(name, CLASSES)
    assert scorer(model) == get_scorer(name)(model, X, LABELS)
    assert scorer.name == name
    dummy = DummyClassifier(strategy="prior").fit(X, LABELS)
    assert scorer.default == get_scorer(name)(dummy, X, LABELS)


@pytest.mark.parametrize("name", REGRESSION)
def test_regression_metrics_ask_for_a_mean_even_on_whole_targets(name: str) -> None:
    test = Dataset(X, np.round(NUMBERS).astype(int) + 10)
    dummy = DummyRegressor().fit(*test)
    assert SupervisedScorer(name, test).default == get_scorer(name)(dummy, *test)


def test_all_scorers_with_a_deviance_or_error_count_as_regression() -> None:
    for name in get_scorer_names():
        scorer = SupervisedScorer(name, CLASSES)
        if any(word in name for word in ("error", "deviance")) or name in REGRESSION:
            assert not scorer._predicts_labels, name


def test_a_function_goes_by_the_target() -> None:
    def score(model: object, x: np.ndarray, y: np.ndarray) -> float:
        return float(np.mean(model.predict(x) == y))

    assert SupervisedScorer(score, CLASSES).default == np.bincount(LABELS).max() / 30
    assert SupervisedScorer(score, CLASSES).name == "score"
    assert SupervisedScorer(score, REALS).default == 0.0
    scorer = make_scorer(r2_score)
    assert SupervisedScorer(scorer, Dataset(X, np.arange(30))).default == 0.0
    assert SupervisedScorer(scorer, REALS).name == "r2_score"


def test_default_as_given() -> None:
    scorer = SupervisedScorer(lambda model, x, y: 1 / 0, CLASSES, default=0.25)
    assert scorer.default == 0.25
    assert SupervisedScorer("accuracy", CLASSES, 0).default == 0.0


def test_a_dummy_that_cannot_be_scored() -> None:
    scorer = SupervisedScorer(lambda model, x, y: model.coef_.sum(), CLASSES)
    with pytest.raises(
        InvalidOptionError, match="pass the score of the empty coalition as default="
    ):
        _ = scorer.default
    nan = SupervisedScorer(lambda model, x, y: math.nan, CLASSES)
    with pytest.raises(InvalidOptionError, match=r"the score nan.*default="):
        _ = nan.default


def test_default_is_computed_once_and_when_needed() -> None:
    calls = []

    def score(model: object, x: object, y: object) -> float:
        calls.append(1)
        return 0.5

    scorer = SupervisedScorer(score, CLASSES)
    assert calls == []
    assert scorer.default == scorer.default == 0.5
    assert calls == [1]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("accuracy", (0, 1)),
        ("f1_macro", (0, 1)),
        ("r2", (-math.inf, 1)),
        ("neg_mean_absolute_error", (-math.inf, 0)),
        ("matthews_corrcoef", (-1, 1)),
        ("positive_likelihood_ratio", (-math.inf, math.inf)),
    ],
)
def test_known_ranges(name: str, expected: tuple[float, float]) -> None:
    assert SupervisedScorer(name, CLASSES).range == expected


def test_range_as_given_and_of_functions() -> None:
    assert SupervisedScorer("r2", REALS, range=(-1, 1)).range == (-1, 1)

    def f1_of_mine(model: object, x: object, y: object) -> float:
        return 7.0

    assert SupervisedScorer(f1_of_mine, REALS).range == (-math.inf, math.inf)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("acuracy", CLASSES), InvalidOptionError, "no scorer 'acuracy'; did you mean 'accuracy'"),
        (("qqq", CLASSES), InvalidOptionError, "no scorer 'qqq'"),
        ((None, CLASSES), InvalidOptionError, "scoring must be the name"),
        (("accuracy", X), DataError, "test must be a Dataset"),
        (("accuracy", (X, LABELS[:3])), DataError, "30 rows but y has 3"),
        (("accuracy", CLASSES, math.nan), InvalidOptionError, "default must be a finite"),
        (("accuracy", CLASSES, "much"), InvalidOptionError, "default must be a finite"),
        (("accuracy", CLASSES, None, (1, 0)), InvalidOptionError, "range must be a pair"),
        (("accuracy", CLASSES, None, 3), InvalidOptionError, "range must be a pair"),
    ],
)
def test_bad_options(arguments: tuple[object, ...], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        SupervisedScorer(*arguments)


def test_a_pair_is_a_test_set() -> None:
    assert SupervisedScorer("accuracy", (X, LABELS)).test.digest == CLASSES.digest


@pytest.mark.parametrize("name", ["accuracy", "neg_log_loss", "roc_auc"])
def test_classifiers_of_no_library(name: str) -> None:
    model, reference = Majority(), DummyClassifier(strategy="prior").fit(X, LABELS)
    model.fit(X, LABELS)
    scorer = SupervisedScorer(name, CLASSES)
    assert scorer(model) == pytest.approx(get_scorer(name)(reference, X, LABELS))


def test_classifiers_without_classes_have_those_of_the_test_data() -> None:
    class Constant:
        def predict_proba(self, x: np.ndarray) -> np.ndarray:
            return np.tile([0.75, 0.25], (len(x), 1))

    words = Dataset(X, np.where(LABELS, "yes", "no"))
    share = LABELS.mean()
    expected = (1 - share) * math.log(0.75) + share * math.log(0.25)
    assert SupervisedScorer("neg_log_loss", words)(Constant()) == pytest.approx(expected)


def test_regressors_of_no_library() -> None:
    class Five:
        def predict(self, x: np.ndarray) -> np.ndarray:
            return np.full(len(x), 5.0)

    expected = -np.abs(NUMBERS - 5).mean()
    assert SupervisedScorer("neg_mean_absolute_error", REALS)(Five()) == pytest.approx(expected)


def test_string_labels() -> None:
    words = Dataset(X, np.where(LABELS, "yes", "no"))
    scorer = SupervisedScorer("accuracy", words)
    assert scorer.default == max(LABELS.mean(), 1 - LABELS.mean())
    assert scorer(words.fit(LogisticRegression())) > scorer.default


def test_default_for_features_that_no_array_can_hold() -> None:
    table = pd.DataFrame({"a": ["x", None, "z"], "b": pd.Categorical(["u", "v", None])})
    assert SupervisedScorer("accuracy", Dataset(table, [0, 0, 1])).default == pytest.approx(2 / 3)
    assert SupervisedScorer("accuracy", Dataset(["x", "y", "z"], [0, 0, 1])).default > 0.6


def test_a_model_that_transforms_in_place_does_not_spoil_the_test_data() -> None:
    test = Dataset(X.copy(), LABELS)
    model = make_pipeline(StandardScaler(copy=False), LogisticRegression()).fit(
        X.copy() * 9, LABELS
    )
    scorer = SupervisedScorer("neg_log_loss", test)
    assert scorer(model) == scorer(model)
    np.testing.assert_array_equal(test.x, X)


def test_fingerprints() -> None:
    def one(model: object, x: object, y: object) -> float:
        return 1.0

    def two(model: object, x: object, y: object) -> float:
        return 2.0

    different = [
        SupervisedScorer("accuracy", CLASSES),
        SupervisedScorer("accuracy", CLASSES, default=0.0),
        SupervisedScorer("accuracy", Dataset(X + 1, LABELS)),
        SupervisedScorer("f1", CLASSES),
        SupervisedScorer("f1_macro", CLASSES),
        SupervisedScorer(make_scorer(f1_score, average="micro"), CLASSES),
        SupervisedScorer(one, CLASSES),
        SupervisedScorer(two, CLASSES),
    ]
    fingerprints = [scorer.fingerprint for scorer in different]
    assert None not in fingerprints
    assert len(set(fingerprints)) == len(different)
    assert SupervisedScorer("accuracy", CLASSES).fingerprint == fingerprints[0]


def test_no_fingerprint_of_a_function_that_holds_a_generator() -> None:
    state = (i for i in range(3))
    scorer = SupervisedScorer(lambda model, x, y: float(next(state)), CLASSES)
    assert scorer.fingerprint is None


def test_pickle() -> None:
    scorer = SupervisedScorer("neg_mean_absolute_error", REALS)
    copy = pickle.loads(pickle.dumps(scorer))  # noqa: S301
    model = REALS.fit(LinearRegression())
    assert copy(model) == scorer(model)
    assert copy.fingerprint == scorer.fingerprint
