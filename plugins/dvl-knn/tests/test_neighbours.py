"""The order of neighbours is that of the distances in double precision, then of their numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.spatial.distance import cdist

from dvl_core.errors import DataError
from dvl_knn import squares
from dvl_knn.metric import Metric
from dvl_knn.neighbours import NeighbourSearch
from dvl_knn.ordering import in_order, in_order_nearly
from dvl_knn.rows import Rows
from dvl_knn.squares import DoubleSquares, SingleSquares

SQUARED = Metric("sqeuclidean")
KINDS = ["normal", "whole numbers", "copies", "near copies", "one far away", "one point"]


def points(kind: str, n: int, d: int, rng: np.random.Generator) -> np.ndarray:
    x = rng.normal(size=(n, d))
    if kind == "whole numbers":
        return rng.integers(0, 4, (n, d)).astype(float)
    if kind == "copies":
        return x[rng.integers(0, max(1, n // 3), n)]
    if kind == "near copies":
        return x[rng.integers(0, max(1, n // 3), n)] * (1 + rng.integers(-3, 4, (n, 1)) * 2.0**-52)
    if kind == "one far away":
        x[rng.integers(n)] *= 1e9
    if kind == "one point":
        x[:] = x[0]
    return x


def sorted_by_distance(x: np.ndarray, test: np.ndarray, metric: Metric = SQUARED) -> np.ndarray:
    distances = cdist(test, x, metric.name, **dict(metric.options))
    return np.array([np.lexsort((np.arange(len(x)), row)) for row in distances])


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    n=st.integers(1, 700),
    d=st.integers(1, 6),
    share=st.floats(0, 1),
    offset=st.sampled_from([0.0, 1.0, 1e4, -1e8]),
    scale=st.sampled_from([1.0, 1e-5, 1e30, 1e-110, 1e140, 1e-170, 1e200]),
    seed=st.integers(0, 10**6),
)
def test_the_order_is_by_exact_distance_then_number(
    kind: str, n: int, d: int, share: float, offset: float, scale: float, seed: int
) -> None:
    """Whatever single precision or a product of matrices can tell apart, at any offset or scale."""
    rng = np.random.default_rng(seed)
    x = (points(kind, n, d, rng) + offset) * scale
    test = np.concatenate([x[:2], (points(kind, 3, d, rng) + offset) * scale, x[-1:] * 1e7])
    nearest = max(1, int(share * n))
    rows = Rows(x)
    with np.errstate(over="ignore"):
        expected = sorted_by_distance(x, test)
    for found in (
        NeighbourSearch(rows, SQUARED, n, DoubleSquares.of(rows)).order(test),
        NeighbourSearch(rows, SQUARED, n).order(test),
    ):
        np.testing.assert_array_equal(found, expected)
    for search in (
        NeighbourSearch(rows, SQUARED, nearest, SingleSquares.of(rows)),
        NeighbourSearch.over(rows, SQUARED, nearest),
        NeighbourSearch(rows, SQUARED, nearest),
    ):
        np.testing.assert_array_equal(search.order(test), expected[:, :nearest])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_the_order_of_many_points(kind: str, offset: float) -> None:
    """Enough of them that some are doubtful and most are not, and that chunks have neighbours."""
    rng = np.random.default_rng(3)
    x = points(kind, 30_000, 12, rng) + offset
    # Pairs at equal distances, and at distances that rounding alone may swap.
    x[1::1000] = x[::1000]
    x[2::1000] = x[::1000] * (1 + 2.0**-52)
    test = np.concatenate([points(kind, 4, 12, rng) + offset, x[[0, 1000]]])
    expected = sorted_by_distance(x, test)
    rows = Rows(x)
    for nearest in (1, 7, 500, 29_000, 30_000):
        found = NeighbourSearch.over(rows, SQUARED, nearest).order(test)
        np.testing.assert_array_equal(found, expected[:, :nearest])


def test_only_doubtful_neighbours_are_measured() -> None:
    rng = np.random.default_rng(0)
    exact = rng.permutation(5_000).astype(float)
    exact[exact % 500 == 1] -= 1
    measured = []

    def measure(numbers: np.ndarray | None) -> np.ndarray:
        assert numbers is not None
        measured.extend(numbers)
        return exact[numbers]

    order = in_order_nearly(exact + rng.uniform(-0.1, 0.1, 5_000), 0.1, measure)
    np.testing.assert_array_equal(order, in_order(exact[None])[0])
    assert sorted(exact[measured]) == sorted(np.repeat(np.arange(10) * 500.0, 2))


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(2, 400), d=st.integers(1, 200), seed=st.integers(0, 10**6), spread=st.floats(0, 9)
)
def test_the_stated_errors_of_squares_hold(n: int, d: int, seed: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) * 10 ** rng.uniform(0, spread, (n, 1))
    test = rng.normal(size=(3, d)) * 10 ** rng.uniform(0, spread, (3, 1))
    rows = Rows(x)
    double = DoubleSquares.of(rows)
    long = (x - double.centre).astype(np.longdouble)
    others = (test - double.centre).astype(np.longdouble)
    exact = np.square(long).sum(axis=1) - 2 * others @ long.T
    found, error = double.approximate(test)
    assert (np.abs(found - exact) <= error[:, None] / 2).all()
    single = SingleSquares.of(rows)
    scaled = np.ldexp(1.0, -2 * single.exponent) * exact
    bounds = single.lower - 2 * np.ldexp(others.astype(np.float32), -single.exponent) @ (
        single.points.T
    )
    slack = squares.error_share(d, np.float32) * np.ldexp(
        np.square(others).sum(axis=1), -2 * single.exponent
    )
    assert (bounds <= scaled + slack[:, None]).all()
    assert (bounds + single.width >= scaled - slack[:, None]).all()


@pytest.mark.parametrize("metric", ["euclidean", "cityblock", "chebyshev", "cosine", "canberra"])
def test_the_nearest_by_any_metric_with_ties(metric: str) -> None:
    rng = np.random.default_rng(0)
    x, test = (rng.integers(1, 5, (m, 3)).astype(float) for m in (9_000, 8))
    expected = sorted_by_distance(x, test, Metric(metric))
    for nearest in (1, 100, 8_999, 9_000):
        found = NeighbourSearch.over(Rows(x), Metric(metric), nearest).order(test)
        np.testing.assert_array_equal(found, expected[:, :nearest])


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint8, bool])
def test_tables_of_any_kind_give_the_order_of_their_float64_copy(
    dtype: type, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(scale=2, size=(5_000, 9)).clip(0, 200).astype(dtype)
    test = rng.normal(size=(5, 9))
    np.save(tmp_path / "x.npy", x)
    tables = [x, np.load(tmp_path / "x.npy", mmap_mode="r")]
    tables.append(sparse.csr_matrix(x.astype(float)))
    for nearest in (40, 5_000):
        expected = sorted_by_distance(x.astype(float), test)[:, :nearest]
        for table in tables:
            search = NeighbourSearch.over(Rows(table), SQUARED, nearest)
            np.testing.assert_array_equal(search.order(test), expected)


def test_undefined_distances_are_refused() -> None:
    rows = Rows(np.array([[1.0, 2.0], [0.0, 0.0]]))
    with pytest.raises(DataError, match="cosine distance of some rows is undefined"):
        NeighbourSearch.over(rows, Metric("cosine"), 2).order(np.array([[1.0, 1.0]]))
