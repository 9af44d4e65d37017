"""The memory and disk stores: conformance, crashes, damage, many writers."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import resource
import signal
import struct
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest

import dvl_core.stores.memory as memory_module
import dvl_core.testing.stores as conformance
from dvl_core.errors import ConformanceError, StoreError
from dvl_core.protocols import Store
from dvl_core.stores import DiskStore, MemoryStore
from dvl_core.stores.memory import checked_keys, checked_records
from dvl_core.stores.record_file import HEADER, RECORD
from dvl_core.stores.table import RecordTable

CHECKS = [getattr(conformance, name) for name in dir(conformance) if name.startswith("check_")]


def keys_of(numbers):
    """Distinct keys [b, 16] for distinct numbers; those of small numbers contain zero bytes."""
    numbers = np.asarray(numbers, dtype="<u8").reshape(-1)
    return np.stack([numbers, numbers * np.uint64(0x9E3779B97F4A7C15)], axis=1).view(np.uint8)


def values_of(numbers):
    return np.asarray(numbers, dtype=np.float64).reshape(-1) / 3.0 - 1.0


def put(store, numbers):
    store.put(keys_of(numbers), values_of(numbers))


def found_numbers(store, numbers):
    """Numbers whose records are found; whatever is found must be right."""
    numbers = np.asarray(numbers)
    values, found = store.get(keys_of(numbers))
    assert np.array_equal(values[found], values_of(numbers)[found])
    assert not values[~found].any()
    return set(numbers[found].tolist())


# -- conformance ---------------------------------------------------------------------------------


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_conformance(check, kind, tmp_path):
    check(MemoryStore if kind == "memory" else partial(DiskStore, tmp_path / "a" / "b.dvl"))


def test_every_check_describes_itself():
    assert len(CHECKS) == 18
    assert {check.__name__ for check in CHECKS} < set(conformance.__all__)
    assert all(check.__doc__.endswith(".") for check in CHECKS)


class Plain:
    """A store that is right, in a few lines."""

    def __init__(self):
        self._records = {}

    def get(self, keys):
        values = [self._records.get(bytes(key), np.nan) for key in checked_keys(keys)]
        found = ~np.isnan(np.array(values, dtype=float))
        return np.where(found, values, 0.0), found

    def put(self, keys, values):
        keys, values = checked_records(keys, values)
        for key, value in zip(keys, values.tolist(), strict=True):
            self._records.setdefault(bytes(key), value)

    def __len__(self):
        return len(self._records)

    def close(self):
        pass

    def __getstate__(self):
        return {"records": dict(self._records)}

    def __setstate__(self, state):
        self._records = state["records"]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_checks_let_a_plain_store_pass(check):
    check(Plain)


class Broken(Plain):
    """Breaks one rule of stores, chosen by `fault`."""

    shared: dict[bytes, float] = {}  # noqa: RUF012 the point of a store that persists

    def __init__(self, fault):
        super().__init__()
        self.fault = fault
        if fault == "forgets on opening":
            self._records = dict(list(self.shared.items())[::2])
        if fault == "does not see the others":
            self._records = dict(self.shared)

    def get(self, keys):
        values, found = super().get(keys)
        if self.fault == "float32":
            values = values.astype(np.float32)
        if self.fault == "finds everything":
            found = np.ones_like(found)
        if self.fault == "no negative zero":
            values = values + 0.0
        if self.fault == "sorts":
            return np.sort(values), found
        if self.fault == "changes keys":
            keys[:] = 0
        if self.fault == "fails on nothing" and len(keys) == 0:
            raise IndexError("no keys")
        return values, found

    def put(self, keys, values):
        if self.fault == "last stays":
            self._records.update(zip(map(bytes, keys), values.tolist(), strict=True))
        elif self.fault == "records NaN":
            super().put(keys, np.nan_to_num(values))
        elif self.fault == "refuses NaN too late" and np.isnan(values).any():
            self._records.update(zip(map(bytes, keys), [0.0] * len(keys), strict=True))
            raise StoreError("NaN")
        elif self.fault == "takes what fits":
            super().put(np.resize(keys, (len(values), 16)), values)
        elif self.fault == "small batches only":
            super().put(keys[:1000], values[:1000])
        elif self.fault == "loses under threads":
            snapshot = dict(self._records)
            time.sleep(2e-3)
            snapshot.update(zip(map(bytes, keys), values.tolist(), strict=True))
            self._records = snapshot
        else:
            super().put(keys, values)
        self.shared.update(self._records)

    def __len__(self):
        return 3 if self.fault == "cannot count" else super().__len__()

    def close(self):
        if self.fault == "closes once" and self.__dict__.setdefault("closed", False):
            raise StoreError("closed already")
        self.closed = True

    def __getstate__(self):
        state = super().__getstate__() | {"fault": self.fault}
        return state | {"records": {}} if self.fault == "empty copies" else state

    def __setstate__(self, state):
        super().__setstate__(state)
        self.fault = state["fault"]


@pytest.mark.parametrize(
    ("fault", "check", "sentence"),
    [
        ("sorts", "round_trip", "values are not those that were put"),
        ("no negative zero", "extreme_values", "1 of 7 values are not those"),
        ("finds everything", "unknown_keys", "never put are found"),
        ("last stays", "first_record_stays", "under the same keys"),
        ("float32", "types", "should be a float64 array"),
        ("small batches only", "large_batch", "19000 of 20000 records are not found"),
        ("cannot count", "counts_records", "longer by 0"),
        ("records NaN", "refuses_nan", "without StoreError"),
        ("refuses NaN too late", "refuses_nan", "has been recorded"),
        ("takes what fits", "refuses_mismatched_batches", "were put without StoreError"),
        ("changes keys", "leaves_arguments_alone", "changed the arrays"),
        ("loses under threads", "threads", "not found"),
        ("empty copies", "pickled_copy", "not found"),
        ("forgets on opening", "reopens", "not found"),
        ("does not see the others", "shared_by_instances", "not found"),
    ],
)
def test_checks_catch_broken_stores(fault, check, sentence):
    with pytest.raises(ConformanceError, match=sentence):
        getattr(conformance, f"check_store_{check}")(partial(Broken, fault))


@pytest.mark.parametrize(
    ("fault", "check", "error"),
    [("closes once", "closes_twice", StoreError), ("fails on nothing", "empty_batch", IndexError)],
)
def test_checks_let_the_errors_of_a_store_through(fault, check, error):
    with pytest.raises(error):
        getattr(conformance, f"check_store_{check}")(partial(Broken, fault))


# -- both stores ---------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "disk"])
def store(request, tmp_path):
    with MemoryStore() if request.param == "memory" else DiskStore(tmp_path / "s.dvl") as store:
        yield store


def test_is_a_store(store):
    assert isinstance(store, Store)
    put(store, [1, 2])
    assert len(store) == 2
    assert type(store).__name__ in repr(store)


def test_zero_bytes_at_the_end_of_a_key_count(store):
    keys = np.zeros((2, 16), dtype=np.uint8)
    keys[1, 0] = 1
    store.put(keys[:1], np.array([5.0]))
    assert store.get(keys)[1].tolist() == [True, False]


def test_keys_need_not_be_contiguous(store):
    keys = np.asfortranarray(keys_of(range(10)))
    store.put(keys[::2], values_of(range(0, 10, 2)))
    assert found_numbers(store, range(10)) == {0, 2, 4, 6, 8}
    assert store.get(keys)[1].tolist() == [True, False] * 5


@pytest.mark.parametrize(
    "keys", [np.zeros((2, 8), np.uint8), np.zeros((2, 16)), np.zeros(16, "u1")]
)
def test_refuses_what_is_no_key(store, keys):
    with pytest.raises(StoreError, match=r"must be uint8 of shape \[b, 16\]"):
        store.get(keys)
    with pytest.raises(StoreError, match="must be uint8"):
        store.put(keys, np.zeros(len(keys)))


def test_nan_is_refused_with_its_position(store):
    with pytest.raises(StoreError, match="value 2 of a batch of 3 is NaN"):
        store.put(keys_of([1, 2, 3]), np.array([0.0, np.inf, np.nan]))
    assert len(store) == 0


def test_a_memory_snapshot_stays_as_it_was():
    store = MemoryStore()
    put(store, [1])
    copy = pickle.loads(pickle.dumps(store))  # noqa: S301
    put(store, [2])
    put(copy, [3])
    assert found_numbers(store, [1, 2, 3]) == {1, 2}
    assert found_numbers(copy, [1, 2, 3]) == {1, 3}


# -- the table behind them -----------------------------------------------------------------------


def structured_keys(kind, numbers):
    """Keys that differ in few bits, as digests never do."""
    keys = np.zeros((len(numbers), 2), dtype="<u8")
    keys[:, 0 if kind == "low half" else 1] = numbers
    if kind == "high bits":
        keys[:, 1] <<= np.uint64(48)
    return keys.view(np.uint8) if kind != "digests" else keys_of(numbers)


@pytest.mark.parametrize("kind", ["digests", "low half", "high half", "high bits"])
def test_the_table_equals_a_dict(kind):
    rng = np.random.default_rng(3)
    table, expected = RecordTable(), {}
    for size in (0, 1, 2, 3, 500, 1, 3_000, 7, 0, 12_000, 1_000):
        numbers = rng.integers(0, 20_000, size)
        values = rng.normal(size=size)
        table.add(structured_keys(kind, numbers), values)
        for number, value in zip(numbers.tolist(), values.tolist(), strict=True):
            expected.setdefault(number, value)
        assert len(table) == len(expected)
    for copy in (table, RecordTable.of_rows(table.rows())):
        values, found = copy.find(structured_keys(kind, np.arange(20_000)))
        assert np.flatnonzero(found).tolist() == sorted(expected)
        assert values[found].tolist() == [expected[number] for number in sorted(expected)]
        assert not values[~found].any()


def test_small_and_large_batches_mix(monkeypatch):
    monkeypatch.setattr(memory_module, "_MANY", 5_000)
    rng = np.random.default_rng(5)
    store, expected = MemoryStore(), Plain()
    for size in (5, 1_000, 300, 20, 2_000, 400, 400, 600, 3, *[500] * 60):
        keys = keys_of(rng.integers(0, 30_000, size))
        values = rng.normal(size=size)
        store.put(keys, values)
        expected.put(keys, values)
        asked = keys_of(rng.integers(0, 30_000, 200))
        for got, wanted in zip(store.get(asked), expected.get(asked), strict=True):
            assert np.array_equal(got, wanted)
        assert len(store) == len(expected)
    every = keys_of(np.arange(30_000))
    for copy in (store, pickle.loads(pickle.dumps(store))):  # noqa: S301
        assert np.array_equal(copy.get(every)[0], expected.get(every)[0])


# -- the disk store ------------------------------------------------------------------------------


def test_nothing_is_touched_before_the_first_put(tmp_path):
    path = tmp_path / "deep" / "down" / "s.dvl"
    store = DiskStore(path)
    assert found_numbers(store, [1]) == set()
    assert len(store) == 0
    assert store.n_damaged == 0
    store.put(keys_of([]), values_of([]))
    store.close()
    assert not (tmp_path / "deep").exists()
    put(store, [1])
    assert path.stat().st_size == len(HEADER) + RECORD.itemsize
    store.close()


def test_records_are_written_once(tmp_path):
    path = tmp_path / "s.dvl"
    one, other = DiskStore(path), DiskStore(path)
    put(one, [1, 2, 1, 1])
    put(other, [2, 3])
    put(one, [1, 2, 3])
    assert path.stat().st_size == len(HEADER) + 3 * RECORD.itemsize
    assert len(one) == len(other) == 3


def test_format(tmp_path):
    """What is on disk, byte by byte: files must stay readable."""
    path = tmp_path / "s.dvl"
    with DiskStore(path) as store:
        store.put(np.arange(16, dtype=np.uint8)[None], np.array([-0.5]))
    record = bytes(range(16)) + struct.pack("<d", -0.5)
    expected = b"dvlstore" + struct.pack("<II", 1, 28) + record + struct.pack("<I", crc32(record))
    assert path.read_bytes() == expected


def test_relative_paths_survive_a_change_of_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = DiskStore("s.dvl")
    put(store, [1])
    monkeypatch.chdir("/")
    copy = pickle.loads(pickle.dumps(store))  # noqa: S301
    assert found_numbers(copy, [1]) == {1}
    store.close()
    assert found_numbers(store, [1]) == {1}


def test_a_closed_store_opens_again(tmp_path):
    store = DiskStore(tmp_path / "s.dvl")
    put(store, [1])
    store.close()
    put(store, [2])
    store.close()
    assert found_numbers(store, [1, 2, 3]) == {1, 2}


def test_a_deleted_or_replaced_file_is_noticed(tmp_path):
    path = tmp_path / "s.dvl"
    store = DiskStore(path)
    put(store, range(10))
    path.unlink()
    put(store, [1, 20])
    assert found_numbers(DiskStore(path), range(30)) == {1, 20}
    with DiskStore(tmp_path / "other.dvl") as other:
        put(other, [5])
    os.replace(tmp_path / "other.dvl", path)
    assert found_numbers(store, [5]) == {5}
    put(store, [1])
    assert found_numbers(DiskStore(path), range(30)) == {1, 5}


def test_a_file_replaced_by_a_longer_one_is_noticed(tmp_path):
    path = tmp_path / "s.dvl"
    store = DiskStore(path)
    put(store, range(10))
    with DiskStore(tmp_path / "other.dvl") as other:
        put(other, range(100, 130))
    os.replace(tmp_path / "other.dvl", path)
    assert found_numbers(store, range(200)) == set(range(100, 130))
    put(store, [1])
    assert found_numbers(DiskStore(path), range(200)) == {1, *range(100, 130)}


def test_records_cut_off_under_an_open_store_are_written_again(tmp_path):
    path = tmp_path / "s.dvl"
    store = DiskStore(path)
    put(store, range(10))
    os.truncate(path, len(HEADER) + 4 * RECORD.itemsize + 3)
    put(store, [8, 9])
    assert found_numbers(DiskStore(path), range(20)) == {0, 1, 2, 3, 8, 9}
    assert found_numbers(store, range(20)) == {0, 1, 2, 3, 8, 9}


def test_many_chunks_are_read(tmp_path):
    numbers = np.arange(200_000)
    with DiskStore(tmp_path / "s.dvl") as store:
        put(store, numbers)
    assert len(found_numbers(DiskStore(tmp_path / "s.dvl"), numbers)) == len(numbers)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"index,value\n1,2\n", "is not a dvl store"),
        (b"abc", "is not a dvl store"),
        (b"dvlstore" + struct.pack("<II", 2, 28) + bytes(28), "another version of dvl"),
        (b"dvlstore" + struct.pack("<II", 1, 32), "another version of dvl"),
    ],
)
def test_files_of_others_are_refused_and_left_alone(tmp_path, content, message):
    path = tmp_path / "s.dvl"
    path.write_bytes(content)
    store = DiskStore(path)
    for use in (lambda: put(store, [1]), lambda: store.get(keys_of([1])), lambda: len(store)):
        with pytest.raises(StoreError, match=message) as caught:
            use()
        assert str(path) in str(caught.value)
    assert path.read_bytes() == content
    store.close()


def test_impossible_paths(tmp_path):
    (tmp_path / "file").write_text("content")
    os.mkfifo(tmp_path / "fifo")
    for path, message in (
        (tmp_path, "is a folder"),
        (tmp_path / "fifo", "not a regular file"),
        (tmp_path / "file" / "s.dvl", "a folder of its path is a file"),
        (tmp_path / "file" / "deeper" / "s.dvl", "a folder of its path is a file"),
        (tmp_path / ("x" * 300), "File name too long"),
    ):
        with pytest.raises(StoreError, match=message):
            put(DiskStore(path), [1])
        with pytest.raises(StoreError, match=message):
            DiskStore(path).get(keys_of([1]))


@pytest.mark.skipif(not Path("/sys/kernel").exists(), reason="needs a folder that nobody may write")
def test_folder_that_is_not_writable():
    with pytest.raises(StoreError, match="no permission to write store"):
        put(DiskStore("/sys/kernel/s.dvl"), [1])
    assert found_numbers(DiskStore("/sys/kernel/s.dvl"), [1]) == set()


def limit_file_size():
    # Python ignores SIGXFSZ, so that writing beyond the limit is an error like a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))


def test_full_disk_loses_nothing(tmp_path):
    path = tmp_path / "s.dvl"
    program = f"""
import numpy as np
from dvl_core.errors import StoreError
from dvl_core.stores import DiskStore
store = DiskStore({str(path)!r})
keys = np.arange(16_000, dtype=np.uint8).reshape(-1, 16).copy()
keys.view("<u8")[:, 0] = np.arange(1_000)
acknowledged = 0
for start in range(0, 1_000, 100):
    batch = slice(start, start + 100)
    try:
        store.put(keys[batch], np.arange(1_000.0)[batch])
    except StoreError as error:
        print(acknowledged, error)
        break
    acknowledged += 100
found = store.get(keys)[1]
assert found[:acknowledged].all()
store.close()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], preexec_fn=limit_file_size, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"300 no space left to write store {path}")
    assert path.stat().st_size == 10_000
    keys = np.arange(16_000, dtype=np.uint8).reshape(-1, 16).copy()
    keys.view("<u8")[:, 0] = np.arange(1_000)
    with DiskStore(path) as store:
        written = (10_000 - len(HEADER)) // RECORD.itemsize
        values, found = store.get(keys)
        assert np.array_equal(np.flatnonzero(found), np.arange(written))
        assert np.array_equal(values[:written], np.arange(float(written)))
        store.put(keys[500:], np.arange(500.0, 1_000.0))
        assert store.n_damaged == 0
    assert DiskStore(path).get(keys[500:])[1].all()


# -- crashes and damage --------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [0, 1, 7, 15])
def test_a_header_cut_short_is_written_again(tmp_path, kept):
    path = tmp_path / "s.dvl"
    path.write_bytes(HEADER[:kept])
    store = DiskStore(path)
    assert found_numbers(store, [1]) == set()
    put(store, [1])
    assert path.read_bytes()[: len(HEADER)] == HEADER
    assert found_numbers(DiskStore(path), [1]) == {1}


def test_a_torn_record_is_cut_off_by_the_next_writer_only(tmp_path):
    path = tmp_path / "s.dvl"
    with DiskStore(path) as store:
        put(store, range(5))
    whole = path.stat().st_size
    reader = DiskStore(path)
    assert len(reader) == 5
    with path.open("ab") as file:
        file.write(b"torn")
    assert found_numbers(reader, range(10)) == set(range(5))
    assert path.stat().st_size == whole + 4
    with DiskStore(path) as writer:
        put(writer, [5])
    assert path.stat().st_size == whole + RECORD.itemsize
    assert found_numbers(reader, range(10)) == set(range(6))
    assert reader.n_damaged == 0


def test_every_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "s.dvl"
    with DiskStore(path) as store:
        put(store, [1, 2, 3])
    sound = path.read_bytes()
    for bit in range(8 * RECORD.itemsize):
        content = bytearray(sound)
        content[len(HEADER) + RECORD.itemsize + bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        store = DiskStore(path)
        assert found_numbers(store, [1, 2, 3]) == {1, 3}
        assert (len(store), store.n_damaged) == (2, 1)


def test_a_hole_of_zeros_is_noticed(tmp_path):
    """What a file system may leave behind after a power cut."""
    path = tmp_path / "s.dvl"
    with DiskStore(path) as store:
        put(store, [1])
    with path.open("ab") as file:
        file.write(bytes(4_096))
    with DiskStore(path) as store:
        put(store, [2])
        assert found_numbers(store, range(5)) == {1, 2}
    store = DiskStore(path)
    assert found_numbers(store, range(5)) == {1, 2}
    assert (len(store), store.n_damaged) == (2, 4_096 // RECORD.itemsize)


def test_nan_in_the_file_is_damage(tmp_path):
    path = tmp_path / "s.dvl"
    with DiskStore(path) as store:
        put(store, [1])
    from dvl_core.stores.record_file import packed

    with path.open("ab") as file:
        file.write(packed(keys_of([2]), np.array([np.nan])))
    store = DiskStore(path)
    assert found_numbers(store, [1, 2]) == {1}
    assert store.n_damaged == 1


WRITER = """
import sys
import numpy as np
from dvl_core.stores import DiskStore

def keys_of(numbers):
    return np.stack([numbers, numbers * np.uint64(0x9E3779B97F4A7C15)], axis=1).view(np.uint8)

store = DiskStore(sys.argv[1])
for start in range(0, 100_000_000, 50):
    numbers = np.arange(start, start + 50, dtype="<u8")
    store.put(keys_of(numbers), numbers.astype(float) / 3.0 - 1.0)
    print(start + 50, flush=True)
"""


@pytest.mark.parametrize("milliseconds", [1, 5, 23, 60])
def test_what_a_killed_writer_acknowledged_is_there(tmp_path, milliseconds):
    path = tmp_path / "s.dvl"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
    first = writer.stdout.readline()
    killer = threading.Timer(milliseconds / 1000, writer.send_signal, [signal.SIGKILL])
    killer.start()
    rest = writer.stdout.read()
    assert writer.wait() == -signal.SIGKILL
    writer.stdout.close()
    killer.join()
    acknowledged = int((first + rest).split(b"\n")[:-1][-1])
    with DiskStore(path) as store:
        found = found_numbers(store, range(acknowledged + 50))
        assert found >= set(range(acknowledged))
        put(store, [10**9])
        assert store.n_damaged == 0
    assert found_numbers(DiskStore(path), [10**9]) == {10**9}


CONCURRENT = """
import sys
import numpy as np
from dvl_core.stores import DiskStore

def keys_of(numbers):
    return np.stack([numbers, numbers * np.uint64(0x9E3779B97F4A7C15)], axis=1).view(np.uint8)

sys.stdin.readline()
store = DiskStore(sys.argv[1])
order = np.random.default_rng(int(sys.argv[2])).permutation(4_000).astype("<u8")
for part in np.split(order[: 3_000], 100):
    store.put(keys_of(part), part.astype(float) / 3.0 - 1.0)
    assert store.get(keys_of(part))[1].all()
for number in order[: 3_000]:
    print(number)
"""


def test_four_processes_write_at_once(tmp_path):
    path = tmp_path / "s.dvl"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", CONCURRENT, str(path), str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for seed in range(4)
    ]
    for writer in writers:
        writer.stdin.write(b"go\n")
        writer.stdin.flush()
    reader, acknowledged = DiskStore(path), set()
    # What they print fits into their pipes, so they do not wait to be read.
    while any(writer.poll() is None for writer in writers):
        found_numbers(reader, range(4_000))
    for writer in writers:
        acknowledged |= set(map(int, writer.communicate()[0].split()))
        assert writer.returncode == 0
    assert found_numbers(reader, range(4_000)) == acknowledged
    assert len(DiskStore(path)) == len(acknowledged)
    assert path.stat().st_size == len(HEADER) + len(acknowledged) * RECORD.itemsize
    assert reader.n_damaged == 0


def write_in_child(store, start):
    for first in range(start, start + 2_000, 20):
        put(store, range(first, first + 20))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_forked_children_do_not_share_the_lock(tmp_path):
    store = DiskStore(tmp_path / "s.dvl")
    put(store, [10**6])
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=write_in_child, args=(store, 2_000 * i)) for i in (1, 2)]
    for child in children:
        child.start()
    write_in_child(store, 0)
    for child in children:
        child.join()
        assert child.exitcode == 0
    assert found_numbers(store, range(6_000)) == set(range(6_000))
    assert DiskStore(tmp_path / "s.dvl").n_damaged == 0


def test_threads_share_a_disk_store(tmp_path):
    store = DiskStore(tmp_path / "s.dvl")
    threads = [threading.Thread(target=write_in_child, args=(store, 1_000 * i)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found_numbers(DiskStore(tmp_path / "s.dvl"), range(6_000)) == set(range(5_000))


def test_sync_and_close_reach_the_disk(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(descriptor))
    store = DiskStore(tmp_path / "s.dvl")
    put(store, [1])
    store.sync()
    assert len(synced) == 2
    store.sync()
    store.close()
    assert len(synced) == 2
    put(store, [1])
    store.close()
    assert len(synced) == 2
    put(store, [2])
    store.close()
    assert len(synced) == 4


def test_a_failing_sync_is_reported_and_the_file_closed(tmp_path, monkeypatch):
    store = DiskStore(tmp_path / "s.dvl")
    put(store, [1])

    def fail(descriptor):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(StoreError, match=r"cannot write store .*: Input/output error"):
            store.close()
    assert found_numbers(store, [1]) == {1}
