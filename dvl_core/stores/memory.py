"""A ledger in the memory of this process."""

from __future__ import annotations

from collections import deque
from itertools import repeat
from threading import Lock
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from dvl_core.errors import StoreError
from dvl_core.stores.table import RecordTable

if TYPE_CHECKING:
    from dvl_core.protocols import BoolArray, ByteArray, FloatArray

__all__ = [
    "KEY_BYTES",
    "MemoryStore",
    "checked_keys",
    "checked_records",
    "first_of_each",
    "key_names",
]

KEY_BYTES = 16
"""Length of a key: a 128-bit digest."""


_SMALL_BATCH = 512
"""Records up to which a batch is put into a dict faster than into the table."""

_MANY = 131_072
"""Records that are kept in the dict at most."""


def checked_keys(keys: ByteArray) -> ByteArray:
    """Return `keys` [b, 16] in contiguous memory.

    Raises
    ------
    StoreError
        If they have another shape or are not bytes.
    """
    if keys.ndim != 2 or keys.shape[1] != KEY_BYTES or keys.dtype != np.uint8:
        raise StoreError(
            f"store keys must be uint8 of shape [b, {KEY_BYTES}], "
            f"got {keys.dtype} of shape {keys.shape}"
        )
    return np.ascontiguousarray(keys)


def checked_records(keys: ByteArray, values: FloatArray) -> tuple[ByteArray, FloatArray]:
    """Return `keys` [b, 16] and `values` [b], ready to be recorded.

    Raises
    ------
    StoreError
        If the shapes do not match or a value is NaN, which would poison every later run.
    """
    keys = checked_keys(keys)
    values = np.asarray(values, dtype=np.float64)
    if values.shape != (len(keys),):
        raise StoreError(f"{len(keys)} keys came with values of shape {values.shape}")
    if np.isnan(values).any():
        position = int(np.isnan(values).argmax())
        raise StoreError(
            f"value {position} of a batch of {len(values)} is NaN; a store never holds NaN"
        )
    return keys, values


def key_names(keys: ByteArray) -> list[bytes]:
    """Return each of the contiguous `keys` [b, 16] as a bytes object."""
    names: list[bytes] = keys.view(f"V{KEY_BYTES}").reshape(-1).tolist()
    return names


def first_of_each(keys: ByteArray) -> list[int]:
    """Return the positions of the first occurrence of each of the contiguous `keys` [b, 16]."""
    names = key_names(keys)
    # A dict keeps the last of what it is given.
    first = dict(zip(reversed(names), range(len(names) - 1, -1, -1), strict=True))
    return sorted(first.values())


class MemoryStore:
    """A ledger in memory, gone with the process; safe for several threads.

    A pickled copy holds a snapshot of the records, so that workers may look them up.

    Examples
    --------
    >>> import numpy as np
    >>> store = MemoryStore()
    >>> keys = np.arange(32, dtype=np.uint8).reshape(2, 16)
    >>> store.put(keys[:1], np.array([0.5]))
    >>> store.get(keys)
    (array([0.5, 0. ]), array([ True, False]))
    >>> len(store)
    1
    """

    def __init__(self) -> None:
        self._table = RecordTable()
        # What came in small batches, for which a dict is faster; none of it is in the table.
        self._recent: dict[bytes, float] = {}
        self._lock = Lock()

    def get(self, keys: ByteArray) -> tuple[FloatArray, BoolArray]:
        """Look up a batch.

        Parameters
        ----------
        keys : uint8 array [b, 16]
            Digests.

        Returns
        -------
        values : float array [b]
            Recorded values, 0.0 where there is none.
        found : bool array [b]
            Which keys have a record.
        """
        keys = checked_keys(keys)
        with self._lock:
            if not self._recent:
                return self._table.find(keys)
            looked_up = map(self._recent.get, key_names(keys), repeat(np.nan))
            values = np.fromiter(looked_up, dtype=np.float64, count=len(keys))
            missing = np.flatnonzero(np.isnan(values))
            found = np.ones(len(keys), dtype=bool)
            if len(missing):
                values[missing], found[missing] = self._table.find(keys[missing])
        return values, found

    def put(self, keys: ByteArray, values: FloatArray) -> None:
        """Record a batch; a key that has a record keeps it.

        Parameters
        ----------
        keys : uint8 array [b, 16]
            Digests.
        values : float array [b]
            Any number or infinity.

        Raises
        ------
        StoreError
            If a value is NaN or the shapes do not match; nothing of the batch is recorded then.
        """
        keys, values = checked_records(keys, values)
        with self._lock:
            if len(keys) > _SMALL_BATCH:
                self._move_recent()
                self._table.add(keys, values)
                return
            if len(self._table):
                new = ~self._table.find(keys)[1]
                keys, values = keys[new], values[new]
            # Runs the map without a Python loop: the fastest way to first-stays semantics.
            deque(map(self._recent.setdefault, key_names(keys), values.tolist()), maxlen=0)
            if len(self._recent) > _MANY:
                self._move_recent()

    def __len__(self) -> int:
        with self._lock:
            return len(self._table) + len(self._recent)

    def close(self) -> None:
        """Do nothing: there is no file or connection, and the records stay."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            self._move_recent()
            return {"rows": self._table.rows()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._table = RecordTable.of_rows(state["rows"])
        self._recent = {}
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"MemoryStore(<{len(self)} records>)"

    def _move_recent(self) -> None:
        """Bring what came in small batches into the table."""
        if not self._recent:
            return
        keys = np.frombuffer(b"".join(self._recent), dtype=np.uint8).reshape(-1, KEY_BYTES)
        values = np.fromiter(self._recent.values(), dtype=np.float64, count=len(keys))
        self._table.add(keys, values)
        self._recent = {}
