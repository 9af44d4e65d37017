"""Data-OOB against a recomputation with estimators_samples_, one player after the other."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.datasets import load_iris, make_classification, make_regression
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from dvl_core.data import Dataset
from dvl_core.errors import DvlWarning, InvalidOptionError
from dvl_oob import DataOOBValuation

NAMES = np.array(["setosa", "versicolor", "virginica"])
Scoring = Callable[[Any, Any, np.ndarray, np.ndarray], np.ndarray]


def flowers(**options: Any) -> Dataset:
    x, y = load_iris(return_X_y=True)
    return Dataset(x, NAMES[y], **options)


def accuracy(ensemble: Any, base: Any, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (ensemble.classes_[base.predict(x).astype(int)] == y).astype(float)


def log_likelihood(ensemble: Any, base: Any, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    given_to = np.zeros((len(x), len(ensemble.classes_)))
    given_to[:, base.classes_.astype(int)] = base.predict_proba(x)
    right = [given_to[i, list(ensemble.classes_).index(label)] for i, label in enumerate(y)]
    return np.log(np.maximum(right, 1e-6))


def squared_error(ensemble: Any, base: Any, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return -((base.predict(x) - y) ** 2)


def absolute_error(ensemble: Any, base: Any, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return -np.abs(base.predict(x) - y)


SCORINGS: dict[str, Scoring] = {
    "accuracy": accuracy,
    "log-likelihood": log_likelihood,
    "squared-error": squared_error,
    "absolute-error": absolute_error,
}


def recomputed(
    ensemble: Any, data: Dataset, score: str, whole: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, counts and standard errors by the public interface of the ensemble."""
    owner = np.arange(data.n_rows) if data.groups is None else data.groups
    found: list[list[float]] = [[] for _ in range(len(data))]
    bags = ensemble.estimators_samples_
    columns = getattr(ensemble, "estimators_features_", None)
    for number, base in enumerate(ensemble.estimators_):
        x = data.x if columns is None else data.x[:, columns[number]]
        scores = SCORINGS[score](ensemble, base, x, data.y)
        unseen = ~np.isin(np.arange(data.n_rows), bags[number])
        for player in range(len(data)):
            own = owner == player
            if (own & unseen).any() and not (whole and (own & ~unseen).any()):
                found[player].append(float(np.mean(scores[own & unseen])))
    values = np.array([np.mean(f) if f else np.nan for f in found])
    counts = np.array([len(f) for f in found])
    errors = [np.std(f, ddof=1) / np.sqrt(len(f)) if len(f) > 1 else np.inf for f in found]
    return values, counts, np.array(errors)


def check(ensemble: Any, data: Dataset, score: str, **options: bool) -> None:
    """Value with the fitted ensemble, and compare everything with the recomputation."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DvlWarning)
        result = DataOOBValuation(ensemble, score=score, **options).fit(data).result
    whole = options.get("whole_groups", False)
    values, counts, errors = recomputed(ensemble, data, score, whole)
    assert result.counts.tolist() == counts.tolist()
    assert_allclose(result.values, values, rtol=1e-9, atol=1e-12)
    assert_allclose(result.stderr, errors, rtol=1e-6, atol=1e-7)


def classifiers(max_samples: int | float, seed: int) -> list[Any]:
    common: dict[str, Any] = {
        "n_estimators": 9,
        "max_samples": max_samples,
        "random_state": seed,
    }
    nearest = KNeighborsClassifier(1)  # knows only the classes in its bag
    return [
        RandomForestClassifier(max_depth=2, **common),
        ExtraTreesClassifier(bootstrap=True, **common),
        BaggingClassifier(**common),
        BaggingClassifier(DecisionTreeClassifier(max_depth=1), bootstrap=False, **common),
        BaggingClassifier(nearest, max_features=0.5, **common),
        BaggingClassifier(nearest, bootstrap_features=True, **common),
    ]


def regressors(max_samples: int | float, seed: int) -> list[Any]:
    common: dict[str, Any] = {
        "n_estimators": 9,
        "max_samples": max_samples,
        "random_state": seed,
    }
    return [
        RandomForestRegressor(max_depth=2, **common),
        RandomForestRegressor(criterion="absolute_error", **common),
        ExtraTreesRegressor(bootstrap=True, **common),
        BaggingRegressor(max_features=1, **common),
        BaggingRegressor(KNeighborsRegressor(1), bootstrap_features=True, **common),
        BaggingRegressor(LinearRegression(), bootstrap=False, **common),
    ]


@st.composite
def cases(draw: st.DrawFn) -> tuple[Dataset, bool, int, int, int]:
    n = draw(st.integers(2, 12))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    x = rng.integers(0, 4, (n, draw(st.integers(1, 3)))).astype(float)
    groups = draw(st.none() | st.lists(st.sampled_from("pqr"), min_size=n, max_size=n))
    classify = draw(st.booleans())
    y = rng.choice(["c", "a", "b"], n) if classify else rng.normal(size=n)
    # Fewer than all rows in a bag, so that some are always left out.
    return (
        Dataset(x, y, groups=groups),
        classify,
        draw(st.integers(1, n - 1)),
        draw(st.integers(0, 5)),
        draw(st.integers(0, 99)),
    )


@settings(max_examples=40, deadline=None)
@given(cases(), st.booleans(), st.booleans())
def test_values_counts_and_errors(
    case: tuple[Dataset, bool, int, int, int], other: bool, whole: bool
) -> None:
    data, classify, max_samples, which, seed = case
    kind = classifiers if classify else regressors
    ensemble = data.fit(kind(max_samples, seed)[which])
    names = ("accuracy", "log-likelihood") if classify else ("squared-error", "absolute-error")
    check(ensemble, data, names[other], whole_groups=whole)


@pytest.mark.parametrize(
    "model",
    [
        RandomForestClassifier(40, random_state=0),
        BaggingClassifier(n_estimators=40, random_state=0),
        BaggingClassifier(n_estimators=20, max_samples=0.5, bootstrap=False, random_state=0),
        BaggingClassifier(make_pipeline(StandardScaler(), GaussianNB()), 40, random_state=0),
        BaggingClassifier(LinearSVC(random_state=0), 8, max_samples=0.3, random_state=0),
    ],
    ids=repr,
)
def test_b16_string_labels(model: Any) -> None:
    """B16: base models predict encoded labels, so that labels such as strings never matched."""
    data = flowers()
    ensemble = data.fit(model)
    check(ensemble, data, "accuracy")
    assert DataOOBValuation(ensemble).fit(data).result.values.mean() > 0.8


def test_b16_columns_of_each_base_model() -> None:
    """B16: estimators_features_ was ignored."""
    data = flowers()
    model = BaggingClassifier(
        n_estimators=30, max_features=0.5, bootstrap_features=True, random_state=0
    )
    check(data.fit(model), data, "accuracy")


@pytest.mark.parametrize("groups", [None, np.arange(150) % 30])
def test_b16_names_are_kept(groups: np.ndarray | None) -> None:
    """B16: the names of players became a further value, and were lost."""
    n = 150 if groups is None else 30
    data = flowers(groups=groups, names=[f"player {i}" for i in range(n)])
    result = DataOOBValuation(RandomForestClassifier(40), seed=0).fit(data).result
    assert result.names.tolist() == [f"player {i}" for i in range(n)]
    assert result.values.shape == (n,)


@pytest.mark.parametrize("whole", [False, True])
def test_b16_groups_own_their_rows(whole: bool) -> None:
    """B16: groups were mistaken for rows of the bags."""
    data = flowers(groups=[f"g{i % 60}" for i in range(150)])
    model = data.fit(RandomForestClassifier(40, max_samples=30, random_state=0))
    check(model, data, "accuracy", whole_groups=whole)


def test_groups_of_one_row_are_rows() -> None:
    data = flowers()
    model = data.fit(RandomForestClassifier(30, random_state=2))
    single = flowers(groups=np.arange(150))
    rows = DataOOBValuation(model).fit(data).result
    for whole in (False, True):
        groups = DataOOBValuation(model, whole_groups=whole).fit(single).result
        assert_allclose(groups.values, rows.values, rtol=1e-12)
        assert groups.counts.tolist() == rows.counts.tolist()


def test_whole_groups_do_not_profit_from_their_own_twins() -> None:
    rng = np.random.default_rng(0)
    x = np.repeat(rng.normal(size=(40, 3)), 5, axis=0)
    y = np.repeat(rng.integers(0, 2, 40), 5)  # noise: nobody could predict it
    data = Dataset(x, y, groups=np.repeat(np.arange(40), 5))
    model = data.fit(RandomForestClassifier(200, max_samples=60, random_state=0))
    flattered = DataOOBValuation(model).fit(data).result.values.mean()
    honest = DataOOBValuation(model, whole_groups=True).fit(data).result.values.mean()
    assert flattered > 0.8
    assert honest < 0.65


@pytest.mark.parametrize("whole", [False, True])
def test_standard_errors_are_the_spread_over_ensembles(whole: bool) -> None:
    rng = np.random.default_rng(0)
    data = Dataset(rng.normal(size=(24, 2)), rng.integers(0, 2, 24), groups=np.arange(24) // 2)
    model = RandomForestClassifier(25, max_depth=1, max_samples=8)
    results = [
        DataOOBValuation(model, whole_groups=whole, seed=seed).fit(data).result
        for seed in range(24)
    ]
    spread = np.std([result.values for result in results], axis=0, ddof=1)
    claimed = np.sqrt(np.mean([result.stderr**2 for result in results], axis=0))
    assert np.mean(spread / claimed) == pytest.approx(1.0, abs=0.15)


def test_a_bag_that_holds_only_row_zero_counts() -> None:
    """BUG opendataval DataOob: a bag {0} was taken for an empty one, and skipped."""
    data = Dataset(np.arange(4.0)[:, None], ["a", "a", "b", "b"])
    model = data.fit(BaggingClassifier(n_estimators=60, max_samples=1, random_state=0))
    bags = [bag.tolist() for bag in model.estimators_samples_]
    result = DataOOBValuation(model).fit(data).result
    assert [0] in bags
    assert result.counts.tolist() == [sum(i not in bag for bag in bags) for i in range(4)]


def test_base_models_that_always_say_the_same() -> None:
    data = flowers()
    model = BaggingClassifier(DummyClassifier(strategy="constant", constant=1), n_estimators=30)
    result = DataOOBValuation(model, seed=0).fit(data).result
    assert result.values.tolist() == (data.y == "versicolor").tolist()
    assert (result.stderr == 0).all()


def test_pure_leaves_turn_the_likelihood_into_accuracy() -> None:
    data = flowers()
    model = data.fit(RandomForestClassifier(40, random_state=0))
    plain = DataOOBValuation(model).fit(data).result
    valuation = DataOOBValuation(model, score="log-likelihood", probability_floor=0.01)
    assert_allclose(valuation.fit(data).result.values, (1 - plain.values) * np.log(0.01))


def test_a_score_of_ones_own() -> None:
    x, y = make_regression(60, 3, random_state=0)
    data = Dataset(x, y)
    model = data.fit(RandomForestRegressor(40, random_state=0))
    own = DataOOBValuation(model, score=lambda t, p: -np.abs(t - p)).fit(data).result
    named = DataOOBValuation(model, score="absolute-error").fit(data).result
    assert_allclose(own.values, named.values)
    labels = flowers()
    seen: set[str] = set()

    def lenient(y_true: np.ndarray, y_predicted: np.ndarray) -> np.ndarray:
        seen.update(y_predicted.tolist())
        return (y_true == y_predicted) + 0.5

    DataOOBValuation(RandomForestClassifier(40), score=lenient, seed=0).fit(labels)
    assert seen == set(NAMES.tolist())


@pytest.mark.parametrize("score", [lambda t, p: 1.0, lambda t, p: np.full(len(t), np.nan)])
def test_a_score_must_be_one_number_per_row(score: Any) -> None:
    with pytest.raises(InvalidOptionError, match="one finite number per row"):
        DataOOBValuation(RandomForestClassifier(5), score=score).fit(flowers())


def test_rows_that_are_never_out_of_bag_have_no_value() -> None:
    with pytest.warns(DvlWarning, match="have no value"):
        result = DataOOBValuation(RandomForestClassifier(2), seed=0).fit(flowers()).result
    assert (result.counts == 0).any()
    assert np.isnan(result.values[result.counts == 0]).all()
    assert np.isfinite(result.values[result.counts > 0]).all()


def test_an_unfitted_model_is_fitted_on_a_copy_with_the_seed() -> None:
    data = flowers()
    model = RandomForestClassifier(30)
    first = DataOOBValuation(model, seed=4).fit(data).result
    again = DataOOBValuation(model, seed=4).fit(data).result
    other = DataOOBValuation(model, seed=5).fit(data).result
    assert first.values.tobytes() == again.values.tobytes()
    assert first.values.tobytes() != other.values.tobytes()
    assert not hasattr(model, "estimators_")


def test_flipped_labels_have_low_values() -> None:
    x, y = make_classification(400, 6, n_informative=5, n_redundant=0, class_sep=2, random_state=1)
    flipped = np.random.default_rng(0).choice(400, 40, replace=False)
    y[flipped] = 1 - y[flipped]
    for score in ("accuracy", "log-likelihood"):
        model = RandomForestClassifier(60, min_samples_leaf=5)
        valuation = DataOOBValuation(model, score=score, seed=0).fit(Dataset(x, y))
        lowest = valuation.values(sort=True)[:80].indices
        assert len(set(flipped) & set(lowest)) >= 34
