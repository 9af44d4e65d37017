"""KNN semivalues against enumeration of the game they claim to solve, and the known vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_iris, make_classification
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from dvl_core.backends import JoblibBackend, SerialBackend
from dvl_core.data import Dataset
from dvl_core.errors import DataError, InvalidOptionError
from dvl_core.games import FunctionGame, exact_values
from dvl_core.protocols import Semivalue
from dvl_core.semivalues import (
    BanzhafSemivalue,
    BetaSemivalue,
    LOOSemivalue,
    ShapleySemivalue,
    SizeLawSemivalue,
)
from dvl_knn import KNNShapleyValuation

SEMIVALUES = [
    ShapleySemivalue(),
    BanzhafSemivalue(),
    BanzhafSemivalue(0.2),
    BetaSemivalue(4, 1),
    BetaSemivalue(1, 16),
    LOOSemivalue(),
]


def knn_game(train: Dataset, test: Dataset, k: int) -> FunctionGame:
    """u(S): share of K taken by matches among the min(K, |S|) nearest of S, mean over the test."""

    def utility(coalitions: np.ndarray) -> np.ndarray:
        values = np.zeros(len(coalitions))
        for x, label in zip(*test, strict=True):
            distance = np.square(train.x - x).sum(axis=1)
            order = np.lexsort([np.arange(len(train)), distance])
            for row, coalition in enumerate(coalitions):
                nearest = [i for i in order if coalition[i]][:k]
                values[row] += sum(train.y[i] == label for i in nearest) / k
        return values / len(test)

    return FunctionGame(len(train), utility)


def random_data(n: int, seed: int, ties: bool) -> tuple[Dataset, Dataset]:
    rng = np.random.default_rng(seed)
    draw = (
        (lambda m: rng.integers(0, 3, (m, 2)).astype(float))
        if ties
        else (lambda m: rng.normal(size=(m, 2)))
    )
    labels = np.array(["a", "b", "c"])
    train = Dataset(draw(n), labels[rng.integers(0, 3, n)])
    return train, Dataset(draw(3), labels[rng.integers(0, 3, 3)])


@pytest.mark.parametrize("semivalue", SEMIVALUES, ids=repr)
@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 7), k=st.integers(1, 9), seed=st.integers(0, 10**6), ties=st.booleans())
def test_values_equal_enumeration(
    semivalue: Semivalue, n: int, k: int, seed: int, ties: bool
) -> None:
    train, test = random_data(n, seed, ties)
    result = KNNShapleyValuation(k, test, semivalue=semivalue).fit(train).result
    expected = exact_values(knn_game(train, test, k), semivalue)
    np.testing.assert_allclose(result.values, expected, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 7), k=st.integers(1, 5), seed=st.integers(0, 10**6))
def test_any_size_law_equals_enumeration(n: int, k: int, seed: int) -> None:
    law = np.random.default_rng(seed).dirichlet(np.full(n, 0.5))
    semivalue = SizeLawSemivalue(tuple(law / law.sum()), "random law")
    train, test = random_data(n, seed, ties=False)
    result = KNNShapleyValuation(k, test, semivalue=semivalue).fit(train).result
    expected = exact_values(knn_game(train, test, k), semivalue)
    np.testing.assert_allclose(result.values, expected, atol=1e-10)


def test_shapley_values_add_up_to_the_utility_of_all() -> None:
    train, test = Dataset.from_sklearn(load_iris(), train_size=0.6, random_state=0)
    result = KNNShapleyValuation(5, test).fit(train).result
    everybody = knn_game(train, test, 5)(np.ones((1, len(train)), dtype=bool))
    np.testing.assert_allclose(result.values.sum(), everybody[0], rtol=1e-12)
    assert (result.stderr == 0).all()
    assert (result.counts == len(test)).all()
    assert result.converged.all()
    assert result.algorithm == "knn-shapley"


@pytest.mark.parametrize(("metric", "p"), [("minkowski", 1), ("minkowski", 3), ("cosine", 2)])
def test_the_metric_of_the_model_decides_the_order(metric: str, p: int) -> None:
    x, y = make_classification(60, 5, random_state=0)
    train, test = Dataset(x[:50], y[:50]), Dataset(x[50:], y[50:])
    model = KNeighborsClassifier(4, metric=metric, p=p)
    result = KNNShapleyValuation(model, test).fit(train).result
    neighbours = KNeighborsClassifier(50, metric=metric, p=p).fit(*train)
    order = neighbours.kneighbors(test.x, return_distance=False)
    expected = np.zeros(50)
    for row, label in zip(order, test.y, strict=True):
        value = (train.y[row[-1]] == label) * 4 / (4 * 50)
        expected[row[-1]] += value
        for i in range(48, -1, -1):
            change = int(train.y[row[i]] == label) - int(train.y[row[i + 1]] == label)
            value += change / 4 * min(4, i + 1) / (i + 1)
            expected[row[i]] += value
    np.testing.assert_allclose(result.values, expected / 10, atol=1e-12)


def test_duplicates_are_ordered_by_index() -> None:
    x = np.zeros((6, 3))
    train = Dataset(x, [1, 0, 1, 0, 1, 0])
    result = KNNShapleyValuation(2, ([[0.0, 0.0, 0.0]], [1])).fit(train).result
    expected = exact_values(knn_game(train, Dataset([[0.0] * 3], [1]), 2), ShapleySemivalue())
    np.testing.assert_allclose(result.values, expected, atol=1e-14)


def test_backends_and_checkpoints_change_no_bit(tmp_path: Path) -> None:
    x, y = make_classification(900, 5, random_state=0)
    train, test = Dataset(x[:500], y[:500]), Dataset(x[500:], y[500:])
    values = [
        KNNShapleyValuation(5, test, backend=backend, checkpoint=path).fit(train).result.values
        for backend, path in [
            (SerialBackend(), None),
            (JoblibBackend(2, "threading"), None),
            (JoblibBackend(2, "loky"), None),
            (None, tmp_path / "c.npz"),
            (None, tmp_path / "c.npz"),
        ]
    ]
    assert len({v.tobytes() for v in values}) == 1


def test_large_games_are_stable() -> None:
    n = 20_000
    rng = np.random.default_rng(0)
    train = Dataset(rng.normal(size=(n, 1)), rng.integers(0, 2, n))
    test = Dataset(rng.normal(size=(3, 1)), [0, 1, 1])
    for semivalue in (ShapleySemivalue(), BanzhafSemivalue(), BetaSemivalue(16, 1)):
        values = KNNShapleyValuation(5, test, semivalue=semivalue).fit(train).result.values
        assert np.isfinite(values).all()
        assert np.abs(values).max() <= 1


def test_flipped_labels_have_low_values() -> None:
    x, y = make_classification(500, 6, n_informative=5, n_redundant=0, class_sep=2, random_state=1)
    flipped = np.random.default_rng(0).choice(300, 30, replace=False)
    y[flipped] = 1 - y[flipped]
    train, test = Dataset(x[:300], y[:300]), Dataset(x[300:], y[300:])
    lowest = KNNShapleyValuation(5, test).fit(train).values(sort=True)[:60].indices
    assert len(set(flipped) & set(lowest)) >= 24


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (0, "at least 1"),
        (KNeighborsRegressor(weights="distance"), "for regression needs weights='uniform'"),
        (KNeighborsClassifier(metric="precomputed"), "name of a metric"),
        ("five", "needs a KNeighborsClassifier"),
        (True, "needs a KNeighborsClassifier"),
    ],
)
def test_unsuitable_models_are_refused(model: object, message: str) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        KNNShapleyValuation(model, ([[0.0]], [1]))


def test_an_unknown_semivalue_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match="shapley, banzhaf"):
        KNNShapleyValuation(3, ([[0.0]], [1]), semivalue="core")


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (Dataset([["u"], ["v"]], [0, 1]), "not all numbers"),
        (Dataset([[np.nan], [1.0]], [0, 1]), "first row 0"),
        (Dataset([[0.0, 1.0], [1.0, 1.0]], [0, 1]), "2 features"),
        (Dataset([[0.0], [1.0]], [0.5, 1.5]), "class label per row, .*: pass a KNeighborsRegres"),
    ],
)
def test_unsuitable_data_is_refused(train: Dataset, message: str) -> None:
    with pytest.raises(DataError, match=message):
        KNNShapleyValuation(1, ([[0.0]], [1])).fit(train)


@pytest.mark.parametrize(
    ("model", "train", "options", "message"),
    [
        (1, Dataset([[0.0], [1.0]], [0, 1], groups=[1, 1]), {"game": "soft-label"}, "only the fix"),
        (1, Dataset([[0.0], [1.0]], [0, 1], groups=[1, 1]), {"tolerance": 0.1}, "single points"),
        (KNeighborsRegressor(1), Dataset([[0.0], [1.0]], ["u", "v"]), {}, "one number per row"),
    ],
)
def test_data_that_does_not_suit_the_game_is_refused(
    model: object, train: Dataset, options: dict, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        KNNShapleyValuation(model, ([[0.0]], [1]), **options).fit(train)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(2, 400),
    k=st.integers(1, 12),
    tolerance=st.floats(1e-3, 0.5),
    seed=st.integers(0, 10**6),
    ties=st.booleans(),
)
# The 11 nearest are wanted, and 44 points are as near as the last of them.
@example(n=100, k=1, tolerance=0.125, seed=13958, ties=True)
def test_far_neighbours_left_out_cost_no_more_than_the_stated_bound(
    n: int, k: int, tolerance: float, seed: int, ties: bool
) -> None:
    train, test = random_data(n, seed, ties)
    for semivalue in SEMIVALUES:
        options = {"semivalue": semivalue}
        exact = KNNShapleyValuation(k, test, **options).fit(train).result
        near = KNNShapleyValuation(k, test, tolerance=tolerance, **options).fit(train).result
        bound = near.extras.get("error_bound", 0.0)
        assert bound <= tolerance * (1 + 1e-9)
        assert np.abs(near.values - exact.values).max() <= bound + 1e-12
        guarantee = "biased-by-option" if bound else "exact"
        assert near.extras["guarantee"] == guarantee


@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "cosine", "chebyshev"])
def test_few_neighbours_of_many_are_the_nearest(metric: str) -> None:
    rng = np.random.default_rng(0)
    train = Dataset(rng.normal(size=(3_000, 3)), rng.integers(0, 2, 3_000))
    test = Dataset(rng.normal(size=(70, 3)), rng.integers(0, 2, 70))
    model = KNeighborsClassifier(5, metric=metric)
    exact = KNNShapleyValuation(model, test).fit(train).result.values
    result = KNNShapleyValuation(model, test, tolerance=1e-3).fit(train).result
    assert result.extras["error_bound"] == pytest.approx(1e-3)
    assert 0 < np.abs(result.values - exact).max() <= 1e-3


def test_neighbours_that_single_precision_cannot_tell_apart_are_ordered_exactly() -> None:
    gaps = np.arange(500) * 1e-9
    train = Dataset((1.0 + gaps[::-1])[:, None], np.arange(500) % 2)
    test = Dataset([[1.0]], [1])
    exact = KNNShapleyValuation(1, test).fit(train).result
    result = KNNShapleyValuation(1, test, tolerance=1 / 484).fit(train).result
    assert np.abs(result.values - exact.values).max() <= result.extras["error_bound"] < 1 / 483


def test_values_for_each_test_point_have_the_values_as_their_mean(tmp_path: Path) -> None:
    x, y = make_classification(300, 5, random_state=0)
    test = Dataset(x[200:], y[200:])
    for train in (Dataset(x[:200], y[:200]), Dataset(x[:200], y[:200], groups=np.arange(200) // 5)):
        options = {"keep_points": True, "checkpoint": tmp_path / f"{len(train)}.npz"}
        result = KNNShapleyValuation(5, test, **options).fit(train).result
        points = result.extras["test_point_values"]
        assert points.shape == (100, len(train))
        np.testing.assert_allclose(points.mean(axis=0), result.values, atol=1e-14)
        alone = KNNShapleyValuation(5, test.select([17])).fit(train).result
        np.testing.assert_array_equal(points[17], alone.values)
        again = KNNShapleyValuation(5, test, **options).fit(train).result
        np.testing.assert_array_equal(again.extras["test_point_values"], points)


def test_threads_on_request() -> None:
    train, test = random_data(300, 0, ties=False)
    one = KNNShapleyValuation(5, test).fit(train).result.values
    valuation = KNNShapleyValuation(5, test, n_jobs=2)
    assert valuation.backend.n_workers == 2
    assert valuation.fit(train).result.values.tobytes() == one.tobytes()


def test_regression_finds_wrong_targets() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, (600, 2))
    y = 50 + np.sin(x[:, 0]) * 3 + x[:, 1]
    wrong = rng.choice(400, 40, replace=False)
    y[wrong] += rng.choice([-6, 6], 40)
    train, test = Dataset(x[:400], y[:400]), Dataset(x[400:], y[400:])
    valuation = KNNShapleyValuation(KNeighborsRegressor(5), test, fill_value="mean").fit(train)
    lowest = valuation.values(sort=True)[:80].indices
    assert len(set(wrong) & set(lowest)) >= 32
    assert valuation.result.algorithm == "regression-knn-shapley"
