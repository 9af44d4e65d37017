"""Arrays behind URLs of fsspec and in stores of zarr are written as those in folders are."""

from __future__ import annotations

import numpy as np
import pytest
import zarr
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from torch.nn.functional import cross_entropy
from zarr.core.buffer import cpu, default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import FsspecStore, LocalStore, MemoryStore, ZipStore

from dvl_core.errors import (
    CheckpointError,
    DvlError,
    InvalidOptionError,
    MissingDependencyError,
)
from dvl_influence import InfluenceModel, SequentialInfluenceCalculator
from dvl_influence.places import place
from dvl_influence.testing import Counting, batches, classes, mlp

TEST_LOADER, TRAIN_LOADER = batches(*classes(9, seed=3), 4), batches(*classes(24), 5)


def calculator(inverse=None, budget: int = 2**30, **options) -> SequentialInfluenceCalculator:
    options = {"regularization": 0.5, **options}
    model = InfluenceModel(mlp(), cross_entropy, inverse or Counting(), **options)
    return SequentialInfluenceCalculator(model.fit(TRAIN_LOADER), memory_budget=budget)


def table_of(content: str, inverse=None, budget: int = 2**30, **options):
    here = calculator(inverse, budget, **options)
    if content == "factors":
        return here.influence_factors(TEST_LOADER)
    return here.influences(TEST_LOADER, TRAIN_LOADER)


def files(folder) -> FsspecStore:
    """Return a store on a file system of fsspec that writes in place."""
    system = DirFileSystem(str(folder), LocalFileSystem(auto_mkdir=True))
    return FsspecStore(AsyncFileSystemWrapper(system, asynchronous=True), path="")


@pytest.fixture(params=["URL", "file URL", "files of fsspec", "memory", "local"])
def path(request, tmp_path):
    yield {
        "URL": lambda: "memory://bucket/scores.zarr",
        "file URL": lambda: f"file://{tmp_path}/scores.zarr",
        "files of fsspec": lambda: files(tmp_path / "scores.zarr"),
        "memory": MemoryStore,
        "local": lambda: LocalStore(tmp_path / "scores.zarr"),
    }[request.param]()
    MemoryFileSystem.store.clear()


def objects(path):
    """Return the store of zarr behind a path."""
    target = place(path).target
    return target if not hasattr(target, "joinpath") else LocalStore(target)


def put(path, name: str, content: bytes) -> None:
    sync(objects(path).set(name, cpu.Buffer.from_bytes(content)))


def get(path, name: str) -> bytes:
    return sync(objects(path).get(name, default_buffer_prototype())).to_bytes()


@pytest.mark.parametrize("content", ["influences", "factors"])
def test_written_and_read_back(path, content) -> None:
    table = table_of(content)
    array = table.to_zarr(path)
    assert isinstance(array, zarr.Array)
    assert np.array_equal(array[:], table.compute())
    assert array.attrs["complete"]
    assert np.array_equal(zarr.open_array(objects(path), mode="r")[:], array[:])
    inverse = Counting()
    assert np.array_equal(table_of(content, inverse).to_zarr(path)[:], array[:])
    assert inverse.solved == 0
    if content == "factors":
        here = calculator(inverse)
        lazy = here.influences_from_factors(path, TRAIN_LOADER)
        assert np.array_equal(lazy.compute(), table_of("influences").compute())
        assert inverse.solved == 0


@pytest.mark.parametrize("content", ["influences", "factors"])
def test_broken_off_and_finished(path, content) -> None:
    # So little that there are several groups of test points.
    budget = 1500
    with pytest.raises(DvlError, match="broken off"):
        table_of(content, Counting(6), budget).to_zarr(path)
    there = zarr.open_array(objects(path), mode="r")
    assert not there.attrs["complete"]
    missing = int(np.isnan(there[:]).any(axis=1).sum())
    assert 3 <= missing < 9
    inverse = Counting()
    table = table_of(content, inverse, budget)
    assert np.array_equal(table.to_zarr(path)[:], table_of(content, None, budget).compute())
    assert inverse.solved == missing


@pytest.mark.parametrize("content", ["influences", "factors"])
def test_a_garbled_chunk_is_computed_anew(path, content) -> None:
    whole = table_of(content).to_zarr(path)[:]
    zarr.open_array(objects(path), mode="r+").attrs["complete"] = False
    name = "c/1/0"
    put(path, name, get(path, name)[:-5])
    inverse = Counting()
    assert np.array_equal(table_of(content, inverse).to_zarr(path)[:], whole)
    assert inverse.solved == 4


def test_another_origin_and_overwrite(path) -> None:
    first = table_of("influences").to_zarr(path)[:]
    other = table_of("influences", regularization=0.4)
    with pytest.raises(CheckpointError, match=r"regularization .*overwrite=True"):
        other.to_zarr(path)
    assert np.array_equal(zarr.open_array(objects(path), mode="r")[:], first)
    array = other.to_zarr(path, overwrite=True, chunks=(9, 24))
    assert np.array_equal(array[:], other.compute())
    names = sync(_names(objects(path)))
    assert names == ["c/0/0", "zarr.json"]


async def _names(store) -> list[str]:
    return sorted([name async for name in store.list()])


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_array_stays(path, overwrite) -> None:
    put(path, "notes/today.txt", b"mine")
    with pytest.raises(CheckpointError, match="no array of zarr"):
        table_of("factors").to_zarr(path, overwrite=overwrite)
    put(path, "zarr.json", b'{"zarr_format": 3, "node_type": "group"}')
    with pytest.raises(CheckpointError, match="no array of zarr"):
        table_of("factors").to_zarr(path, overwrite=overwrite)
    assert get(path, "notes/today.txt") == b"mine"


def test_an_array_of_something_else(path) -> None:
    zarr.create_array(objects(path), shape=(2, 2), dtype="float64")[:] = 1.0
    with pytest.raises(CheckpointError, match="not of influence factors"):
        table_of("factors").to_zarr(path)
    assert table_of("factors").to_zarr(path, overwrite=True).shape == (9, 31)


class Remembering(MemoryFileSystem):
    """Remembers what it has listed, as file systems behind networks do."""

    cachable = False

    def __init__(self) -> None:
        super().__init__(global_store=False)
        self.listed: dict[str, list[str]] = {}

    def find(self, path, **options):
        return self.listed.setdefault(path, super().find(path, **options))

    def invalidate_cache(self, path=None) -> None:
        self.listed.clear()


def test_what_came_after_the_last_listing_is_found() -> None:
    system = Remembering()
    store = FsspecStore(AsyncFileSystemWrapper(system, asynchronous=True), path="/late")
    assert place(store).is_empty()
    system.pipe_file("/late/notes.txt", b"mine")
    assert place(store).is_empty()
    with pytest.raises(CheckpointError, match="no array of zarr"):
        table_of("factors").to_zarr(store)


def test_options_of_the_file_system(monkeypatch) -> None:
    told = {}

    def from_url(url, storage_options):
        told.update(storage_options)
        return MemoryStore()

    monkeypatch.setattr(FsspecStore, "from_url", from_url)
    table = table_of("factors")
    table.to_zarr("s3://bucket/factors.zarr", storage_options={"anon": True})
    assert told == {"anon": True}
    with pytest.raises(CheckpointError, match="no array"):
        calculator().influences_from_factors(
            "s3://bucket/factors.zarr", TRAIN_LOADER, storage_options={"key": "name"}
        )
    assert told["key"] == "name"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ImportError("Install s3fs to access S3"), MissingDependencyError),
        (ValueError("no such option"), InvalidOptionError),
        (PermissionError("no credentials"), CheckpointError),
        (RuntimeError("no network"), CheckpointError),
    ],
)
def test_file_systems_that_cannot_be_opened(monkeypatch, error, expected) -> None:
    def from_url(url, storage_options):
        raise error

    monkeypatch.setattr(FsspecStore, "from_url", from_url)
    with pytest.raises(expected, match=f"s3://bucket/factors.zarr.*{error}"):
        table_of("factors").to_zarr("s3://bucket/factors.zarr", storage_options={"key": "secret"})


def test_what_is_no_place(tmp_path) -> None:
    table = table_of("factors")
    for path in (3, "", "file://"):
        with pytest.raises(InvalidOptionError, match="a folder, a URL of fsspec, or a store"):
            table.to_zarr(path)
    with pytest.raises(InvalidOptionError, match="storage_options are for URLs"):
        table.to_zarr(tmp_path / "factors", storage_options={"anon": True})
    with pytest.raises(InvalidOptionError, match="nowhere://"):
        table.to_zarr("nowhere://factors")
    with pytest.raises(InvalidOptionError, match="read-only"):
        table.to_zarr(MemoryStore(read_only=True))
    with pytest.raises(InvalidOptionError, match="cannot replace"):
        table.to_zarr(ZipStore(tmp_path / "factors.zip", mode="w"))
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CheckpointError, match="file/factors: NotADirectoryError"):
        table.to_zarr(tmp_path / "file" / "factors")
    assert not (tmp_path / "factors").exists()


class Full(MemoryStore):
    """Has room for some objects only."""

    room = 4

    async def set(self, key, value, byte_range=None):
        if len(self._store_dict) >= Full.room and key not in self._store_dict:
            raise ConnectionError("no room")
        await super().set(key, value, byte_range)


def test_a_store_that_fails_amid_the_work(monkeypatch) -> None:
    store = Full()
    table = table_of("influences")
    with pytest.raises(CheckpointError, match="no room; what was written before is kept"):
        table.to_zarr(store)
    assert not zarr.open_array(store, mode="r").attrs["complete"]
    monkeypatch.setattr(Full, "room", 1000)
    assert np.array_equal(table.to_zarr(store)[:], table.compute())


class Silent(MemoryStore):
    """Does not answer."""

    async def get(self, key, prototype, byte_range=None):
        raise TimeoutError("no answer")


def test_a_store_that_does_not_answer_is_not_taken_for_an_empty_one() -> None:
    with pytest.raises(CheckpointError, match=r"cannot read .*no answer"):
        table_of("influences").to_zarr(Silent())
    with pytest.raises(CheckpointError, match=r"cannot read .*no answer"):
        calculator().influences_from_factors(Silent(), TRAIN_LOADER)
