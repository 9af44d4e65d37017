"""Defects of other libraries, by their numbers or names: they do not occur here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from dvl_core import BanzhafSemivalue, Dataset, ShapleySemivalue
from dvl_core.errors import InvalidOptionError
from dvl_core.games import FunctionGame, exact_values
from dvl_knn import KNNShapleyValuation


def in_line(matches: list[int]) -> Dataset:
    """Points at 1, 2, 3 ...; a test point at 0 has the label 1."""
    return Dataset(np.arange(1.0, len(matches) + 1)[:, None], matches)


ORIGIN = Dataset([[0.0]], [1])


def test_b8_the_k_nearest_are_looked_for_in_the_coalition() -> None:
    """Not among all points: of those that are in, none would be left for most coalitions."""
    matches = [1, 0, 0, 1, 0, 1, 1]

    def utility(coalitions: np.ndarray) -> np.ndarray:
        return np.array([np.sum(np.array(matches)[row][:5]) / 5 for row in coalitions])

    result = KNNShapleyValuation(5, ORIGIN).fit(in_line(matches)).result
    expected = np.array([5, -2, -2, 5, -2, 5, 5]) / 35
    np.testing.assert_allclose(result.values, expected, atol=1e-15)
    enumerated = exact_values(FunctionGame(7, utility), ShapleySemivalue())
    np.testing.assert_allclose(result.values, enumerated, atol=1e-15)


def test_b9_fewer_points_than_neighbours() -> None:
    """B9, and shapiq's KNNExplainer, whose recursion starts with 1 / n: right only for K <= n."""
    result = KNNShapleyValuation(5, ORIGIN).fit(in_line([1, 0, 1])).result
    np.testing.assert_allclose(result.values, [0.2, 0.0, 0.2], atol=1e-15)
    for n in (4, 5, 6):
        result = KNNShapleyValuation(5, ORIGIN).fit(in_line([1] * n)).result
        np.testing.assert_allclose(result.values, min(5, n) / (5 * n), atol=1e-15)


def test_softlabel_knnsv_more_neighbours_than_points() -> None:
    """The published formula is for K <= N: it is off by 0.024 for N = 7, K = 9."""
    rng = np.random.default_rng(0)
    train = in_line(rng.integers(0, 2, 7).tolist())
    values = [
        KNNShapleyValuation(k, ORIGIN, game="soft-label").fit(train).result.values for k in (7, 9)
    ]
    np.testing.assert_allclose(values[0], values[1], atol=1e-15)

    def utility(coalitions: np.ndarray) -> np.ndarray:
        return np.array([np.mean(train.y[row]) if row.any() else 0.5 for row in coalitions])

    enumerated = exact_values(FunctionGame(7, utility), ShapleySemivalue())
    np.testing.assert_allclose(values[1], enumerated, atol=1e-14)


@pytest.mark.parametrize("n", [5, 1_100, 3_000])
def test_shapiq_threshold_nn_with_more_points_than_binomials_can_count(n: int) -> None:
    """shapiq's ThresholdNNExplainer is wrong beyond 1,030 points: its binomials overflow."""
    matches = np.random.default_rng(0).integers(0, 2, n)
    options: dict[str, Any] = {"game": "threshold", "radius": float(n)}
    train, others = in_line(matches.tolist()), matches.sum() - matches
    harmonic = (1 / np.arange(1, n + 1)).sum()
    expected = (matches - 1 / 2) / n
    expected += (matches / n - others / (n * (n - 1))) * (harmonic - 1)
    values = KNNShapleyValuation(1, ORIGIN, **options).fit(train).result.values
    np.testing.assert_allclose(values, expected, rtol=1e-9, atol=1e-15)
    few = 2.0 ** (1 - n)
    expected = matches * (2 - few) / n - few / 2 - others * (2 - (n + 1) * few) / (n * (n - 1))
    values = (
        KNNShapleyValuation(1, ORIGIN, semivalue=BanzhafSemivalue(), **options)
        .fit(train)
        .result.values
    )
    np.testing.assert_allclose(values, expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(
    ("model", "options"),
    [
        (3, {}),
        (3, {"tolerance": 0.05}),
        (3, {"game": "soft-label"}),
        (3, {"game": "threshold", "radius": 1.0}),
        (KNeighborsClassifier(3, weights="distance"), {}),
        (KNeighborsClassifier(3, metric="seuclidean", metric_params={"V": [1.0, 4.0]}), {}),
        (KNeighborsRegressor(3), {"fill_value": "mean"}),
    ],
)
def test_pydvl_613_test_points_are_valued_one_by_one(model: object, options: dict) -> None:
    """A value is the mean over the test points of what it would be for each of them alone."""
    rng = np.random.default_rng(0)
    train = Dataset(rng.normal(size=(90, 2)), rng.integers(0, 3, 90))
    test = Dataset(rng.normal(size=(70, 2)), rng.integers(0, 3, 70))

    def values(test: Dataset) -> np.ndarray:
        return KNNShapleyValuation(model, test, **options).fit(train).result.values

    alone = [values(test.select([i])) for i in range(len(test))]
    np.testing.assert_allclose(values(test), np.mean(alone, axis=0), rtol=0, atol=1e-15)


@pytest.mark.parametrize(("metric", "option"), [("seuclidean", "V"), ("mahalanobis", "VI")])
def test_pydvl_613_metrics_do_not_depend_on_the_test_set(metric: str, option: str) -> None:
    model = KNeighborsClassifier(3, metric=metric)
    with pytest.raises(InvalidOptionError, match=f"needs metric_params={{'{option}': ...}}"):
        KNNShapleyValuation(model, ORIGIN)
