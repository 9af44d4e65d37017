"""Ledgers in zarr: what lies there, who sees what, what is merged, refused and survived."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import fsspec
import numpy as np
import pytest
import zarr
from zarr.storage import LocalStore
from zarr.storage import MemoryStore as ZarrMemoryStore

from dvl_core import create
from dvl_core.errors import InvalidOptionError, MissingDependencyError, StoreError
from dvl_core.stores.record_file import packed
from dvl_zarr import ZarrStore
from dvl_zarr.objects import Objects
from dvl_zarr.segments import ROOT, Segment

_NUMBER = itertools.count()


def keys_of(numbers):
    numbers = np.asarray(numbers, dtype="<u8").reshape(-1)
    return np.stack([numbers, numbers * np.uint64(0x9E3779B97F4A7C15)], axis=1).view(np.uint8)


def values_of(numbers):
    return np.asarray(numbers, dtype=np.float64).reshape(-1) / 3.0 - 1.0


def put(store, numbers):
    store.put(keys_of(numbers), values_of(numbers))


def found(store, numbers):
    """Numbers whose records are found; whatever is found must be right."""
    numbers = np.asarray(numbers)
    values, known = store.get(keys_of(numbers))
    assert np.array_equal(values, np.where(known, values_of(numbers), 0.0))
    return set(numbers[known].tolist())


def segments(path):
    return sorted(folder for folder in Path(path).iterdir() if folder.is_dir())


@pytest.fixture(params=["folder", "memory", "zarr"])
def location(request, tmp_path):
    """A folder, a URL of fsspec and a store of zarr."""
    if request.param == "folder":
        return tmp_path / "deep" / "ledger"
    if request.param == "memory":
        return f"memory://bucket{next(_NUMBER)}/deep/ledger"
    return ZarrMemoryStore()


# -- what lies there -----------------------------------------------------------------------------


def test_zarr_reads_what_was_put(tmp_path):
    with ZarrStore(tmp_path / "ledger", chunk_records=4) as store:
        put(store, range(3))
        put(store, range(3, 10))
    group = zarr.open_group(tmp_path / "ledger", mode="r")
    assert group.metadata.zarr_format == 3
    assert group.attrs["dvl_ledger"] == 1
    ((_, array),) = group.arrays()
    assert array.chunks == (4, 28)
    assert array.metadata.dimension_names == ("record", "byte")
    assert array.attrs["closed"] is True
    assert array[:].tobytes() == packed(keys_of(range(10)), values_of(range(10)))


def test_the_array_is_right_after_every_put(tmp_path):
    store = ZarrStore(tmp_path, chunk_records=4)
    for stop in range(1, 10):
        put(store, [stop])
        ((_, array),) = zarr.open_group(tmp_path, mode="r").arrays()
        numbers = range(1, stop + 1)
        assert array[:].tobytes() == packed(keys_of(numbers), values_of(numbers))
        assert array.attrs["closed"] is False


def test_nothing_is_touched_before_the_first_put(tmp_path):
    store = ZarrStore(tmp_path / "deep" / "ledger")
    assert found(store, [1]) == set()
    assert len(store) == store.n_damaged == store.compact() == 0
    put(store, [])
    store.close()
    assert not (tmp_path / "deep").exists()


def test_an_empty_folder_is_a_place_for_a_ledger(location):
    if isinstance(location, Path):
        location.mkdir(parents=True)
        (location / "zarr.0123.partial").write_text("what a killed writer left behind")
    with ZarrStore(location) as store:
        put(store, [1])
    assert found(ZarrStore(location), [1, 2]) == {1}


def test_records_are_written_once(tmp_path):
    one, other = ZarrStore(tmp_path), ZarrStore(tmp_path)
    put(one, [1, 2, 1, 1])
    put(other, [2, 3])
    put(one, [1, 2, 3])
    arrays = dict(zarr.open_group(tmp_path, mode="r").arrays()).values()
    assert sorted(array.shape for array in arrays) == [(1, 28), (2, 28)]
    assert len(one) == len(other) == 3


# -- who sees what -------------------------------------------------------------------------------


def test_writers_see_each_other(location):
    one, other = ZarrStore(location, chunk_records=5), ZarrStore(location, chunk_records=3)
    for start in range(0, 30, 3):
        writer, reader = (one, other) if start % 2 else (other, one)
        put(writer, range(start, start + 3))
        assert found(reader, range(40)) == set(range(start + 3))
    one.close()
    assert found(other, range(40)) == set(range(30))
    other.close()
    assert found(ZarrStore(location), range(40)) == set(range(30))
    assert len(ZarrStore(location)) == 30


def test_looking_for_others_may_wait(tmp_path):
    patient, other = ZarrStore(tmp_path, refresh_seconds=3600.0), ZarrStore(tmp_path)
    put(other, [1])
    assert found(patient, [1]) == {1}
    put(other, [2])
    assert found(patient, [1, 2]) == {1}
    put(patient, [3])
    assert found(other, [1, 2, 3]) == {1, 2, 3}
    assert len(patient) == 3
    assert found(patient, [1, 2, 3]) == {1, 2, 3}


def test_what_is_known_is_not_looked_for(tmp_path, monkeypatch):
    store = ZarrStore(tmp_path)
    put(store, range(10))
    monkeypatch.setattr(Objects, "_run", None)
    assert found(store, range(10)) == set(range(10))
    put(store, range(10))


def test_a_closed_store_opens_again(location):
    store = ZarrStore(location)
    put(store, [1])
    store.close()
    store.close()
    put(store, [2])
    store.close()
    assert found(store, [1, 2, 3]) == {1, 2}


def test_a_pickled_copy_is_a_writer_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = ZarrStore("ledger", chunk_records=3, compact_at=7, refresh_seconds=0.5)
    put(store, [1])
    monkeypatch.chdir("/")
    copy = pickle.loads(pickle.dumps(store))  # noqa: S301
    assert (copy.chunk_records, copy.compact_at, copy.refresh_seconds) == (3, 7, 0.5)
    put(copy, [2])
    assert found(copy, [1, 2]) == {1, 2}
    assert len(segments(tmp_path / "ledger")) == 2
    assert repr(copy) == f"ZarrStore('{tmp_path}/ledger')"


def write(store, start):
    for first in range(start, start + 60, 20):
        put(store, range(first, first + 20))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_is_a_writer_of_its_own(tmp_path):
    store = ZarrStore(tmp_path)
    put(store, [1000])
    child = multiprocessing.get_context("fork").Process(target=write, args=(store, 0))
    child.start()
    write(store, 60)
    child.join()
    assert child.exitcode == 0
    assert found(store, range(120)) == set(range(120))
    assert len(segments(tmp_path)) == 2
    assert ZarrStore(tmp_path).n_damaged == 0


def test_file_systems_that_remember_what_they_listed(monkeypatch):
    forgotten = []
    system = type(fsspec.filesystem("memory"))
    monkeypatch.setattr(system, "invalidate_cache", lambda self, path=None: forgotten.append(1))
    store = ZarrStore(f"memory://bucket{next(_NUMBER)}")
    assert found(store, [1]) == set()
    assert forgotten


# -- merging -------------------------------------------------------------------------------------


def test_small_arrays_are_merged_at_close(location):
    for number in range(12):
        with ZarrStore(location, chunk_records=8, compact_at=5) as store:
            put(store, [number])
    store = ZarrStore(location, chunk_records=8)
    assert found(store, range(20)) == set(range(12))
    assert store.n_damaged == 0
    assert len(store._reader.segment_names()) < 6


def test_nothing_is_merged_unless_asked(tmp_path):
    for number in range(4):
        with ZarrStore(tmp_path, compact_at=0) as store:
            put(store, [number])
    assert len(segments(tmp_path)) == 4
    assert ZarrStore(tmp_path).compact() == 4
    assert len(segments(tmp_path)) == 1
    assert ZarrStore(tmp_path).compact() == 0
    assert found(ZarrStore(tmp_path), range(9)) == {0, 1, 2, 3}


def test_others_follow_a_merge(location):
    readers = [ZarrStore(location), ZarrStore(location)]
    put(readers[1], [100])
    for number in range(4):
        with ZarrStore(location, compact_at=0) as store:
            put(store, [number])
        assert number in found(readers[0], range(10))
    assert ZarrStore(location).compact() == 4
    for reader in readers:
        put(reader, [number + 1])
        assert found(reader, [*range(10), 100]) == {0, 1, 2, 3, number + 1, 100}
        assert len(reader) == len(ZarrStore(location)) == 6
    assert found(ZarrStore(location), [*range(10), 100]) == {0, 1, 2, 3, 4, 100}


def test_writers_at_work_large_arrays_and_damage_are_left_alone(tmp_path):
    at_work = ZarrStore(tmp_path)
    put(at_work, [1])
    with ZarrStore(tmp_path, chunk_records=3, compact_at=0) as store:
        put(store, [2, 3, 4])
    with ZarrStore(tmp_path, compact_at=0) as store:
        put(store, [5, 6])
    damaged = segments(tmp_path)[-1]
    chunk = damaged / "c" / "0" / "0"
    chunk.write_bytes(b"x" + chunk.read_bytes()[1:])
    for number in (7, 8):
        with ZarrStore(tmp_path, compact_at=0) as store:
            put(store, [number])
    before = set(segments(tmp_path))
    assert ZarrStore(tmp_path).compact() == 2
    assert before - set(segments(tmp_path)) == set(sorted(before)[-2:])
    store = ZarrStore(tmp_path)
    assert found(store, range(10)) == {1, 2, 3, 4, 6, 7, 8}
    assert store.n_damaged == 1
    assert at_work.compact(all_writers=True) == 2
    put(at_work, [9])
    assert found(ZarrStore(tmp_path), range(10)) == {1, 2, 3, 4, 6, 7, 8, 9}


def test_two_merges_at_once_lose_nothing(tmp_path, monkeypatch):
    for number in range(6):
        with ZarrStore(tmp_path, compact_at=0) as store:
            put(store, [number])
    remove, both = Objects.remove, threading.Barrier(2, timeout=30)
    waited = threading.local()

    def wait_and_remove(objects, folder, first):
        if not hasattr(waited, "done"):
            waited.done = both.wait()
        remove(objects, folder, first)

    monkeypatch.setattr(Objects, "remove", wait_and_remove)
    threads = [threading.Thread(target=ZarrStore(tmp_path).compact) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    monkeypatch.undo()
    assert found(ZarrStore(tmp_path), range(9)) == set(range(6))
    # One of them may have merged what the other one wrote.
    assert len(segments(tmp_path)) <= 2
    ZarrStore(tmp_path).compact()
    assert found(ZarrStore(tmp_path), range(9)) == set(range(6))
    assert len(ZarrStore(tmp_path)) == 6
    assert len(segments(tmp_path)) == 1


def test_a_merge_that_dies_while_it_removes_loses_nothing(tmp_path, monkeypatch):
    for number in range(3):
        with ZarrStore(tmp_path, compact_at=0) as store:
            put(store, [number])
    reader = ZarrStore(tmp_path)
    assert found(reader, range(9)) == {0, 1, 2}

    def half(objects, folder, first):
        (tmp_path / folder / first).unlink()
        raise StoreError("the connection is gone")

    monkeypatch.setattr(Objects, "remove", half)
    with pytest.raises(StoreError, match="is gone"):
        ZarrStore(tmp_path).compact()
    monkeypatch.undo()
    for store in (reader, ZarrStore(tmp_path)):
        assert found(store, range(9)) == {0, 1, 2}
        assert (len(store), store.n_damaged) == (3, 0)
    assert ZarrStore(tmp_path).compact(all_writers=True) > 1
    assert found(ZarrStore(tmp_path), range(9)) == {0, 1, 2}
    assert len(segments(tmp_path)) == 1


@pytest.mark.parametrize("what", ["/zarr.json", "/c/0/0"])
def test_a_look_up_during_a_merge_misses_nothing(tmp_path, monkeypatch, what):
    for number in range(3):
        with ZarrStore(tmp_path, compact_at=0) as store:
            put(store, [number])
    reader, read = ZarrStore(tmp_path), Objects.read

    def read_late(objects, names):
        if any(name.endswith(what) for name in names):
            monkeypatch.setattr(Objects, "read", read)
            assert ZarrStore(tmp_path).compact() == 3
        return read(objects, names)

    monkeypatch.setattr(Objects, "read", read_late)
    assert found(reader, range(9)) == {0, 1, 2}
    assert reader.n_damaged == 0


# -- failures ------------------------------------------------------------------------------------


def test_a_writer_that_failed_goes_on_in_a_new_array(tmp_path, monkeypatch):
    store, write = ZarrStore(tmp_path, chunk_records=4), Objects.write
    put(store, [0, 1])
    on_its_way = []

    def fail(objects, contents):
        on_its_way.extend(contents)
        raise StoreError("no answer")

    monkeypatch.setattr(Objects, "write", fail)
    with pytest.raises(StoreError, match="no answer"):
        put(store, [2])
    monkeypatch.undo()
    assert found(store, range(9)) == {0, 1}
    put(store, [3, 4])
    write(Objects(store.path, {}), on_its_way)
    put(store, [2])
    for reader in (store, ZarrStore(tmp_path)):
        assert found(reader, range(9)) == {0, 1, 2, 3, 4}
        assert reader.n_damaged == 0
    assert len(segments(tmp_path)) == 2


def test_a_removed_ledger_is_noticed(tmp_path):
    path = tmp_path / "ledger"
    store = ZarrStore(path)
    put(store, range(10))
    shutil.rmtree(path)
    put(store, [1, 20])
    assert found(ZarrStore(path), range(30)) == {1, 20} == found(store, range(30))
    shutil.rmtree(path)
    store.close()
    assert not path.exists()


def test_every_flipped_bit_of_a_record_is_noticed(tmp_path):
    with ZarrStore(tmp_path, chunk_records=4) as store:
        put(store, range(6))
    chunk = segments(tmp_path)[0] / "c" / "0" / "0"
    sound = chunk.read_bytes()
    for bit in range(0, 8 * 28, 5):
        content = bytearray(sound)
        content[28 + bit // 8] ^= 1 << bit % 8
        chunk.write_bytes(content)
        store = ZarrStore(tmp_path)
        assert found(store, range(9)) == {0, 2, 3, 4, 5}
        assert (len(store), store.n_damaged) == (5, 1)


@pytest.mark.parametrize(
    ("kept", "left"), [(0, set()), (27, set()), (28, {0}), (60, {0, 1}), (None, set())]
)
def test_a_chunk_cut_short_or_lost_costs_what_was_in_it(tmp_path, kept, left):
    with ZarrStore(tmp_path, chunk_records=4) as store:
        put(store, range(6))
    chunk = segments(tmp_path)[0] / "c" / "0" / "0"
    if kept is None:
        chunk.unlink()
    else:
        chunk.write_bytes(chunk.read_bytes()[:kept])
    store = ZarrStore(tmp_path)
    assert found(store, range(9)) == left | {4, 5}
    assert store.n_damaged == 4 - len(left)
    put(store, range(6))
    assert found(ZarrStore(tmp_path), range(9)) == set(range(6))


def test_no_byte_of_a_document_costs_a_record(tmp_path):
    with ZarrStore(tmp_path, chunk_records=4) as store:
        put(store, range(6))
    document = segments(tmp_path)[0] / "zarr.json"
    sound = document.read_bytes()
    rng = np.random.default_rng(0)
    wrong = [sound.replace(b"[6, 28]", b"[5, 28]"), sound.replace(b"[4, 28]", b"[2, 28]"), b"[]"]
    wrong += [b"", b"null", b'{"attributes": 3}', sound.replace(b'"shape": [6', b'"shape": [[6]')]
    for position in range(0, len(sound), 9):
        content = bytearray(sound)
        content[position] = rng.integers(256)
        wrong.append(bytes(content))
    for content in wrong:
        document.write_bytes(content)
        store = ZarrStore(tmp_path)
        assert found(store, range(9)) == set(range(6))
        assert (len(store), store.n_damaged) == (6, 0)
    document.unlink()
    assert found(ZarrStore(tmp_path), range(9)) == set(range(6))


def test_a_hole_of_zeros_is_noticed(tmp_path):
    with ZarrStore(tmp_path, chunk_records=4) as store:
        put(store, range(6))
    chunk = segments(tmp_path)[0] / "c" / "1" / "0"
    chunk.write_bytes(bytes(chunk.stat().st_size))
    store = ZarrStore(tmp_path)
    assert found(store, range(9)) == {0, 1, 2, 3}
    assert store.n_damaged == 2


def foreign(path, kind):
    if kind == "array":
        zarr.create_array(path, shape=(3,), dtype="f8")
    elif kind == "group":
        zarr.create_group(path, attributes={"title": "mine"})
    elif kind == "group of version 2":
        zarr.create_group(path, zarr_format=2)
    elif kind == "files":
        path.mkdir()
        (path / "notes.txt").write_text("mine")
    elif kind == "another version":
        path.mkdir()
        (path / "zarr.json").write_bytes(ROOT.replace(b'"dvl_ledger": 1', b'"dvl_ledger": 2'))
    elif kind == "no JSON":
        path.mkdir()
        (path / "zarr.json").write_bytes(ROOT[:-3])
    else:
        path.write_text("a file")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("array", "is not a dvl ledger"),
        ("group", "is not a dvl ledger"),
        ("group of version 2", "is not a dvl ledger"),
        ("files", "is not a dvl ledger"),
        ("another version", "another version of dvl-zarr"),
        ("no JSON", "is not a dvl ledger"),
        ("file", "is a file"),
    ],
)
def test_what_others_have_written_is_refused_and_left_alone(tmp_path, kind, message):
    path = tmp_path / "ledger"
    foreign(path, kind)
    before = {p: p.read_bytes() for p in [path, *path.rglob("*")] if p.is_file()}
    store = ZarrStore(path)
    uses = (
        lambda: put(store, [1]),
        lambda: store.get(keys_of([1])),
        lambda: len(store),
        store.compact,
    )
    for use in uses:
        with pytest.raises(StoreError, match=message) as caught:
            use()
        assert str(path) in str(caught.value)
    store.close()
    assert {p: p.read_bytes() for p in [path, *path.rglob("*")] if p.is_file()} == before


def test_impossible_places(tmp_path):
    (tmp_path / "file").write_text("content")
    with pytest.raises(StoreError, match="a folder of its path is a file"):
        put(ZarrStore(tmp_path / "file" / "ledger"), [1])
    with pytest.raises(StoreError, match="a folder of its path is a file"):
        len(ZarrStore(tmp_path / "file" / "ledger"))
    with pytest.raises(StoreError, match=r"cannot open store nowhere://x: .*nowhere"):
        put(ZarrStore("nowhere://x"), [1])


def test_a_file_system_whose_package_is_missing(monkeypatch):
    def from_url(*arguments, **options):
        cause = ModuleNotFoundError("No module named 's3fs'", name="s3fs")
        raise ImportError("Install s3fs to access S3") from cause

    monkeypatch.setattr(zarr.storage.FsspecStore, "from_url", from_url)
    with pytest.raises(
        MissingDependencyError, match=r"s3://b/x needs another package \(.*\): pip install s3fs"
    ):
        ZarrStore("s3://b/x").get(keys_of([1]))


def test_without_zarr(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "zarr", None)
    for path in (tmp_path, "s3://b/x"):
        with pytest.raises(MissingDependencyError, match="pip install zarr"):
            ZarrStore(path).get(keys_of([1]))


class Failing(ZarrMemoryStore):
    """Fails in its own way, unlike anything of the operating system."""

    failing = False

    async def set(self, key, value, byte_range=None):
        if self.failing:
            raise RuntimeError("no credentials")
        await super().set(key, value, byte_range)


def test_a_store_that_fails_in_its_own_way():
    objects = Failing()
    store = ZarrStore(objects)
    put(store, [1])
    objects.failing = True
    with pytest.raises(StoreError, match=r"cannot write store .*RuntimeError: no credentials"):
        put(store, [2])
    objects.failing = False
    put(store, [2])
    assert found(ZarrStore(objects), [1, 2]) == {1, 2}


# -- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{"chunk_records": 0}, {"compact_at": -1}, {"refresh_seconds": float("nan")}]
)
def test_options_that_are_none(tmp_path, options):
    with pytest.raises(InvalidOptionError):
        ZarrStore(tmp_path, **options)


@pytest.mark.parametrize("path", ["", 3, None])
def test_paths_that_are_none(path):
    with pytest.raises(InvalidOptionError, match="path is"):
        ZarrStore(path)


def test_by_name_and_through_other_ways_to_write_a_path(tmp_path):
    with create("store", {"name": "zarr", "path": str(tmp_path), "chunk_records": 3}) as store:
        put(store, range(5))
    for path in (tmp_path, f"file://{tmp_path}", f"local://{tmp_path}", LocalStore(tmp_path)):
        assert found(ZarrStore(path), range(9)) == set(range(5))


def test_what_fsspec_is_told(monkeypatch):
    told = {}

    def from_url(url, storage_options):
        told.update(storage_options, url=url)
        return ZarrMemoryStore()

    monkeypatch.setattr(zarr.storage.FsspecStore, "from_url", from_url)
    store = ZarrStore("s3://b/x", storage_options={"anon": True, "secret": "x"})
    put(store, [1])
    assert told == {"anon": True, "secret": "x", "url": "s3://b/x"}
    assert "secret" not in repr(store)
    assert pickle.loads(pickle.dumps(store)).storage_options == store.storage_options  # noqa: S301


def test_importing_the_package_does_not_import_zarr():
    program = "import sys, dvl_zarr; dvl_zarr.ZarrStore('x'); assert 'zarr' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


# -- crashes -------------------------------------------------------------------------------------

WRITER = """
import sys
import numpy as np
from dvl_zarr import ZarrStore

def keys_of(numbers):
    return np.stack([numbers, numbers * np.uint64(0x9E3779B97F4A7C15)], axis=1).view(np.uint8)

store = ZarrStore(sys.argv[1], chunk_records=64)
for start in range(int(sys.argv[2]), 100_000_000, 25):
    numbers = np.arange(start, start + 25, dtype="<u8")
    store.put(keys_of(numbers), numbers.astype(float) / 3.0 - 1.0)
    print(start + 25, flush=True)
"""


def acknowledged_by_a_killed_writer(path, start, seconds):
    arguments = [sys.executable, "-c", WRITER, str(path), str(start)]
    writer = subprocess.Popen(arguments, stdout=subprocess.PIPE)
    first = writer.stdout.readline()
    time.sleep(seconds)
    writer.send_signal(signal.SIGKILL)
    rest = writer.stdout.read()
    assert writer.wait() == -signal.SIGKILL
    writer.stdout.close()
    return int((first + rest).split(b"\n")[:-1][-1])


def check_killed_writers(path, delays):
    expected = set()
    for number, seconds in enumerate(delays):
        start = 1_000_000 * number
        stop = acknowledged_by_a_killed_writer(path, start, seconds)
        expected |= set(range(start, stop))
        store = ZarrStore(path)
        there = found(store, [*expected, *range(stop, stop + 25)])
        assert there - expected in (set(), set(range(stop, stop + 25)))
        assert there >= expected
        assert store.n_damaged == 0
        expected = there
    ZarrStore(path).compact(all_writers=True)
    assert found(ZarrStore(path), list(expected)) == expected
    assert all(array.attrs["closed"] for _, array in zarr.open_group(path, mode="r").arrays())


def test_what_a_killed_writer_acknowledged_is_there(tmp_path):
    check_killed_writers(tmp_path, [0.03])


@pytest.mark.slow
def test_what_killed_writers_acknowledged_is_there(tmp_path):
    rng = np.random.default_rng(0)
    check_killed_writers(tmp_path, rng.uniform(0.0, 0.2, size=25).tolist())


def test_the_document_of_a_segment_stays_as_it_is():
    """What is on disk must stay readable."""
    document = json.loads(Segment(5, 4).document)
    assert document == {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [5, 28],
        "data_type": "uint8",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4, 28]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "bytes"}],
        "dimension_names": ["record", "byte"],
        "attributes": {"closed": False, "check": zlib.crc32(b"5/4/False")},
    }


def test_a_ledger_that_is_made_while_another_looks_is_no_stranger(tmp_path, monkeypatch):
    """It has no document at the first look, and a moment later other objects as well."""
    names, makers = Objects.names, [ZarrStore(tmp_path / "ledger")]
    (tmp_path / "ledger").mkdir()

    def while_it_is_made(objects, folder=""):
        if makers:
            put(makers.pop(), [1])
        return names(objects, folder)

    monkeypatch.setattr(Objects, "names", while_it_is_made)
    assert found(ZarrStore(tmp_path / "ledger"), [1, 2]) == {1}
    assert not makers
