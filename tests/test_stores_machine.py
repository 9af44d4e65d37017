"""A state machine drives the stores through all that may happen to them.

Two instances write to one ledger, at once from threads too; writers die or are interrupted in the
middle of an append; ledgers are copied while they are written, cut off, garbled and deleted in
part. What the machine expects it derives from the bytes on the disk: a record that was acknowledged
must be found for as long as its 28 bytes are there, to the bit, and nothing else may be found.
"""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import dvl_core.stores.disk as disk_module
from dvl_core.errors import StoreError
from dvl_core.stores import ChainStore, DiskStore, MemoryStore
from dvl_core.stores.record_file import HEADER, RECORD
from dvl_zarr import ZarrStore
from dvl_zarr.objects import Objects
from dvl_zarr.segments import Segment

SIZE = RECORD.itemsize
NUMBERS = range(48)

batches = st.lists(st.sampled_from(NUMBERS), max_size=14)
shares = st.floats(0, 1)
instances = st.integers(0, 1)


def keys_of(numbers):
    numbers = np.asarray(numbers, dtype="<u8").reshape(-1)
    return np.stack([numbers, numbers * np.uint64(0x9E3779B97F4A7C15)], axis=1).view(np.uint8)


def values_of(numbers):
    return np.asarray(numbers, dtype=np.float64).reshape(-1) / 3.0 - 1.0


def row_of(number):
    content = keys_of([number]).tobytes() + struct.pack("<d", values_of([number])[0])
    return content + struct.pack("<I", crc32(content))


ROWS = {row_of(number): number for number in NUMBERS}


def rows_in(content):
    """The whole rows of a file."""
    return [content[start : start + SIZE] for start in range(0, len(content) - SIZE + 1, SIZE)]


class Killed(BaseException):
    """What a writer does not live to see."""


class DiskLedger:
    """Where a disk store keeps its records, and how it dies."""

    def __init__(self, folder):
        self.path = Path(folder, "ledger.dvl")

    def make(self, path=None):
        return DiskStore(path or self.path)

    def files(self):
        return [self.path] if self.path.exists() else []

    def vital(self, path):
        """How many of the first bytes of a file make it a ledger."""
        return len(HEADER)

    def rows(self):
        return rows_in(self.path.read_bytes()[len(HEADER) :]) if self.path.exists() else []

    def n_damaged(self):
        return sum(row not in ROWS for row in self.rows())

    def of_record(self, store):
        """The store whose records are on the disk."""
        return store

    def copy(self, target):
        shutil.copyfile(self.path, target)

    @contextmanager
    def dying(self, share, late):
        """Let the next append write a part of its bytes, and no more."""

        def die(file, content):
            file.write(content[: int(share * len(content))])
            raise Killed

        whole, disk_module.write_all = disk_module.write_all, die
        try:
            yield
        finally:
            disk_module.write_all = whole


class ChainLedger(DiskLedger):
    """The same under a memory store."""

    def make(self, path=None):
        return ChainStore([MemoryStore(), super().make(path)])

    def of_record(self, store):
        return store.stores[-1]


class ZarrLedger:
    """Where a zarr store keeps its records, and how it dies."""

    def __init__(self, folder):
        self.path = Path(folder, "ledger")

    def make(self, path=None):
        return ZarrStore(path or self.path, chunk_records=4, compact_at=5)

    def files(self):
        return sorted(p for p in self.path.rglob("*") if p.is_file())

    def vital(self, path):
        return path.stat().st_size if path.parent == self.path else 0

    def rows(self):
        """Rows that can be reached: all of a segment that lost its document, else its first n."""
        return [row for _, rows in self._segments() for row in rows]

    def n_damaged(self):
        damaged = 0
        for n_records, rows in self._segments():
            if n_records is None:
                damaged += sum(row not in ROWS and any(row) for row in rows)
            else:
                damaged += n_records - sum(row in ROWS for row in rows)
        return damaged

    def _segments(self):
        """What the document of each segment acknowledges, and the rows that are there."""
        for folder in filter(Path.is_dir, self.path.glob("*")):
            chunks = {int(p.parent.name): rows_in(p.read_bytes()) for p in folder.glob("c/*/0")}
            document = folder / "zarr.json"
            segment = Segment.parsed(document.read_bytes()) if document.exists() else None
            if segment is None:
                yield None, [row for rows in chunks.values() for row in rows]
                continue
            count = segment.n_records
            kept = [rows[: max(0, count - 4 * number)] for number, rows in chunks.items()]
            yield count, [row for rows in kept for row in rows]

    def of_record(self, store):
        """The store whose records are on the disk."""
        return store

    def copy(self, target):
        for path in self.files():
            copy = target / path.relative_to(self.path)
            copy.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                shutil.copyfile(path, copy)

    @contextmanager
    def dying(self, share, late):
        """Let the next objects be written in part; the others stay on their way in `late`."""
        write, left = Objects.write, [int(share * 6)]

        def die(objects, contents):
            contents = list(contents)
            write(objects, contents[: left[0]])
            rest = contents[left[0] :]
            left[0] -= len(contents) - len(rest)
            if rest:
                late.extend(rest)
                name, content = rest[0]
                torn = self.path / f"{name}.0123.partial"
                if torn.parent.is_dir():
                    torn.write_bytes(content[: len(content) // 2])
                raise Killed

        Objects.write = die
        try:
            yield
        finally:
            Objects.write = write


class StoreMachine(RuleBasedStateMachine):
    """Two instances on one ledger.

    `certain` holds the numbers whose records must be found, `possible` those that may be: they were
    on their way when their writer died.
    """

    kind: type

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.ledger = self.kind(self.folder.name)
        self.stores = [self.ledger.make(), self.ledger.make()]
        self.certain, self.possible = set(), set()
        self.late = []

    def teardown(self):
        try:
            for store in self.stores:
                self.check(store)
                store.close()
        finally:
            self.folder.cleanup()

    @property
    def is_zarr(self):
        return self.kind is ZarrLedger

    def found(self, store, numbers=NUMBERS):
        """Numbers whose records are found; whatever is found must be right, to the bit."""
        values, found = store.get(keys_of(numbers))
        wanted = np.where(found, values_of(numbers), 0.0)
        assert values.tobytes() == wanted.tobytes()
        return set(np.asarray(numbers)[found].tolist())

    def records(self, numbers):
        """Keys and values to put: another value for what is there, which must not be taken."""
        numbers = np.asarray(numbers, dtype=np.int64)
        first = dict(zip(reversed(numbers.tolist()), range(len(numbers))[::-1], strict=True))
        values = values_of(numbers)
        for position, number in enumerate(numbers.tolist()):
            if number in self.certain or first[number] != position:
                values[position] += 1.0
        return keys_of(numbers), values

    def reopen(self):
        """Open everything anew: what was in memory is gone."""
        for number, store in enumerate(self.stores):
            store.close()
            self.stores[number] = self.ledger.make()

    def after_damage(self):
        there = {ROWS[row] for row in self.ledger.rows() if row in ROWS}
        self.certain &= there
        self.possible &= there
        self.late.clear()

    # -- what a ledger is for --------------------------------------------------------------------

    @rule(which=instances, numbers=batches)
    def put(self, which, numbers):
        self.stores[which].put(*self.records(numbers))
        self.certain |= set(numbers)

    @rule(which=instances, one=batches, other=batches)
    def put_from_two_threads(self, which, one, other):
        shares = [(self.stores[0], one), (self.stores[which], other)]
        failures = []

        def work(store, numbers):
            try:
                for start in range(0, len(numbers), 3):
                    part = numbers[start : start + 3]
                    store.put(keys_of(part), values_of(part))
                    assert self.found(store, part) == set(part)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=share) for share in shares]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        self.certain |= {*one, *other}

    @rule(which=instances, numbers=batches)
    def get(self, which, numbers):
        self.check(self.stores[which], numbers)

    # -- opening and closing ---------------------------------------------------------------------

    @rule(which=instances)
    def close(self, which):
        self.stores[which].close()

    @rule(which=instances)
    def leave_without_closing(self, which):
        self.stores[which] = self.ledger.make()

    @precondition(lambda self: self.is_zarr)
    @rule(which=instances)
    def merge(self, which):
        self.stores[which].compact()

    @precondition(lambda self: self.is_zarr)
    @rule(which=instances)
    def merge_all(self, which):
        # Nobody else may be at work, and nothing on its way.
        self.late.clear()
        self.stores[1 - which].close()
        self.stores[which].compact(all_writers=True)

    # -- crashes ---------------------------------------------------------------------------------

    @rule(which=instances, numbers=batches, share=shares, goes_on=st.booleans())
    def die_in_the_middle_of_an_append(self, which, numbers, share, goes_on):
        store, records = self.stores[which], self.records(numbers)
        late = []
        with self.ledger.dying(share, late):
            try:
                store.put(*records)
            except Killed:
                self.possible |= set(numbers)
            else:
                self.certain |= set(numbers)
        if goes_on:
            self.late += late
        else:
            self.stores[which] = self.ledger.make()

    @precondition(lambda self: self.late)
    @rule()
    def what_was_on_its_way_arrives(self):
        objects = Objects(str(self.ledger.path), {})
        objects.write(self.late)
        self.late.clear()

    @precondition(lambda self: self.ledger.files())
    @rule(numbers=batches)
    def copy_at_any_moment(self, numbers):
        writer = threading.Thread(
            target=self.stores[0].put, args=(keys_of(numbers), values_of(numbers))
        )
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, "copy")
            writer.start()
            self.ledger.copy(copy)
            writer.join()
            with self.ledger.make(copy) as store:
                found = self.found(store)
                assert self.certain <= found <= self.certain | self.possible | set(numbers)
        self.certain |= set(numbers)

    # -- damage ----------------------------------------------------------------------------------

    @precondition(lambda self: self.ledger.files())
    @rule(file=shares, share=shares)
    def cut(self, file, share):
        self.reopen()
        path = self.chosen(file)
        size = path.stat().st_size
        vital = min(size, self.ledger.vital(path))
        os.truncate(path, vital + int(share * (size - vital)))
        self.after_damage()

    @precondition(lambda self: self.ledger.files())
    @rule(file=shares, share=shares, garbage=st.binary(min_size=1, max_size=70))
    def garble(self, file, share, garbage):
        self.reopen()
        path = self.chosen(file)
        content, vital = bytearray(path.read_bytes()), self.ledger.vital(path)
        start = vital + int(share * (len(content) - vital))
        changed = content[start : start + len(garbage)]
        content[start : start + len(garbage)] = garbage[: len(changed)]
        path.write_bytes(content)
        self.after_damage()

    @precondition(lambda self: self.is_zarr and self.ledger.files())
    @rule(file=shares)
    def delete_a_file(self, file):
        self.reopen()
        path = self.chosen(file)
        if not self.ledger.vital(path):
            path.unlink()
        self.after_damage()

    @precondition(lambda self: self.ledger.files())
    @rule(share=shares, garbage=st.binary(min_size=1, max_size=30))
    def garble_what_makes_it_a_ledger(self, share, garbage):
        self.reopen()
        path = next(p for p in self.ledger.files() if self.ledger.vital(p))
        sound = path.read_bytes()
        vital = self.ledger.vital(path)
        garbage = garbage[:vital]
        start = int(share * (vital - len(garbage)))
        path.write_bytes(sound[:start] + garbage + sound[start + len(garbage) :])
        before = {p: p.read_bytes() for p in self.ledger.files()}
        try:
            # Unless nothing that counts was hit.
            self.check(self.ledger.of_record(self.ledger.make()))
        except StoreError:
            with pytest.raises(StoreError):
                self.stores[0].put(keys_of([0]), values_of([0]))
            assert {p: p.read_bytes() for p in self.ledger.files()} == before
        path.write_bytes(sound)
        self.reopen()

    def chosen(self, share):
        files = self.ledger.files()
        return files[min(int(share * len(files)), len(files) - 1)]

    # -- what must hold --------------------------------------------------------------------------

    @invariant()
    def nothing_acknowledged_is_lost_and_nothing_wrong_is_found(self):
        # Another store looks, so that those of the machine are not always up to date.
        fresh = self.ledger.make()
        found = self.check(fresh)
        assert len(fresh) == len(found)
        assert self.ledger.of_record(fresh).n_damaged == self.ledger.n_damaged()

    def check(self, store, numbers=NUMBERS):
        found = self.found(store, numbers)
        assert self.certain.intersection(numbers) <= found <= self.certain | self.possible
        return found


class DiskMachine(StoreMachine):
    kind = DiskLedger


class ChainMachine(StoreMachine):
    kind = ChainLedger


class ZarrMachine(StoreMachine):
    kind = ZarrLedger


ORDINARY = settings(
    max_examples=15,
    stateful_step_count=15,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
)
LONG = settings(ORDINARY, max_examples=300, stateful_step_count=40, derandomize=False)


class TestDisk(DiskMachine.TestCase):
    settings = ORDINARY


class TestChain(ChainMachine.TestCase):
    settings = ORDINARY


class TestZarr(ZarrMachine.TestCase):
    settings = ORDINARY


@pytest.mark.slow
@pytest.mark.timeout(1800)
class TestDiskLong(DiskMachine.TestCase):
    settings = LONG


@pytest.mark.slow
@pytest.mark.timeout(1800)
class TestChainLong(ChainMachine.TestCase):
    settings = LONG


@pytest.mark.slow
@pytest.mark.timeout(1800)
class TestZarrLong(ZarrMachine.TestCase):
    settings = LONG
