"""Influences from a Dask cluster are those of the sequential calculator."""

from __future__ import annotations

import sys

import dask.array as da
import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from dvl_core.errors import CheckpointError, DataError, InvalidOptionError, MissingDependencyError
from dvl_dask import DaskInfluenceCalculator, local_client
from dvl_influence import InfluenceModel, SequentialInfluenceCalculator
from dvl_influence.testing import DenseInverse, batches, classes, mlp

TEST = classes(7, seed=3)
TRAIN = classes(12)
LOADERS = batches(*TEST, 3), batches(*TRAIN, 5)


@pytest.fixture(scope="module")
def processes():
    with local_client(2) as client:
        yield client


@pytest.fixture(scope="module")
def threads():
    with local_client(1, threads_per_worker=2, processes=False) as client:
        yield client


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def fitted(inverse=None, **options) -> InfluenceModel:
    options = {"regularization": 0.5, **options}
    model = InfluenceModel(mlp(), cross_entropy, inverse or DenseInverse(), **options)
    return model.fit(batches(*TRAIN, 5))


def arrays(points, size: int) -> tuple[da.Array, da.Array]:
    return tuple(
        da.from_array(part.numpy(), chunks=(size, *(-1,) * (part.ndim - 1))) for part in points
    )


@pytest.mark.parametrize("mode", ["up", "perturbation"])
@pytest.mark.parametrize("cluster", ["processes", "threads"])
def test_bits_from_loaders(cluster, mode, request) -> None:
    client = request.getfixturevalue(cluster)
    model = fitted()
    expected = SequentialInfluenceCalculator(model).influences(*LOADERS, mode)
    lazy = DaskInfluenceCalculator(model, client).influences(*LOADERS, mode)
    assert torch.equal(lazy.compute(), expected.compute())
    array = lazy.to_dask()
    assert array.shape == lazy.shape
    assert array.chunks[:2] == ((3, 3, 1), (5, 5, 2))
    with client.as_current():
        assert np.allclose(array.compute(), expected.compute(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("mode", ["up", "perturbation"])
@pytest.mark.parametrize("cluster", ["processes", "threads"])
def test_bits_from_arrays(cluster, mode, request) -> None:
    client = request.getfixturevalue(cluster)
    model = fitted()
    expected = SequentialInfluenceCalculator(model).influences(*LOADERS, mode).compute()
    calculator = DaskInfluenceCalculator(model, client)
    lazy = calculator.influences(arrays(TEST, 3), arrays(TRAIN, 5), mode)
    assert torch.equal(lazy.compute(), expected)
    array = lazy.to_dask()
    assert array.shape == lazy.shape == expected.shape
    assert array.dtype == np.float64
    with client.as_current():
        assert np.allclose(array.compute(), expected, rtol=1e-10, atol=1e-12)
    assert np.allclose(array.compute(scheduler="sync"), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("method", ["direct", "cg"])
def test_methods_with_a_solver(processes, method) -> None:
    model = fitted(method, curvature="ggn")
    expected = SequentialInfluenceCalculator(model).influences(*LOADERS).compute()
    lazy = DaskInfluenceCalculator(model, processes).influences(*LOADERS)
    # Conjugate gradients remember earlier solves, of which each worker has seen others.
    tolerance = 0.0 if method == "direct" else 1e-6
    assert torch.allclose(lazy.compute(), expected, rtol=tolerance, atol=tolerance)


def test_a_loader_and_arrays(processes) -> None:
    model = fitted()
    calculator = DaskInfluenceCalculator(model, processes)
    lazy = calculator.influences(LOADERS[0], arrays(TRAIN, 5))
    for found, expected in zip(
        lazy.top_k(4),
        SequentialInfluenceCalculator(model).influences(*LOADERS).top_k(4),
        strict=True,
    ):
        assert torch.equal(found, expected)


def test_zarr_goes_on_wherever_it_was_begun(processes, tmp_path) -> None:
    model = fitted()
    here = SequentialInfluenceCalculator(model).influences(*LOADERS)
    whole = here.to_zarr(tmp_path / "here")[:]
    lazy = DaskInfluenceCalculator(model, processes).influences(arrays(TEST, 3), arrays(TRAIN, 5))
    before = (tmp_path / "here" / "zarr.json").stat().st_mtime_ns
    assert np.array_equal(lazy.to_zarr(tmp_path / "here")[:], whole)
    assert (tmp_path / "here" / "zarr.json").stat().st_mtime_ns == before
    assert np.array_equal(lazy.to_zarr(tmp_path / "there")[:], whole)


@pytest.mark.parametrize(("points", "mode"), [("loaders", "up"), ("arrays", "perturbation")])
def test_factors_stored_and_read_by_workers(processes, tmp_path, points, mode) -> None:
    model = fitted()
    here = SequentialInfluenceCalculator(model)
    calculator = DaskInfluenceCalculator(model, processes)
    test, train = LOADERS if points == "loaders" else (arrays(TEST, 3), arrays(TRAIN, 5))
    factors = calculator.influence_factors(test)
    assert torch.equal(factors.compute(), here.influence_factors(LOADERS[0]).compute())
    stored = factors.to_zarr(tmp_path / "factors")
    expected = here.influences(*LOADERS, mode).compute()
    for there in (stored, tmp_path / "factors", stored[:]):
        lazy = calculator.influences_from_factors(there, train, mode)
        assert torch.equal(lazy.compute(), expected)
        array = lazy.to_dask()
        assert array.shape == lazy.shape
        assert array.chunks[1] == (5, 5, 2)
        assert array.chunks[0] == ((7,) if isinstance(there, np.ndarray) else (3, 3, 1))
        with processes.as_current():
            assert np.allclose(array.compute(), expected, rtol=1e-10, atol=1e-12)


def test_factors_that_workers_cannot_read(processes, tmp_path) -> None:
    calculator = DaskInfluenceCalculator(fitted(), processes)
    calculator.influence_factors(LOADERS[0]).to_zarr(tmp_path / "factors")
    array = calculator.influences_from_factors(tmp_path / "factors", LOADERS[1]).to_dask()
    (tmp_path / "factors" / "c" / "1" / "0").unlink()
    with pytest.raises(CheckpointError, match="test points 3 to 5"), processes.as_current():
        array.compute()


def test_nothing_is_computed_before_it_is_asked_for(threads) -> None:
    def refuse(block):
        raise AssertionError("computed")

    x, y = arrays(TRAIN, 5)
    x = x.map_blocks(refuse, meta=np.empty((0, 0)))
    lazy = DaskInfluenceCalculator(fitted(), threads).influences((x, y), (x, y), "perturbation")
    assert lazy.shape == (12, 12, 3)
    assert lazy.to_dask().shape == (12, 12, 3)
    _ = DaskInfluenceCalculator(fitted(), threads).influence_factors((x, y))


class Counting(DenseInverse):
    solved = 0

    def solve(self, state, rhs):
        Counting.solved += len(rhs)
        return super().solve(state, rhs)


@pytest.mark.parametrize("kind", ["streamed", "graph"])
def test_each_test_point_is_solved_for_once(threads, kind) -> None:
    calculator = DaskInfluenceCalculator(fitted(Counting()), threads)
    lazy = calculator.influences(arrays(TEST, 3), arrays(TRAIN, 2))
    Counting.solved = 0
    with threads.as_current():
        _ = lazy.compute() if kind == "streamed" else lazy.to_dask().compute()
    assert Counting.solved == 7


def test_empty_chunks(threads) -> None:
    x, y = (part.rechunk({0: (4, 0, 4, 4)}) for part in arrays(TRAIN, 12))
    model = fitted()
    lazy = DaskInfluenceCalculator(model, threads).influences(LOADERS[0], (x, y))
    assert torch.allclose(lazy.compute(), model.influences(*TEST, *TRAIN))
    assert lazy.to_dask().chunks[1] == (4, 4, 4)


def test_chunks_that_do_not_fit(threads) -> None:
    calculator = DaskInfluenceCalculator(fitted(), threads)
    x, y = arrays(TRAIN, 5)
    for pair, message in [
        (
            (x.rechunk((5, 2)), y),
            r"x of the test data has several chunks .* x\.rechunk\(\(1000, -1",
        ),
        ((x, y.rechunk(4)), r"\(5, 5, 2\) and \(4, 4, 4\): use y\.rechunk"),
        ((x, y[:10]), "different chunks"),
        ((x[x[:, 0] > 0], y), "compute_chunk_sizes"),
        ((x, TRAIN[1]), r"two arrays of Dask \(x, y\), or a loader, not \(Array, Tensor\)"),
        ((x, y, y), "two arrays of Dask"),
        ((x.sum(), y), "single number"),
        ((x[:0], y[:0]), "empty"),
    ]:
        with pytest.raises(DataError, match=message):
            calculator.influences(pair, LOADERS[1])
    with pytest.raises(DataError, match="once only"):
        calculator.influences(LOADERS[0], iter(LOADERS[1]))
    with pytest.raises(InvalidOptionError, match="'up' or 'perturbation'"):
        calculator.influences(*LOADERS, "down")


def test_an_error_on_a_worker(processes) -> None:
    x, y = TRAIN
    bad = batches(torch.where(x > 1.0, torch.nan, x), y, 5)
    pair = arrays((torch.where(x > 1.0, torch.nan, x), y), 5)
    calculator = DaskInfluenceCalculator(fitted(), processes)
    with pytest.raises(DataError, match="NaN or infinity"):
        calculator.influences(LOADERS[0], bad).compute()
    with pytest.raises(DataError, match="NaN or infinity"), processes.as_current():
        calculator.influences(LOADERS[0], pair).to_dask().compute()


def test_without_influence_functions(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "dvl_influence.calculators", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'dvl-dask\[influence\]'"):
        DaskInfluenceCalculator(None)
