"""Data on disk: workers read it, nobody copies it, and arrays of zarr are data like any other."""

from __future__ import annotations

import os
import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from dvl_core import Dataset, MaxEvaluations, ModelUtility, SupervisedScorer
from dvl_core.backends import JoblibBackend, SerialBackend
from dvl_core.chunked import is_chunked
from dvl_core.errors import DataError
from dvl_core.protocols import Backend
from dvl_core.tabular import take_rows
from dvl_knn import KNNShapleyValuation
from dvl_shapley import DataShapleyValuation, PermutationSampler

sys.path.append(str(Path(__file__).parent / "benchmarks"))

from sides import large_data

zarr = pytest.importorskip("zarr")

RNG = np.random.default_rng(11)
N = 24
# In float32 no plugin takes the models over, whichever kind the array is.
X = RNG.normal(size=(N, 3)).astype(np.float32)
Y = (X[:, 0] > 0).astype(int)
TEST = Dataset(RNG.normal(size=(30, 3)).astype(np.float32), np.arange(30) % 2)
N_ROWS, N_FEATURES, N_GROUPS = 50_000, 250, 100


def in_chunks(folder: Path, x: np.ndarray = X, rows: int = 5) -> Any:
    chunks = (rows, *x.shape[1:])
    array = zarr.create_array(folder / "x.zarr", shape=x.shape, dtype=x.dtype, chunks=chunks)
    array[...] = x
    return array


def values(train: Dataset, backend: Backend, test: Dataset = TEST) -> np.ndarray:
    utility = ModelUtility(LogisticRegression(), SupervisedScorer("neg_log_loss", test))
    valuation = DataShapleyValuation(
        utility, PermutationSampler(), MaxEvaluations(60), seed=0, backend=backend
    )
    return valuation.fit(train).result.values


def test_rows_of_chunks_are_those_of_an_array(tmp_path: Path) -> None:
    x = in_chunks(tmp_path)
    assert is_chunked(x)
    assert not is_chunked(X)
    for rows in (np.arange(N), np.array([17, 2, 3]), np.array([4]), np.array([], dtype=int)):
        taken = take_rows(x, rows)
        assert type(taken) is np.ndarray
        assert taken.flags.c_contiguous
        np.testing.assert_array_equal(taken, X[rows])


@pytest.mark.parametrize("shape", [(N, 3), (N, 2, 2), (N, 4, 1, 2)])
def test_a_dataset_of_chunks_is_that_of_an_array(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = RNG.normal(size=shape).astype(np.float32)
    data, expected = Dataset(in_chunks(tmp_path, array), Y), Dataset(array, Y)
    assert is_chunked(data.x)
    assert data.digest == expected.digest
    assert data.feature_names == expected.feature_names
    np.testing.assert_array_equal(data.select([5, 1]).x, array[[5, 1]])
    np.testing.assert_array_equal(data.drop_indices([0]).x, array[1:])
    assert "zarr" in repr(data) or "Array" in repr(data)


def test_a_digest_reads_more_than_one_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dvl_core.chunked.PART_BYTES", 100)
    assert Dataset(in_chunks(tmp_path), Y).digest == Dataset(X, Y).digest


def test_chunks_travel_by_their_path(tmp_path: Path) -> None:
    large = np.zeros((1000, 500))
    data = Dataset(in_chunks(tmp_path, large, 100), np.arange(1000) % 2)
    sent = pickle.dumps(data)
    assert len(sent) < 40_000 < large.nbytes / 50
    arrived = pickle.loads(sent)  # noqa: S301
    assert is_chunked(arrived.x)
    assert arrived.digest == data.digest


@pytest.mark.parametrize(
    "backend",
    [SerialBackend(), pytest.param(JoblibBackend(2, "loky"), marks=pytest.mark.slow)],
    ids=repr,
)
def test_values_of_chunks_are_those_of_arrays(tmp_path: Path, backend: Backend) -> None:
    found = values(Dataset(in_chunks(tmp_path), Y), backend)
    np.testing.assert_array_equal(found, values(Dataset(X, Y), SerialBackend()))


def test_test_data_may_lie_in_chunks(tmp_path: Path) -> None:
    test = Dataset(in_chunks(tmp_path, TEST.x), TEST.y)
    found = values(Dataset(X, Y), SerialBackend(), test)
    np.testing.assert_array_equal(found, values(Dataset(X, Y), SerialBackend()))


def test_methods_that_read_all_rows_take_chunks(tmp_path: Path) -> None:
    chunks, array = Dataset(in_chunks(tmp_path), Y), Dataset(X, Y)
    found, expected = (
        KNNShapleyValuation(3, TEST).fit(train).result.values for train in (chunks, array)
    )
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(
        chunks.fit(LogisticRegression()).coef_, array.fit(LogisticRegression()).coef_
    )


def test_chunks_without_rows_are_refused(tmp_path: Path) -> None:
    empty = zarr.create_array(tmp_path / "x.zarr", shape=(0, 3), dtype=float, chunks=(1, 3))
    with pytest.raises(DataError, match="no rows"):
        Dataset(empty, [])


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="Linux tells the memory")
def test_two_workers_do_not_copy_a_mapped_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """50 MB: what grows beyond pages of the file is a few coalitions, of 3.5 MB each."""
    # What is read at a time for the digest is small beside larger data only.
    monkeypatch.setattr("dvl_core.chunked.PART_BYTES", 1 << 20)
    large_data.warm_up(large_data.mapped(tmp_path, N_GROUPS, N_FEATURES), 128, N_GROUPS)
    x = large_data.mapped(tmp_path, N_ROWS, N_FEATURES)
    with large_data.watched() as growth:
        result = large_data.value(x, 128, N_GROUPS)
    assert result.n_evaluations == 128
    megabytes = x.nbytes / large_data.MB
    assert megabytes == 50
    assert 3 < growth.copies < megabytes
    assert growth.all < 2 * megabytes


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="Linux tells the memory")
def test_two_workers_do_not_copy_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """300 MB: what grows is a few coalitions, of 3 MB each, and the buffers of zarr's threads."""
    monkeypatch.setattr("dvl_core.chunked.PART_BYTES", 1 << 20)
    monkeypatch.setattr(large_data, "SHARE", 0.01)

    def array(n_rows: int) -> Any:
        shape, chunks = (n_rows, N_FEATURES), (n_rows // 300, N_FEATURES)
        x = zarr.create_array(tmp_path / f"{n_rows}", shape=shape, dtype=np.float32, chunks=chunks)
        return large_data.filled(x, *shape)

    large_data.warm_up(array(6_000), 128, N_GROUPS)
    x = array(300_000)
    with large_data.watched() as growth:
        result = large_data.value(x, 128, N_GROUPS)
    shutil.rmtree(tmp_path / "300000")
    assert result.n_evaluations == 128
    assert x.nbytes == 300 * large_data.MB
    assert 3 < growth.copies < 300
