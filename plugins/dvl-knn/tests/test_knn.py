"""KNN semivalues against enumeration of the game they claim to solve, and the known vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
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


@pytest.mark.parametrize(
    ("matches", "expected"),
    [
        ([1, 0, 0, 1, 0, 1, 1], np.array([5, -2, -2, 5, -2, 5, 5]) / 35),
        ([1, 0, 1], [0.2, 0.0, 0.2]),
    ],
)
def test_known_vectors_where_a_peer_is_wrong(matches: list[int], expected: list[float]) -> None:
    x = np.arange(1.0, len(matches) + 1)[:, None]
    result = KNNShapleyValuation(5, ([[0.0]], [1])).fit(Dataset(x, matches)).result
    np.testing.assert_allclose(result.values, expected, atol=1e-15)


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
        (KNeighborsRegressor(), "needs a classifier"),
        (KNeighborsClassifier(weights="distance"), "uniform"),
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
        (Dataset([[0.0], [1.0]], [0, 1], groups=[1, 1]), "groups"),
        (Dataset([[0.0], [1.0]], [0.5, 1.5]), "class label"),
    ],
)
def test_unsuitable_data_is_refused(train: Dataset, message: str) -> None:
    with pytest.raises(DataError, match=message):
        KNNShapleyValuation(1, ([[0.0]], [1])).fit(train)
