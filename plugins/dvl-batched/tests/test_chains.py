"""Nested coalitions: increments give what scikit-learn gives."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.naive_bayes import BernoulliNB, GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dvl_batched import BatchedModelUtility
from dvl_batched.linalg import Gram
from dvl_batched.members import ChainedMembers, Members, members_of, prefix_sums, run_starts
from dvl_batched.takeover import take_over
from dvl_batched.trainers.innovations import Innovations
from dvl_batched.trainers.joining import nearest_along
from dvl_core import Dataset, JoblibBackend, MaxEvaluations, ModelUtility, SupervisedScorer
from dvl_core.hooks import wrap_utility
from dvl_shapley import DataShapleyValuation, PermutationSampler

pytestmark = [
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

CLASSIFIERS = [
    (GaussianNB(), "neg_log_loss"),
    (BernoulliNB(binarize=1.0), "neg_brier_score"),
    (MultinomialNB(), "roc_auc"),
    (NearestCentroid(), "accuracy"),
    (make_pipeline(StandardScaler(), NearestCentroid()), "balanced_accuracy"),
    (LinearDiscriminantAnalysis(), "accuracy"),
    (KNeighborsClassifier(3), "accuracy"),
    (KNeighborsClassifier(2, weights="distance"), "roc_auc"),
    (LogisticRegression(), "accuracy"),
]
REGRESSORS = [
    Ridge(),
    Ridge(alpha=1e-7),
    Ridge(alpha=1e-12, fit_intercept=False),
    make_pipeline(StandardScaler(), Ridge()),
    LinearRegression(),
    KNeighborsRegressor(2),
    KNeighborsRegressor(3, weights="distance"),
]


def data(seed, n, t=20, d=3, whole=False):
    """Return training and test data with labels, and with numbers."""
    rng = np.random.default_rng(seed)
    x = np.abs(rng.normal(size=(n + t, d))) * rng.uniform(0.5, 2, size=d)
    x = np.round(2 * x) if whole else x
    numbers = x @ rng.normal(size=d) + rng.normal(size=n + t)
    labels = (numbers > np.median(numbers)).astype(int)
    labels[n : n + 2] = 0, 1
    labels[:2] = 0, 1
    return [(Dataset(x[:n], y[:n]), Dataset(x[n:], y[n:])) for y in (labels, numbers)]


def chains(*permutations):
    """Return the prefixes of permutations, the empty and the full one included."""
    n = len(permutations[0])
    return np.concatenate([np.argsort(p) < np.arange(n + 1)[:, None] for p in permutations])


def compare(model, scoring, train, test, coalitions):
    """Assert that increments give what scikit-learn gives; return which are not left to it."""
    plain = ModelUtility(model, SupervisedScorer(scoring, test), on_error="score").with_data(train)
    prepared = take_over(plain)
    prepared.trainer.least_run = 2
    assert isinstance(members_of(coalitions, prepared.groups, 2), ChainedMembers)
    values, good = prepared.scores(coalitions)
    expected = plain.evaluate(coalitions)
    assert not (good & expected.failed).any()
    np.testing.assert_allclose(values[good], expected.values[good], rtol=1e-6, atol=1e-6)
    return good


@pytest.mark.parametrize(("model", "scoring"), CLASSIFIERS, ids=str)
@pytest.mark.parametrize("whole", [False, True])
def test_classifiers_along_permutations(model, scoring, whole):
    n = 22
    train, test = data(4, n, whole=whole)[0]
    rng = np.random.default_rng(1)
    drawn = rng.permutation(n)
    one_class_first = np.argsort(train.y, kind="stable")
    coalitions = chains(drawn, one_class_first)
    good = compare(model, scoring, train, test, coalitions)
    if not whole:
        assert good.mean() > 0.5


@pytest.mark.parametrize("model", REGRESSORS, ids=str)
@pytest.mark.parametrize("whole", [False, True])
def test_regressors_along_permutations(model, whole):
    n = 22
    train, test = data(5, n, whole=whole)[1]
    drawn = np.random.default_rng(2).permutation(n)
    good = compare(model, "r2", train, test, chains(drawn, drawn[::-1]))
    if not whole:
        assert good.mean() > 0.5


@pytest.mark.parametrize("model", [Ridge(), Ridge(alpha=1e-6), LinearRegression()], ids=str)
def test_constant_and_collinear_columns(model):
    n = 24
    train, test = data(6, n)[1]
    wide = [
        np.column_stack([part.x, part.x[:, 0] - 2 * part.x[:, 1], np.full(len(part), 7.0)])
        for part in (train, test)
    ]
    wide[0] = np.column_stack([wide[0], np.arange(n) == 4])
    wide[1] = np.column_stack([wide[1], np.zeros(len(test))])
    compare(
        model,
        "neg_mean_squared_error",
        Dataset(wide[0], train.y),
        Dataset(wide[1], test.y),
        chains(np.arange(n)),
    )


@pytest.mark.parametrize("scale", [1e-6, 1e6])
@pytest.mark.parametrize("intercept", [False, True])
def test_columns_whose_scale_decides_about_the_rank(scale, intercept):
    n = 40
    train, test = data(12, n)[1]
    scales = np.array([scale, 1.0, 1.0])
    parts = [Dataset(part.x * scales, part.y) for part in (train, test)]
    model = LinearRegression(fit_intercept=intercept)
    compare(model, "neg_mean_absolute_error", *parts, chains(np.arange(n)))


@pytest.mark.parametrize(
    ("model", "scoring"),
    [
        (GaussianNB(), "accuracy"),
        (LinearDiscriminantAnalysis(), "accuracy"),
        (KNeighborsClassifier(3), "accuracy"),
    ],
    ids=str,
)
def test_groups_join_with_all_their_rows(model, scoring):
    train, test = data(7, 30)[0]
    groups = np.random.default_rng(0).integers(0, 9, 30)
    groups[:9] = np.arange(9)
    grouped = Dataset(train.x, train.y, groups=groups)
    order = np.random.default_rng(3).permutation(9)
    assert compare(model, scoring, grouped, test, chains(order, order[::-1])).mean() > 0.3


def test_groups_join_a_regression():
    train, test = data(8, 40)[1]
    groups = np.random.default_rng(0).integers(0, 6, 40)
    grouped = Dataset(train.x, train.y, groups=groups)
    assert compare(Ridge(), "r2", grouped, test, chains(np.arange(6))).mean() > 0.8


def test_steps_of_several_players_and_chains_that_start_late():
    train, test = data(9, 30)[1]
    coalitions = chains(np.random.default_rng(3).permutation(30))[[7, 9, 10, 20, 30, 2, 5, 6, 29]]
    assert compare(Ridge(), "r2", train, test, coalitions).all()
    compare(KNeighborsRegressor(4), "r2", train, test, coalitions)


def test_equal_distances_are_left_to_scikit_learn():
    x = np.array([[0.0], [0.0], [0.0], [1.0], [1.0], [2.0]])
    train = Dataset(x, [0, 1, 0, 1, 1, 0])
    test = Dataset([[0.0], [2.0]], [0, 1])
    good = compare(KNeighborsClassifier(1), "accuracy", train, test, chains([5, 3, 4, 0, 2, 1]))
    # From the second of the three rows at one place on, which differ in their labels.
    np.testing.assert_array_equal(good, [False, True, True, True, True, False, False])


@pytest.mark.parametrize("alpha", [1.0, 1e-3, 1e-9])
def test_rounding_does_not_pile_up_over_a_thousand_steps(alpha):
    n, d = 1000, 20
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, d)) * np.logspace(-2, 2, d) + 10.0
    y = x @ rng.normal(size=d) + rng.normal(size=n)
    train, test = Dataset(x, y), Dataset(x[:50] + 0.1, y[:50])
    plain = ModelUtility(Ridge(alpha=alpha), SupervisedScorer("r2", test)).with_data(train)
    prepared = take_over(plain)
    coalitions = chains(rng.permutation(n))
    assert prepared.trainer.innovations(members_of(coalitions[1:], None, 2))[1].mean() > 0.9
    values, good = prepared.scores(coalitions)
    shown = np.array([30, 100, 500, 999, 1000])
    assert good[shown].all()
    np.testing.assert_allclose(values[shown], plain(coalitions[shown]), rtol=1e-7)


def test_an_unsafe_start_is_not_taken():
    z = np.ones((40, 2))
    z[20:, 1] = np.arange(20)
    innovations = Innovations(z, np.arange(40.0), z[:3], np.zeros(2))
    values, sure = innovations(members_of(np.tri(40, dtype=bool), None, 2))
    assert not sure[:20].any()
    assert sure[30:].all()
    w = np.linalg.lstsq(z[:35], np.arange(35.0), rcond=None)[0]
    np.testing.assert_allclose(values[34], z[:3] @ w, rtol=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.booleans())
def test_chained_members_are_members(seed, n, grouped):
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, n, 12) if grouped else None
    m = 12 if grouped else n
    coalitions = chains(rng.permutation(n), rng.permutation(n))
    coalitions = coalitions[np.sort(rng.choice(len(coalitions), size=n + 1, replace=False))]
    chained, plain = members_of(coalitions, groups, 1), Members(coalitions, groups)
    assert isinstance(chained, ChainedMembers)
    kept = rng.random(len(coalitions)) < 0.7
    for found, expected in ((chained, plain), (chained.kept(kept), plain.kept(kept))):
        rows = np.flatnonzero(rng.random(m) < 0.6)
        columns = rng.normal(size=(m, 2))
        np.testing.assert_array_equal(found.sizes, expected.sizes)
        np.testing.assert_array_equal(found.counts(rows), expected.counts(rows))
        np.testing.assert_allclose(found.sums(columns), expected.sums(columns), atol=1e-12)
        np.testing.assert_allclose(
            found.sums(columns[rows], rows), expected.sums(columns[rows], rows), atol=1e-12
        )
        gram = Gram(columns)
        np.testing.assert_allclose(gram(found), gram(expected), atol=1e-12)
        gram._packed = None
        np.testing.assert_allclose(gram(found), gram(expected), atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 40), st.integers(1, 4))
def test_nearest_rows_are_found_while_rows_join(seed, k, length, t):
    rng = np.random.default_rng(seed)
    ranks = np.argsort(rng.random((length + 3, t)), axis=0)[:length]
    joined = np.unique(rng.integers(1, length + 1, size=6))
    found = nearest_along(ranks, joined, k)
    for row, size in zip(found.places, joined, strict=True):
        nearest = found.ranks[:, row]
        expected = np.sort(ranks[:size], axis=0)[:k]
        np.testing.assert_array_equal(nearest[: len(expected)], expected)
        assert (nearest[len(expected) :] >= length + 3).all()
        np.testing.assert_array_equal(found.tests[row], np.arange(t))


def test_runs_are_told_from_what_is_not_nested():
    coalitions = np.concatenate([chains(np.arange(9)), chains(np.arange(9)[::-1])])
    np.testing.assert_array_equal(run_starts(coalitions), [0, 10])
    np.testing.assert_array_equal(run_starts(coalitions[::-1]), np.delete(np.arange(20), 10))
    np.testing.assert_array_equal(run_starts(np.ones((3, 9), dtype=bool)), [0, 1, 2])
    assert type(members_of(coalitions, None, 10)) is ChainedMembers
    assert type(members_of(coalitions, None, 11)) is Members


def test_prefix_sums_are_accurate():
    terms = np.random.default_rng(0).normal(size=(5000, 1))
    sums = prefix_sums(terms)
    assert sums.shape == (5001, 1)
    for size in (0, 1, 63, 64, 65, 4999, 5000):
        assert abs(sums[size, 0] - math.fsum(terms[:size, 0])) < 1e-13 * 100


LONG = data(10, 450, d=17)


@pytest.mark.parametrize(
    ("model", "which"), [(GaussianNB(), 0), (KNeighborsClassifier(), 0), (Ridge(), 1)], ids=str
)
def test_long_chains_are_recognised_by_themselves(model, which, monkeypatch):
    train, test = LONG[which]
    scoring = "r2" if which else "accuracy"
    utility = BatchedModelUtility(
        ModelUtility(model, SupervisedScorer(scoring, test)).with_data(train)
    )
    coalitions = chains(np.random.default_rng(0).permutation(450))[1:]
    made = []
    original = ChainedMembers.__init__
    monkeypatch.setattr(
        ChainedMembers, "__init__", lambda self, *parts: (made.append(1), original(self, *parts))[1]
    )
    along = utility(coalitions)
    assert made
    made.clear()
    shuffled = np.random.default_rng(1).permutation(450)
    apart = np.empty(450)
    apart[shuffled] = utility(coalitions[shuffled])
    assert not made
    if utility.batch_invariant:
        # Shares of right labels do not see how the sums were made.
        np.testing.assert_array_equal(along, apart, strict=True)
    else:
        np.testing.assert_allclose(along, apart, rtol=1e-9)


def test_a_run_along_permutations_has_the_same_bits_on_all_backends():
    train, test = (part.select(range(80)) if len(part) > 80 else part for part in LONG[1])

    def value(backend=None):
        utility = ModelUtility(Ridge(), SupervisedScorer("r2", test))
        valuation = DataShapleyValuation(
            wrap_utility(utility.with_data(train)),
            sampler=PermutationSampler(),
            stopping=MaxEvaluations(400),
            seed=1,
            backend=backend,
        )
        return valuation.fit().result.values.tobytes()

    serial = value()
    assert serial == value(JoblibBackend(n_jobs=2, backend="threading"))
    assert serial == value(JoblibBackend(n_jobs=2, backend="loky"))
