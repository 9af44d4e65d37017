"""A hash table of records that is searched and filled by whole batches, in numpy.

A dict of Python's objects costs some four misses of the processor's caches for each key, one after
the other; here they overlap, and a record takes a quarter of the memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dvl_core.protocols import AnyArray, BoolArray, ByteArray, FloatArray, IntArray

__all__ = ["RecordTable"]

_SMALLEST = 1024
# Odd numbers with well mixed bits: the golden ratio, and a prime of the hash function xxHash.
_MIX = np.uint64(0xC2B2AE3D27D4EB4F)
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


class RecordTable:
    """Values by 16-byte keys; the first value of a key stays.

    Open addressing with linear probing. `_slots` [capacity], at most half of them in use, hold
    positions in `_rows` [., 3]: the two halves of the key, and the bits of the value.

    Examples
    --------
    >>> table = RecordTable()
    >>> keys = np.arange(32, dtype=np.uint8).reshape(2, 16)
    >>> table.add(keys[:1], np.array([0.5]))
    >>> table.find(keys)
    (array([0.5, 0. ]), array([ True, False]))
    """

    def __init__(self) -> None:
        self._rows: NDArray[np.uint64] = np.empty((0, 3), dtype=np.uint64)
        self._count = 0
        self._make_slots(_SMALLEST)

    def _make_slots(self, at_least: int) -> None:
        """Make new slots, all empty: a power of two of them."""
        bits = max(at_least - 1, 1).bit_length()
        self._slots: NDArray[np.int64] = np.full(1 << bits, -1, dtype=np.int64)
        self._mask = (1 << bits) - 1
        self._shift = np.uint64(64 - bits)

    def __len__(self) -> int:
        return self._count

    def find(self, keys: ByteArray) -> tuple[FloatArray, BoolArray]:
        """Return values [b], 0.0 where there is none, and which of `keys` [b, 16] have one."""
        positions, _ = self._search(_halves(keys))
        found = positions >= 0
        bits = np.zeros(len(keys), dtype=np.uint64)
        bits[found] = self._rows[positions[found], 2]
        return bits.view(np.float64), found

    def add(self, keys: ByteArray, values: FloatArray) -> None:
        """Add `values` [b] under those of `keys` [b, 16] that have none."""
        halves = _halves(keys)
        positions, slots = self._search(halves)
        new = positions < 0
        rows = np.empty((int(new.sum()), 3), dtype=np.uint64)
        rows[:, :2] = halves[new]
        rows[:, 2] = values.view(np.uint64)[new]
        self._append(rows, slots[new])

    def rows(self) -> AnyArray:
        """Return a copy of all records: uint64 [n, 3]."""
        return self._rows[: self._count].copy()

    @classmethod
    def of_rows(cls, rows: AnyArray) -> RecordTable:
        """Return a table of what `rows` returned."""
        table = cls()
        table._append(rows, table._start_of(rows))
        return table

    def _search(self, halves: AnyArray) -> tuple[IntArray, IntArray]:
        """Return where each key [b, 2] is, -1 if nowhere, and the slot where that came out."""
        slots = self._start_of(halves)
        positions = np.full(len(halves), -1, dtype=np.int64)
        pending = np.arange(len(halves)) if self._count else np.empty(0, dtype=np.int64)
        while len(pending):
            at = self._slots[slots[pending]]
            pending, at = pending[at >= 0], at[at >= 0]
            same = _equal(self._rows[at], halves[pending])
            positions[pending[same]] = at[same]
            pending = pending[~same]
            slots[pending] = (slots[pending] + 1) & self._mask
        return positions, slots

    def _append(self, rows: AnyArray, slots: IntArray) -> None:
        """Add rows whose keys are not there, though the same key may come twice."""
        first, needed = self._count, self._count + len(rows)
        if 2 * needed > len(self._slots):
            self._grow_slots(4 * needed)
            slots = self._start_of(rows)
        if needed > len(self._rows):
            grown = np.empty((max(2 * len(self._rows), needed, _SMALLEST), 3), dtype=np.uint64)
            grown[:first] = self._rows[:first]
            self._rows = grown
        self._rows[first:needed] = rows
        # Counted before they are found: what an interrupt leaves half done is never overwritten.
        self._count = needed
        kept = self._claim(first, slots)
        if not kept.all():
            self._count = first + int(kept.sum())
            self._rows[first : self._count] = rows[kept]
            self._slots[slots[kept]] = np.arange(first, self._count)

    def _grow_slots(self, at_least: int) -> None:
        """Move to more slots, all at once."""
        larger = RecordTable()
        larger._make_slots(at_least)
        larger._rows = self._rows
        larger._claim(0, larger._start_of(self._rows[: self._count]))
        self._slots, self._mask, self._shift = larger._slots, larger._mask, larger._shift

    def _claim(self, first: int, slots: IntArray) -> BoolArray:
        """Find a slot for each row from position `first` on; return which are no repetitions.

        The slots where the search ended are left in `slots`.
        """
        mine = np.arange(first, first + len(slots))
        kept = np.ones(len(slots), dtype=bool)
        pending = np.arange(len(slots))
        while len(pending):
            empty = pending[self._slots[slots[pending]] < 0]
            # Of several rows that claim a slot the first shall have it, and numpy lets the last
            # one win. Equal keys go the same way, step by step, so the first of them gets it.
            self._slots[slots[empty[::-1]]] = mine[empty[::-1]]
            at = self._slots[slots[pending]]
            others = at != mine[pending]
            pending, at = pending[others], at[others]
            same = _equal(self._rows[at], self._rows[mine[pending]])
            kept[pending[same]] = False
            pending = pending[~same]
            slots[pending] = (slots[pending] + 1) & self._mask
        return kept

    def _start_of(self, halves: AnyArray) -> IntArray:
        """Return the slot where the search for each key [b, 2 or more] begins."""
        mixed = (halves[:, 0] ^ (halves[:, 1] * _MIX)) * _SPREAD
        start: IntArray = (mixed >> self._shift).astype(np.int64)
        return start


def _halves(keys: ByteArray) -> AnyArray:
    """Return the contiguous `keys` [b, 16] as uint64 [b, 2]."""
    return keys.view(np.uint64)


def _equal(rows: AnyArray, others: AnyArray) -> BoolArray:
    """Return whether the keys of two arrays [b, 2 or more] are equal."""
    equal: BoolArray = (rows[:, 0] == others[:, 0]) & (rows[:, 1] == others[:, 1])
    return equal
