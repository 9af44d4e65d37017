"""Tables of every kind as features, and those that are refused."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.neighbors import KNeighborsClassifier

from dvl_core import Dataset
from dvl_core.errors import DataError, InvalidOptionError
from dvl_knn import KNNShapleyValuation
from dvl_knn.inputs import features_of


def test_arrays_in_files_are_not_copied(tmp_path: Path) -> None:
    for dtype in (np.float64, np.float32, np.int8):
        path = tmp_path / f"{np.dtype(dtype)}.npy"
        np.save(path, np.arange(60).reshape(20, 3).astype(dtype))
        x = np.load(path, mmap_mode="r")
        table = features_of(Dataset(x, np.zeros(20, dtype=int)), "training").table
        assert np.shares_memory(table, x)
        assert table.dtype == dtype


@pytest.mark.parametrize("tolerance", [0.0, 0.01])
def test_sparse_matrices_are_not_made_dense(tolerance: float) -> None:
    """As a whole: 80 MB for these rows."""
    x = sparse.random(2_000, 5_000, density=1e-3, format="csr", random_state=0)
    train = Dataset(x, np.arange(2_000) % 2)
    valuation = KNNShapleyValuation(5, Dataset(x[:2], [0, 1]), tolerance=tolerance)
    tracemalloc.start()
    try:
        values = valuation.fit(train).result.values
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 25e6
    assert values[0] > 0


def test_tables_of_every_kind_give_the_same_values(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 3, (2_100, 4)) * (rng.random((2_100, 4)) < 0.5)
    y = rng.integers(0, 2, 2_100)
    np.save(tmp_path / "x.npy", x.astype(np.float32))
    tables = [
        x,
        x.tolist(),
        np.asfortranarray(x, dtype=float),
        pd.DataFrame(x, columns=list("abcd")).astype({"a": "uint8", "b": "float32"}),
        np.load(tmp_path / "x.npy", mmap_mode="r"),
        sparse.coo_matrix(x),
        sparse.csc_array(x.astype(float)),
    ]
    for options in ({}, {"tolerance": 0.01}, {"game": "threshold", "radius": 1.0}):
        values = {
            KNNShapleyValuation(3, Dataset(table[:40], y[:40]), **options)
            .fit(Dataset(table, y))
            .result.values.tobytes()
            for table in map(_as_rows, tables)
        }
        assert len(values) == 1


def _as_rows(table: object) -> object:
    """Formats whose rows cannot be taken, as the data set would turn them."""
    return table.tocsr() if sparse.issparse(table) else table


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.array([[1j], [2.0]]), "not all numbers .complex"),
        (sparse.csr_matrix(np.array([[1j], [2.0]])), "not all numbers .a sparse matrix of complex"),
        (sparse.csr_matrix(np.array([[1.0], [np.nan]])), "1 rows .* first row 1"),
        (np.zeros((2, 1, 1)), "must be a table"),
    ],
)
def test_tables_that_are_no_rows_of_numbers_are_refused(x: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        KNNShapleyValuation(1, Dataset([[0.0]], [1])).fit(Dataset(x, [0, 1]))


@pytest.mark.parametrize(
    ("metric", "params"), [("haversine", None), ("seuclidean", {"V": [1.0, 2.0]})]
)
def test_metrics_that_do_not_suit_the_data_are_refused(metric: str, params: dict | None) -> None:
    model = KNeighborsClassifier(1, metric=metric, metric_params=params)
    valuation = KNNShapleyValuation(model, Dataset([[0.0]], [1]))
    with pytest.raises(InvalidOptionError, match=f"no distances can be computed with .*{metric}"):
        valuation.fit(Dataset([[0.0], [1.0]], [0, 1]))
