"""Every model and score: what scikit-learn says of each coalition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.naive_bayes import BernoulliNB, GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dvl_batched.takeover import take_over
from dvl_core import Dataset, ModelUtility, SupervisedScorer

pytestmark = pytest.mark.filterwarnings("ignore:.*:Warning")

LABELS = ("accuracy", "balanced_accuracy")
CLASSIFICATION = (*LABELS, "neg_log_loss", "neg_brier_score", "roc_auc")
REGRESSION = ("r2", "neg_mean_squared_error", "neg_mean_absolute_error")


def scaled(model):
    return make_pipeline(StandardScaler(), model)


CLASSIFIERS = [
    LogisticRegression(),
    LogisticRegression(C=30.0, fit_intercept=False, class_weight="balanced"),
    scaled(LogisticRegression(C=0.3)),
    GaussianNB(),
    scaled(GaussianNB(var_smoothing=0.01)),
    BernoulliNB(),
    BernoulliNB(alpha=0.3, binarize=1.0, fit_prior=False),
    MultinomialNB(alpha=0.5),
    NearestCentroid(),
    scaled(NearestCentroid()),
    LinearDiscriminantAnalysis(),
    LinearDiscriminantAnalysis(solver="lsqr"),
    KNeighborsClassifier(3),
    KNeighborsClassifier(2, weights="distance", p=1, algorithm="brute"),
]
REGRESSORS = [
    Ridge(),
    Ridge(alpha=10.0, fit_intercept=False),
    scaled(Ridge(alpha=0.1)),
    LinearRegression(),
    scaled(LinearRegression()),
    LinearRegression(fit_intercept=False),
    KNeighborsRegressor(2),
    KNeighborsRegressor(3, weights="distance", metric="manhattan"),
    KernelRidge(kernel="rbf", alpha=0.5),
    KernelRidge(kernel="poly", degree=2),
]


def arrays(seed, n, t, d, n_classes, whole):
    """Return features, labels and numbers of training and test rows."""
    rng = np.random.default_rng(seed)
    x = np.abs(rng.normal(size=(n + t, d))) * rng.uniform(0.5, 2, size=d)
    labels = np.argmax(x @ rng.normal(size=(d, n_classes)) + rng.gumbel(size=(n + t, n_classes)), 1)
    labels[:n_classes] = labels[n : n + n_classes] = np.arange(n_classes)
    targets = x @ rng.normal(size=d) + rng.normal(size=n + t)
    if whole:
        x = np.round(2 * x)
    return x, labels, targets


def coalitions_of(seed, b, n):
    rng = np.random.default_rng(seed + 1)
    coalitions = rng.random((b, n)) < rng.random((b, 1))
    coalitions[0], coalitions[1] = False, True
    return coalitions


def compare(model, scoring, train, test, coalitions):
    """Assert equal values; return which coalitions are not left to scikit-learn."""
    plain = ModelUtility(model, SupervisedScorer(scoring, test), on_error="score").with_data(train)
    expected = plain.evaluate(coalitions)
    values, good = take_over(plain).scores(coalitions)
    assert not (good & expected.failed).any()
    np.testing.assert_allclose(values[good], expected.values[good], rtol=1e-6, atol=1e-6)
    return good


def scores_for(model, n_classes):
    last = model[-1] if hasattr(model, "steps") else model
    if isinstance(last, NearestCentroid):
        return LABELS
    return CLASSIFICATION if n_classes == 2 else CLASSIFICATION[:-1]


@pytest.mark.parametrize("model", CLASSIFIERS, ids=str)
@settings(max_examples=2, deadline=None, derandomize=True, phases=[Phase.generate])
@given(seed=st.integers(0, 10**6), n_classes=st.sampled_from([2, 3]), whole=st.booleans())
def test_classifiers_score_as_scikit_learn_does(model, seed, n_classes, whole):
    n, t = 24, 25
    x, labels, _ = arrays(seed, n, t, 3, n_classes, whole)
    # Numbers and texts; the Brier score of two classes takes numbers only.
    names = labels if whole else np.array(["b", "a", "c"])[labels]
    train, test = Dataset(x[:n], names[:n]), Dataset(x[n:], names[n:])
    coalitions = coalitions_of(seed, 6, n)
    for scoring in scores_for(model, n_classes):
        if scoring != "neg_brier_score" or whole or n_classes > 2:
            compare(model, scoring, train, test, coalitions)


@pytest.mark.parametrize("model", REGRESSORS, ids=str)
@settings(max_examples=2, deadline=None, derandomize=True, phases=[Phase.generate])
@given(seed=st.integers(0, 10**6), whole=st.booleans())
def test_regressors_score_as_scikit_learn_does(model, seed, whole):
    n, t = 20, 15
    x, _, y = arrays(seed, n, t, 3, 2, whole)
    train, test = Dataset(x[:n], y[:n]), Dataset(x[n:], y[n:])
    for scoring in REGRESSION:
        compare(model, scoring, train, test, coalitions_of(seed, 8, n))


@pytest.mark.parametrize("model", [*CLASSIFIERS, *REGRESSORS], ids=str)
def test_nearly_all_coalitions_of_ordinary_data_are_taken_over(model):
    n, t = 40, 20
    x, labels, y = arrays(3, n, t, 3, 2, False)
    if model in REGRESSORS:
        labels = y
    scoring = "r2" if model in REGRESSORS else "accuracy"
    utility = ModelUtility(model, SupervisedScorer(scoring, (x[n:], labels[n:])))
    coalitions = np.random.default_rng(0).random((200, n)) < 0.5
    good = take_over(utility.with_data(Dataset(x[:n], labels[:n]))).scores(coalitions)[1]
    assert good.mean() > 0.98


@pytest.mark.parametrize(
    ("model", "scoring"),
    [
        (LogisticRegression(), "neg_log_loss"),
        (scaled(GaussianNB()), "accuracy"),
        (LinearDiscriminantAnalysis(), "accuracy"),
        (KNeighborsClassifier(3), "accuracy"),
        (NearestCentroid(), "accuracy"),
    ],
    ids=str,
)
def test_groups_bring_all_their_rows(model, scoring):
    n, t = 40, 30
    x, labels, _ = arrays(5, n, t, 3, 2, False)
    groups = np.random.default_rng(0).integers(0, 12, n)
    train = Dataset(x[:n], labels[:n], groups=groups)
    good = compare(model, scoring, train, Dataset(x[n:], labels[n:]), coalitions_of(0, 20, 12))
    assert good.mean() > 0.5


@pytest.mark.parametrize("model", [Ridge(), scaled(Ridge()), LinearRegression()], ids=str)
def test_constant_and_collinear_columns(model):
    n, t = 30, 20
    x, _, y = arrays(6, n, t, 3, 2, False)
    x = np.column_stack([x, x[:, 0] - 2 * x[:, 1], np.full(n + t, 7.0), np.arange(n + t) == 4])
    compare(model, "r2", Dataset(x[:n], y[:n]), Dataset(x[n:], y[n:]), coalitions_of(6, 20, n))


@pytest.mark.parametrize(
    "model",
    [scaled(LogisticRegression()), GaussianNB(), scaled(GaussianNB()), scaled(NearestCentroid())],
    ids=str,
)
def test_constant_and_collinear_columns_of_classifiers(model):
    n, t = 30, 20
    x, labels, _ = arrays(7, n, t, 3, 2, False)
    x = np.column_stack([x, x[:, 0] - 2 * x[:, 1], np.full(n + t, 7.0), np.arange(n + t) == 4])
    train, test = Dataset(x[:n], labels[:n]), Dataset(x[n:], labels[n:])
    for scoring in scores_for(model, 2)[::2]:
        good = compare(model, scoring, train, test, coalitions_of(7, 10, n))
        assert good.mean() > 0.5


def test_more_features_than_rows():
    n, t = 20, 15
    x, labels, y = arrays(8, n, t, 60, 2, False)
    coalitions = coalitions_of(8, 10, n)
    numbers = Dataset(x[:n], y[:n]), Dataset(x[n:], y[n:])
    classes = Dataset(x[:n], labels[:n]), Dataset(x[n:], labels[n:])
    assert compare(Ridge(), "r2", *numbers, coalitions).mean() > 0.8
    assert compare(scaled(Ridge()), "r2", *numbers, coalitions).mean() > 0.8
    assert compare(LogisticRegression(), "neg_log_loss", *classes, coalitions).mean() > 0.6


def test_features_far_from_zero():
    n, t = 30, 20
    x, labels, y = arrays(9, n, t, 3, 2, False)
    x = 1e4 + x * np.array([1.0, 1e-3, 1e3])
    coalitions = coalitions_of(9, 16, n)
    compare(Ridge(), "r2", Dataset(x[:n], y[:n]), Dataset(x[n:], y[n:]), coalitions)
    train, test = Dataset(x[:n], labels[:n]), Dataset(x[n:], labels[n:])
    for model in (GaussianNB(), LinearDiscriminantAnalysis(), KNeighborsClassifier(3)):
        compare(model, "accuracy", train, test, coalitions)


def test_equal_distances_are_left_to_scikit_learn():
    x = np.array([[0.0], [0.0], [0.0], [1.0], [1.0], [2.0]])
    y = np.array([0, 1, 0, 1, 1, 0])
    train, test = Dataset(x, y), Dataset([[0.0], [2.0]], [0, 1])
    coalitions = np.array([[1, 1, 1, 0, 0, 0], [1, 0, 1, 1, 1, 0], [0, 0, 0, 1, 1, 1]], dtype=bool)
    good = compare(KNeighborsClassifier(1), "accuracy", train, test, coalitions)
    # Three rows of different labels are at one place; two of the same label do not matter.
    np.testing.assert_array_equal(good, [False, False, True])


def test_a_test_point_on_a_member_hears_only_that_one():
    x = np.array([[0.0], [1.0], [2.0], [3.0]])
    y = np.array([10.0, 20.0, 30.0, 50.0])
    train, test = Dataset(x, y), Dataset([[1.0], [2.2]], [1.0, 2.0])
    coalitions = np.array([[1, 1, 1, 1], [1, 0, 1, 1]], dtype=bool)
    model = KNeighborsRegressor(2, weights="distance")
    assert compare(model, "neg_mean_absolute_error", train, test, coalitions).all()


def test_test_labels_that_nobody_was_trained_on():
    n, t = 24, 20
    x, labels, _ = arrays(10, n, t, 3, 2, False)
    labels[n:][:3] = 7
    train, test = Dataset(x[:n], labels[:n]), Dataset(x[n:], labels[n:])
    for scoring in LABELS:
        assert compare(GaussianNB(), scoring, train, test, coalitions_of(10, 12, n)).any()
