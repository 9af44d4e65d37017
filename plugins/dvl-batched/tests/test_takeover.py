"""What is taken over, what is left alone, and that failures are those of the model utility."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import is_regressor
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.naive_bayes import BernoulliNB, GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from dvl_batched import BatchedModelUtility, batched
from dvl_batched import takeover as takeover_module
from dvl_batched.options import check_options
from dvl_batched.problem import NotReproducedError
from dvl_batched.takeover import take_over
from dvl_batched.trainers import TRAINERS
from dvl_core import Dataset, ModelUtility, SupervisedScorer
from dvl_core.errors import DataError, InvalidOptionError, UtilityError

N = 20
RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 2))
Y = (X[:, 0] + RNG.normal(size=40) > 0).astype(int)
Y[:4] = [0, 1, 0, 1]
NUMBERS = X[:, 0] + RNG.normal(size=40)
TRAIN, TEST = Dataset(X[:N], Y[:N]), Dataset(X[N:], Y[N:])


class OwnLogisticRegression(LogisticRegression):
    """May do anything."""


class OwnUtility(ModelUtility):
    """May do anything."""


def utility(model, scoring="accuracy", train=TRAIN, test=TEST, **options):
    return ModelUtility(model, SupervisedScorer(scoring, test), **options).with_data(train)


def wrapped(model, scoring="accuracy", train=TRAIN, test=TEST, **options):
    return batched(utility(model, scoring, train, test, **options))


@pytest.mark.parametrize("kind", TRAINERS, ids=lambda kind: kind.__name__)
def test_defaults_are_taken_over(kind):
    model = kind()
    regression = is_regressor(model)
    y = NUMBERS if regression else Y
    train, test = Dataset(np.abs(X[:N]), y[:N]), Dataset(np.abs(X[N:]), y[N:])
    found = wrapped(model, "r2" if regression else "accuracy", train, test)
    assert isinstance(found, BatchedModelUtility)


@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(solver="liblinear"),
        LogisticRegression(solver="newton-cg"),
        LogisticRegression(solver="saga", l1_ratio=0.5),
        LogisticRegression(C=np.inf),
        LogisticRegression(class_weight={0: 2.0}),
        LogisticRegression(warm_start=True),
        GaussianNB(priors=[0.3, 0.7]),
        GaussianNB(var_smoothing=-1.0),
        BernoulliNB(class_prior=[0.3, 0.7]),
        BernoulliNB(alpha=[1.0, 2.0]),
        MultinomialNB(),
        NearestCentroid(shrink_threshold=0.1),
        NearestCentroid(metric="manhattan"),
        NearestCentroid(priors="empirical"),
        LinearDiscriminantAnalysis(solver="eigen"),
        LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
        LinearDiscriminantAnalysis(priors=[0.5, 0.5]),
        KNeighborsClassifier(weights=np.exp),
        KNeighborsClassifier(metric="cosine"),
        KNeighborsClassifier(n_neighbors=2.5),
        OwnLogisticRegression(),
        RandomForestClassifier(5),
        make_pipeline(MinMaxScaler(), LogisticRegression()),
        make_pipeline(StandardScaler(with_mean=False), LogisticRegression()),
        make_pipeline(StandardScaler(), KNeighborsClassifier()),
        make_pipeline(StandardScaler(), LogisticRegression(), memory="unused"),
    ],
    ids=str,
)
def test_other_models_and_options_are_left_alone(model):
    plain = utility(model)
    assert batched(plain) is plain


@pytest.mark.parametrize(
    "model",
    [
        Ridge(positive=True),
        Ridge(solver="lsqr"),
        Ridge(alpha=0.0),
        LinearRegression(positive=True),
        KernelRidge(kernel="chi2"),
        KernelRidge(kernel=np.dot),
    ],
    ids=lambda model: str(model).split(" at 0x")[0],
)
def test_other_regressors_are_left_alone(model):
    plain = utility(model, "r2", Dataset(X[:N], NUMBERS[:N]), Dataset(X[N:], NUMBERS[N:]))
    assert batched(plain) is plain


@pytest.mark.parametrize(
    ("scoring", "test"),
    [
        ("f1", TEST),
        (lambda model, x, y: model.score(x, y), TEST),
        ("neg_log_loss", Dataset(X[N:], Y[N:] + 1)),
        ("roc_auc", Dataset(X[N:], np.arange(20) % 3)),
    ],
    ids=["f1", "function", "other classes", "three classes"],
)
def test_other_scores_are_left_alone(scoring, test):
    scorer = SupervisedScorer(scoring, test, default=0.0)
    plain = ModelUtility(GaussianNB(), scorer, on_error="score").with_data(TRAIN)
    assert batched(plain) is plain


def test_other_data_is_left_alone():
    gaps = X[:N].copy()
    gaps[0, 0] = np.nan
    for x in (gaps, X[:N].astype(np.float32), sparse.csr_array(X[:N])):
        plain = utility(NearestCentroid(), train=Dataset(x, Y[:N]))
        assert batched(plain) is plain
    mixed = pd.DataFrame({"a": X[:, 0], "b": pd.Categorical(Y)})
    plain = utility(GaussianNB(), train=Dataset(mixed[:N], Y[:N]), test=Dataset(mixed[N:], Y[N:]))
    assert batched(plain) is plain


def test_frames_of_numbers_are_taken_over():
    frame = pd.DataFrame({"a": X[:, 0], "b": Y})
    train, test = Dataset(frame[:N], Y[:N]), Dataset(frame[N:], Y[N:])
    found = wrapped(GaussianNB(), train=train, test=test)
    assert isinstance(found, BatchedModelUtility)
    other = Dataset(frame[N:].rename(columns={"a": "z"}), Y[N:])
    plain = utility(GaussianNB(), train=train, test=other, on_error="score")
    assert batched(plain) is plain


def test_a_subclass_of_the_utility_is_left_alone():
    own = OwnUtility(GaussianNB(), SupervisedScorer("accuracy", TEST)).with_data(TRAIN)
    assert batched(own) is own
    with pytest.raises(InvalidOptionError, match="must be a ModelUtility"):
        BatchedModelUtility(own)


def test_what_the_model_does_is_checked_by_example(monkeypatch):
    """A version of scikit-learn that computes something else is noticed."""
    original = GaussianNB.predict
    monkeypatch.setattr(GaussianNB, "predict", lambda self, x: 1 - original(self, x))
    plain = utility(GaussianNB())
    assert batched(plain) is plain


def test_a_solver_that_does_not_converge_is_left_alone():
    plain = utility(LogisticRegression(max_iter=1))
    with pytest.warns(match="lbfgs"):
        plain(np.ones((1, N), dtype=bool))
    assert batched(plain) is plain


def test_the_reason_is_told_to_who_asks_for_it():
    with pytest.raises(NotReproducedError, match="MultinomialNB on negative features"):
        BatchedModelUtility(utility(MultinomialNB()))
    with pytest.raises(NotReproducedError, match=r"Ridge\(solver='sag'\)"):
        check_options(Ridge(solver="sag"), {})
    unbound = BatchedModelUtility(
        ModelUtility(KNeighborsClassifier(), SupervisedScorer("f1", TEST))
    )
    with pytest.raises(NotReproducedError, match="'f1'"):
        unbound.with_data(TRAIN)
    with pytest.raises(DataError, match="no players"):
        unbound(np.ones((1, N), dtype=bool))
    with pytest.raises(InvalidOptionError, match="memory"):
        BatchedModelUtility(utility(GaussianNB()), memory=0)


DEGENERATE = np.zeros((5, N), dtype=bool)
DEGENERATE[1, 0] = True
DEGENERATE[2, np.flatnonzero(Y[:N] == 0)] = True
DEGENERATE[3, [0, 1]] = True
DEGENERATE[4] = True


@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(),
        GaussianNB(),
        NearestCentroid(),
        LinearDiscriminantAnalysis(),
        KNeighborsClassifier(3),
    ],
    ids=str,
)
@pytest.mark.parametrize("scoring", ["accuracy", "neg_log_loss"])
@pytest.mark.filterwarnings("ignore:.*:RuntimeWarning", "ignore:.*:UserWarning")
def test_degenerate_coalitions_fail_as_before(model, scoring):
    if isinstance(model, NearestCentroid) and scoring != "accuracy":
        pytest.skip("it has no probabilities that are reproduced")
    plain = utility(model, scoring)
    expected = plain.evaluate(DEGENERATE)
    found = BatchedModelUtility(plain).evaluate(DEGENERATE)
    np.testing.assert_array_equal(found.failed, expected.failed)
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-6)


@pytest.mark.parametrize("on_error", ["default", "score"])
@pytest.mark.parametrize("model", [LogisticRegression(), KNeighborsClassifier(3)], ids=str)
def test_coalitions_that_must_fail_are_tried_once_a_block(model, on_error, monkeypatch):
    plain = utility(model, on_error=on_error)
    coalitions = np.concatenate([np.eye(N, dtype=bool), DEGENERATE])
    expected = plain.evaluate(coalitions)
    found = BatchedModelUtility(plain)
    fits = []
    original = ModelUtility._fit_and_score

    def spy(self, rows):
        fits.append(rows)
        return original(self, rows)

    monkeypatch.setattr(ModelUtility, "_fit_and_score", spy)
    evaluation = found.evaluate(coalitions)
    np.testing.assert_array_equal(evaluation.failed, expected.failed)
    np.testing.assert_array_equal(evaluation.values, expected.values)
    assert expected.failed.sum() > N
    # One failure, perhaps a fit of all rows to judge it by.
    assert len(fits) <= 3


@pytest.mark.parametrize("scoring", ["neg_log_loss", "neg_brier_score", "roc_auc"])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("model", [GaussianNB(), KNeighborsClassifier(2)], ids=str)
@pytest.mark.filterwarnings("ignore:.*:RuntimeWarning", "ignore:.*:UserWarning")
def test_probabilities_of_coalitions_that_lack_classes_fail_as_before(model, n_classes, scoring):
    if scoring == "roc_auc" and n_classes > 2:
        pytest.skip("it is not taken over")
    y = np.arange(40) % n_classes
    plain = utility(model, scoring, Dataset(X[:N], y[:N]), Dataset(X[N:], y[N:]))
    coalitions = np.concatenate([np.eye(N, dtype=bool), DEGENERATE])
    coalitions[-3] = y[:N] == 1
    coalitions[-2] = (y[:N] == 0) | (y[:N] == n_classes - 1)
    expected = plain.evaluate(coalitions)
    found = BatchedModelUtility(plain).evaluate(coalitions)
    np.testing.assert_array_equal(found.failed, expected.failed)
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-6)
    assert expected.failed[-3]


def test_each_way_to_treat_errors_is_tried_for_itself():
    """Utilities that differ in it alone share what was prepared."""
    coalitions = np.eye(N, dtype=bool)[:3]
    with pytest.raises(UtilityError):
        wrapped(LogisticRegression(C=0.7), on_error="raise")(coalitions)
    for on_error in ("default", "score"):
        found = wrapped(LogisticRegression(C=0.7), on_error=on_error)
        assert found.evaluate(coalitions).failed.all()


SATURATED = np.random.default_rng(2).normal(size=(90, 12))
SIDES = (SATURATED[:, :2].sum(axis=1) > 0).astype(int)
SATURATED[:, 2:] += 4.0 * (SIDES ^ (np.arange(90) % 45 >= 40))[:, None]


@pytest.mark.parametrize("model", [GaussianNB(), BernoulliNB(), MultinomialNB()], ids=str)
@pytest.mark.parametrize("scoring", ["neg_log_loss", "roc_auc"])
def test_saturated_probabilities_are_those_of_scikit_learn(model, scoring, monkeypatch):
    """Their last bits decide about the score; they are computed in its order."""
    x = np.abs(SATURATED) if isinstance(model, MultinomialNB) else SATURATED
    train, test = Dataset(x[:40], SIDES[:40]), Dataset(x[40:], SIDES[40:])
    plain = utility(model, scoring, train, test)
    coalitions = np.random.default_rng(0).random((30, 40)) < 0.6
    expected = plain(coalitions)
    values, good = take_over(plain).scores(coalitions)
    assert good.all()
    np.testing.assert_allclose(values, expected, rtol=1e-9)
    # Without scikit-learn's sums some are left to it.
    monkeypatch.setattr(takeover_module, "same_bits", lambda *parts: False)
    values, good = take_over(plain).scores(coalitions)
    assert type(model) is not GaussianNB or not good.all()
    np.testing.assert_allclose(values[good], expected[good], rtol=1e-6)


def test_bits_are_compared_with_a_fit():
    train, test = Dataset(np.abs(X[:N]), Y[:N]), Dataset(np.abs(X[N:]), Y[N:])
    for model in (MultinomialNB(), BernoulliNB(binarize=1.0), GaussianNB()):
        plain = utility(model, "neg_log_loss", train, test)
        prepared = take_over(plain)
        assert takeover_module.same_bits(plain, prepared.trainer, prepared.problem)
    prepared.trainer.smoothing *= 2
    assert not takeover_module.same_bits(plain, prepared.trainer, prepared.problem)
    scaled = utility(make_pipeline(StandardScaler(), GaussianNB()), "neg_log_loss")
    prepared = take_over(scaled)
    assert not takeover_module.same_bits(scaled, prepared.trainer, prepared.problem)


def test_errors_name_the_coalition_as_before():
    plain = utility(LogisticRegression(), on_error="raise")
    with pytest.raises(UtilityError) as expected:
        plain(DEGENERATE[2:])
    with pytest.raises(UtilityError) as found:
        BatchedModelUtility(plain)(DEGENERATE[2:])
    assert str(found.value) == str(expected.value)


def test_memory_bounds_what_is_worked_on_at_once(monkeypatch):
    sizes = []
    original = takeover_module.TakeOver.scores

    def spy(self, coalitions):
        sizes.append(len(coalitions))
        return original(self, coalitions)

    monkeypatch.setattr(takeover_module.TakeOver, "scores", spy)
    coalitions = np.random.default_rng(0).random((50, N)) < 0.5
    whole = BatchedModelUtility(utility(GaussianNB(), "neg_brier_score"))
    sizes.clear()
    values = whole(coalitions)
    assert sizes == [50]
    small = BatchedModelUtility(whole.utility, memory=0.01)
    sizes.clear()
    np.testing.assert_allclose(small(coalitions), values, rtol=1e-12)
    assert sum(sizes) == 50
    assert len(sizes) > 3
    assert small.fingerprint != whole.fingerprint
