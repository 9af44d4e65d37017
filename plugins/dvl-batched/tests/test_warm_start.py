"""Warm starts along a chain: against loops written out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, SGDClassifier, SGDRegressor
from sklearn.naive_bayes import BernoulliNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dvl_batched import WarmStartUtility, batched
from dvl_core import (
    Dataset,
    JoblibBackend,
    MaxEvaluations,
    MemoryStore,
    ModelUtility,
    SupervisedScorer,
)
from dvl_core.errors import DataError, InvalidOptionError, UtilityError
from dvl_core.testing.requirements import pickled_copy
from dvl_shapley import DataShapleyValuation, PermutationSampler

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N = 14
RNG = np.random.default_rng(0)
X = RNG.normal(size=(54, 3))
Y = np.array(["no", "yes"])[(X[:, 0] + RNG.normal(size=54) > 0).astype(int)]
Y[:4] = ["no", "no", "no", "yes"]
TRAIN, TEST = Dataset(X[:N], Y[:N]), Dataset(X[N:], Y[N:])
CHAIN = np.tri(N, dtype=bool)


def warm(model, by=None, train=TRAIN, scoring="accuracy", **options):
    plain = ModelUtility(model, SupervisedScorer(scoring, TEST), **options)
    return WarmStartUtility(plain, by=by).with_data(train)


@pytest.mark.parametrize(
    "model",
    [
        SGDClassifier(random_state=3),
        MLPClassifier((4,), random_state=3),
        BernoulliNB(),
    ],
    ids=str,
)
def test_partial_fit_learns_one_row_after_the_other(model):
    found = warm(model).evaluate(CHAIN)
    expected = []
    for i in range(N):
        # The first prefixes have one class: the other one is announced.
        model.partial_fit(X[i : i + 1], Y[i : i + 1], classes=["no", "yes"])
        expected.append(model.score(X[N:], Y[N:]))
    np.testing.assert_array_equal(found.values, expected)
    assert not found.failed.any()


def test_warm_start_goes_on_from_the_last_coefficients():
    model = LogisticRegression(warm_start=True, max_iter=3)
    utility = warm(model)
    found = utility.evaluate(CHAIN)
    assert utility.by == "warm_start"
    # One class only: it fails as it does for ModelUtility.
    np.testing.assert_array_equal(found.failed, utility.utility.evaluate(CHAIN).failed)
    first = int(np.argmin(found.failed))
    assert first == 3
    expected = []
    for i in range(first, N):
        model.fit(X[: i + 1], Y[: i + 1])
        expected.append(model.score(X[N:], Y[N:]))
    np.testing.assert_array_equal(found.values[first:], expected)


def test_a_model_with_both_is_told_which():
    for model, by, expected in (
        (SGDClassifier(), None, "partial_fit"),
        (SGDClassifier(warm_start=True), None, "warm_start"),
        (SGDClassifier(), "warm_start", "warm_start"),
    ):
        assert warm(model, by).by == expected
    by_warm_start = warm(SGDClassifier(random_state=0), "warm_start")(CHAIN[3:])
    model = SGDClassifier(random_state=0, warm_start=True)
    expected = [model.fit(X[:i], Y[:i]).score(X[N:], Y[N:]) for i in range(4, N + 1)]
    np.testing.assert_array_equal(by_warm_start, expected)


def test_a_new_class_starts_a_warm_start_afresh():
    y = np.arange(54) % 2
    y[5:N], y[20:30] = np.arange(5, N) % 3, 2
    plain = ModelUtility(
        LogisticRegression(warm_start=True), SupervisedScorer("accuracy", (X[N:], y[N:]))
    )
    utility = WarmStartUtility(plain).with_data(Dataset(X[:N], y[:N]))
    found = utility.evaluate(CHAIN[:6])
    assert not found.failed[1:].any()
    np.testing.assert_array_equal(
        found.values[5], plain.with_data(utility.utility.train)(CHAIN[5:6])[0]
    )


def test_rows_that_are_not_nested_start_afresh():
    model = SGDClassifier(random_state=3)
    utility = warm(model)
    mixed = np.concatenate([CHAIN[4:9], CHAIN[2:5, ::-1], CHAIN[[6, 6]]])
    values = utility(mixed)
    np.testing.assert_array_equal(values[:5], utility(CHAIN[4:9]))
    np.testing.assert_array_equal(values[5:8], utility(CHAIN[2:5, ::-1]))
    np.testing.assert_array_equal(values[8:], np.repeat(utility(CHAIN[6:7]), 2))


def test_it_is_another_game_than_fitting_afresh():
    utility = warm(SGDClassifier(random_state=3))
    assert (utility(CHAIN) != utility.utility(CHAIN)).any()
    assert not utility.batch_invariant
    assert utility.fingerprint not in (None, utility.utility.fingerprint)
    assert utility.fingerprint != warm(SGDClassifier(random_state=3), "warm_start").fingerprint
    assert warm(SGDClassifier()).fingerprint is None
    assert warm(SGDClassifier()).with_seed(1).fingerprint is not None
    assert batched(utility) is utility
    assert "WarmStartUtility" in repr(utility)
    assert "by='partial_fit'" in repr(utility)


def test_a_store_answers_whole_batches_only():
    store = MemoryStore()
    utility = warm(SGDClassifier(random_state=3), store=store)
    values = utility(CHAIN)
    assert len(store) == N
    np.testing.assert_array_equal(utility(CHAIN), values)
    assert len(store) == N
    np.testing.assert_array_equal(
        utility(CHAIN[5:]), warm(SGDClassifier(random_state=3))(CHAIN[5:])
    )
    assert len(store) == N + 9


def test_groups_bring_all_their_rows():
    groups = np.arange(N) // 2
    utility = warm(SGDClassifier(random_state=3), train=Dataset(X[:N], Y[:N], groups=groups))
    model = SGDClassifier(random_state=3)
    expected = []
    for i in range(0, N, 2):
        model.partial_fit(X[i : i + 2], Y[i : i + 2], classes=["no", "yes"])
        expected.append(model.score(X[N:], Y[N:]))
    np.testing.assert_array_equal(utility(np.tri(N // 2, dtype=bool)), expected)


def test_regression_knows_no_classes():
    y = X[:, 0] + 1.0
    scorer = SupervisedScorer("r2", (X[N:], y[N:]))
    utility = WarmStartUtility(ModelUtility(SGDRegressor(random_state=0), scorer))
    values = utility.with_data(Dataset(X[:N], y[:N]))(CHAIN)
    model = SGDRegressor(random_state=0)
    expected = [model.partial_fit(X[[i]], y[[i]]).score(X[N:], y[N:]) for i in range(N)]
    np.testing.assert_array_equal(values, expected)


def test_failures_are_those_of_the_model_utility():
    empty = np.zeros((1, N), dtype=bool)
    found = warm(SGDClassifier(random_state=0)).evaluate(np.concatenate([empty, CHAIN]))
    np.testing.assert_array_equal(np.flatnonzero(found.failed), [0])
    with pytest.raises(UtilityError, match="coalition of 1 of 14 players"):
        warm(LogisticRegression(warm_start=True), on_error="raise")(CHAIN)
    # partial_fit refuses this option, whatever the rows are.
    balanced = SGDClassifier(class_weight="balanced", random_state=0)
    with pytest.raises(UtilityError, match="balanced"):
        warm(balanced)(CHAIN[5:])
    assert warm(balanced, on_error="score").evaluate(CHAIN).failed.all()


def test_models_that_cannot_go_on_are_refused():
    for model in (KNeighborsClassifier(), make_pipeline(StandardScaler(), SGDClassifier())):
        with pytest.raises(InvalidOptionError, match="neither partial_fit nor warm_start"):
            warm(model)
    with pytest.raises(InvalidOptionError, match="LogisticRegression has no partial_fit"):
        warm(LogisticRegression(), "partial_fit")
    with pytest.raises(InvalidOptionError, match="by must be one of"):
        warm(SGDClassifier(), "often")
    with pytest.raises(InvalidOptionError, match="new rows would not be learned"):
        warm(RandomForestClassifier(2))(CHAIN)
    with pytest.raises(InvalidOptionError, match="must be a ModelUtility"):
        WarmStartUtility(warm(SGDClassifier()))
    unbound = WarmStartUtility(ModelUtility(SGDClassifier(), SupervisedScorer("accuracy", TEST)))
    with pytest.raises(DataError, match="no players"):
        unbound(CHAIN)


def test_the_model_given_stays_unfitted_and_copies_travel():
    model = SGDClassifier(random_state=3)
    utility = warm(model)
    values = utility(CHAIN)
    assert not hasattr(model, "coef_")
    np.testing.assert_array_equal(pickled_copy(utility)(CHAIN), values)


def test_a_valuation_has_the_same_bits_on_all_backends():
    def value(backend=None):
        utility = ModelUtility(SGDClassifier(), SupervisedScorer("accuracy", TEST))
        valuation = DataShapleyValuation(
            WarmStartUtility(utility),
            sampler=PermutationSampler(),
            stopping=MaxEvaluations(150),
            seed=3,
            backend=backend,
        )
        return valuation.fit(TRAIN).result

    serial = value()
    assert (serial.values != 0).any()
    assert (
        serial.values.tobytes() == value(JoblibBackend(n_jobs=2, backend="loky")).values.tobytes()
    )
