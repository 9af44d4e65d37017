"""Influences on disk: what the array says, what is done anew, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from torch.nn.functional import cross_entropy

from dvl_core.errors import CheckpointError, InvalidOptionError
from dvl_influence import InfluenceModel, SequentialInfluenceCalculator
from dvl_influence.testing import DenseInverse, batches, classes, mlp

TEST = classes(9, seed=3)
TRAIN = classes(24)


def label_smoothing(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return cross_entropy(output, target, label_smoothing=0.1)


def fitted(inverse=None, seed: int = 0, loss=cross_entropy, **options) -> InfluenceModel:
    options = {"regularization": 0.5, "curvature": "ggn", **options}
    model = InfluenceModel(mlp(seed), loss, inverse or DenseInverse(), **options)
    return model.fit(batches(*TRAIN, 10))


class Blocks(SequentialInfluenceCalculator):
    """Counts the blocks of scores that are computed."""

    def influences(self, test, train, mode="up"):
        lazy = super().influences(test, train, mode)
        self.count = 0

        def counted(groups):
            for part in type(lazy).blocks(lazy, groups):
                self.count += 1
                yield part

        lazy.blocks = counted
        return lazy


def lazy_of(model, test=4, train=5, mode="up", data=(TEST, TRAIN), **options):
    calculator = SequentialInfluenceCalculator(model, **options)
    return calculator.influences(batches(*data[0], test), batches(*data[1], train), mode)


def blocks_computed(folder: Path, **options) -> int:
    calculator = Blocks(fitted(), **options)
    calculator.influences(batches(*TEST, 4), batches(*TRAIN, 5)).to_zarr(folder)
    return calculator.count


@pytest.mark.parametrize(("mode", "features"), [("up", ()), ("perturbation", (3,))])
def test_the_array(tmp_path, mode, features) -> None:
    lazy = lazy_of(fitted(), mode=mode)
    array = lazy.to_zarr(tmp_path / "scores.zarr")
    assert isinstance(array, zarr.Array)
    assert array.metadata.zarr_format == 3
    assert array.shape == (9, 24, *features)
    assert array.chunks == (4, 5, *features)
    assert array.dtype == np.float64
    assert np.array_equal(array[:], lazy.compute().numpy())
    assert np.array_equal(zarr.open_array(tmp_path / "scores.zarr", mode="r")[:], array[:])


def test_attributes(tmp_path) -> None:
    array = lazy_of(fitted()).to_zarr(str(tmp_path / "scores.zarr"))
    attributes = json.loads((tmp_path / "scores.zarr" / "zarr.json").read_text())["attributes"]
    assert attributes == dict(array.attrs)
    assert "positive: training point i helps" in attributes["sign"]
    assert "s[q, i] / n" in attributes["sign"]
    assert "units of the loss" in attributes["units"]
    assert attributes["mode"] == "up"
    assert attributes["complete"] is True
    assert attributes["report"]["n_train"] == 24
    assert attributes["report"]["curvature"] == "ggn"
    assert attributes["report"]["blocks"]["full"]["regularization"] == 0.5
    assert {"dvl-core", "dvl-influence", "torch", "zarr"} <= attributes["versions"].keys()
    assert attributes["versions"]["zarr"] == zarr.__version__
    assert array.metadata.dimension_names == ("test", "train")


def test_single_precision(tmp_path) -> None:
    lazy = lazy_of(fitted(dtype=torch.float32))
    array = lazy.to_zarr(tmp_path / "scores.zarr")
    assert array.dtype == np.float32
    assert np.array_equal(array[:], lazy.compute().numpy())


@pytest.mark.parametrize("chunks", [(1, 1), (2, 7), (9, 24), (100, 100)])
@pytest.mark.parametrize("budget", [2**30, 1])
def test_chunks_of_another_size_than_batches(tmp_path, chunks, budget) -> None:
    lazy = lazy_of(fitted(), memory_budget=budget)
    array = lazy.to_zarr(tmp_path / "scores.zarr", chunks=chunks)
    assert array.chunks == (min(chunks[0], 9), min(chunks[1], 24))
    assert np.allclose(array[:], lazy.compute().numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("chunks", [(0, 1), (2,), (1.0, 2)])
def test_chunks_that_are_none(tmp_path, chunks) -> None:
    with pytest.raises(InvalidOptionError, match="two whole numbers"):
        lazy_of(fitted()).to_zarr(tmp_path / "scores.zarr", chunks=chunks)


def test_what_is_complete_is_not_computed_again(tmp_path) -> None:
    folder = tmp_path / "scores.zarr"
    assert blocks_computed(folder) == 5
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert blocks_computed(folder) == 0
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    lazy_of(fitted(), 9, 24).to_zarr(folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def cut(folder: Path, *missing: str) -> None:
    """Make an array look as if it had been cut off before these chunks were written."""
    zarr.open_array(folder, mode="r+").attrs["complete"] = False
    for chunk in missing:
        (folder / "c" / chunk).unlink()


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ((), 0),
        (("2/4",), 1),
        (("0/1", "0/2"), 2),
        (("0/4", "1/4", "2/4"), 1),
        (("0/0", "1/4", "2/4"), 2),
    ],
)
def test_only_missing_chunks_are_computed(tmp_path, missing, expected) -> None:
    folder = tmp_path / "scores.zarr"
    whole = lazy_of(fitted()).to_zarr(folder)[:]
    cut(folder, *missing)
    assert blocks_computed(folder) == expected
    array = zarr.open_array(folder, mode="r")
    assert array.attrs["complete"]
    assert np.allclose(array[:], whole, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("damage", ["empty", "short", "flipped", "half"])
def test_a_half_written_chunk_is_not_taken_for_done(tmp_path, damage) -> None:
    folder = tmp_path / "scores.zarr"
    whole = lazy_of(fitted()).to_zarr(folder)[:]
    cut(folder)
    chunk = folder / "c" / "1" / "2"
    content = bytearray(chunk.read_bytes())
    if damage == "flipped":
        content[40] ^= 1
    chunk.write_bytes({"empty": b"", "short": content[:-9]}.get(damage, bytes(content)))
    if damage == "half":
        array = zarr.open_array(folder, mode="r+")
        array[4:6, 10:15] = np.nan
    assert blocks_computed(folder) == 1
    assert np.allclose(zarr.open_array(folder)[:], whole, rtol=1e-10, atol=1e-12)


def test_another_batch_size_goes_on_where_the_first_one_stopped(tmp_path) -> None:
    folder = tmp_path / "scores.zarr"
    whole = lazy_of(fitted()).to_zarr(folder)[:]
    cut(folder, "1/2", "2/0")
    array = lazy_of(fitted(), 2, 7, memory_budget=1).to_zarr(folder)
    assert array.chunks == (4, 5)
    assert np.allclose(array[:], whole, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "model parameters"),
        ({"regularization": 0.4}, r"regularization \(\{'full': 0.5\} there, \{'full': 0.4\} here"),
        ({"curvature": "hessian"}, "curvature"),
        ({"dtype": torch.float32}, "precision"),
        ({"inverse": "identity"}, "method"),
        ({"loss": label_smoothing}, "loss"),
        ({"mode": "perturbation"}, "mode"),
        ({"data": (classes(9, seed=4), TRAIN)}, "test data"),
        ({"data": (TEST, classes(24, seed=4))}, "training data"),
    ],
)
def test_influences_of_another_origin(tmp_path, change, named) -> None:
    folder = tmp_path / "scores.zarr"
    whole = lazy_of(fitted()).to_zarr(folder)[:]
    cut(folder, "1/2")
    own = {key: change[key] for key in ("mode", "data") if key in change}
    options = {key: value for key, value in change.items() if key not in own}
    other = lazy_of(fitted(**options), **own)
    with pytest.raises(CheckpointError, match=f"different are .*{named}.*overwrite=True"):
        other.to_zarr(folder)
    there = zarr.open_array(folder)[:]
    assert np.array_equal(there, np.where(np.isnan(there), there, whole), equal_nan=True)
    array = other.to_zarr(folder, overwrite=True)
    assert np.array_equal(array[:], other.compute().numpy())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scores.zarr"]


class Options(DenseInverse):
    """The same with an option."""

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance


def test_other_options_of_the_method(tmp_path) -> None:
    lazy_of(fitted(Options(0.1))).to_zarr(tmp_path / "scores.zarr")
    with pytest.raises(CheckpointError, match=r"'tolerance': 0\.1\} there"):
        lazy_of(fitted(Options(0.2))).to_zarr(tmp_path / "scores.zarr")


def test_rounding_of_a_derived_regularization_is_no_difference(tmp_path) -> None:
    first = lazy_of(fitted(regularization=0.5))
    again = lazy_of(fitted(regularization=0.5 * (1 + 1e-9)))
    whole = first.to_zarr(tmp_path / "scores.zarr")[:]
    assert np.array_equal(again.to_zarr(tmp_path / "scores.zarr")[:], whole)


def test_overwrite_computes_anew(tmp_path) -> None:
    folder = tmp_path / "scores.zarr"
    lazy_of(fitted()).to_zarr(folder)
    array = zarr.open_array(folder, mode="r+")
    array[0, 0] = 100.0
    assert lazy_of(fitted()).to_zarr(folder)[0, 0] == 100.0
    assert lazy_of(fitted()).to_zarr(folder, overwrite=True)[0, 0] != 100.0


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_array_stays(tmp_path, overwrite) -> None:
    lazy = lazy_of(fitted())
    (tmp_path / "notes.txt").write_text("mine")
    for path in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(CheckpointError, match="no array of zarr"):
            lazy.to_zarr(path, overwrite=overwrite)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    zarr.create_group(tmp_path / "group")
    with pytest.raises(CheckpointError, match="no array of zarr"):
        lazy.to_zarr(tmp_path / "group", overwrite=overwrite)


def test_an_array_of_something_else(tmp_path) -> None:
    zarr.create_array(tmp_path / "other", shape=(2, 2), dtype="float64")
    with pytest.raises(CheckpointError, match="not of influences"):
        lazy_of(fitted()).to_zarr(tmp_path / "other")
    assert lazy_of(fitted()).to_zarr(tmp_path / "other", overwrite=True).shape == (9, 24)


def test_an_empty_folder_and_one_that_is_not_there(tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "a" / "b"):
        assert lazy_of(fitted()).to_zarr(folder).attrs["complete"]
