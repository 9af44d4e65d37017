"""A ledger in the memory of this process."""

from __future__ import annotations

from collections import deque
from itertools import repeat
from threading import Lock
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from dvl_core.errors import StoreError

if TYPE_CHECKING:
    from dvl_core.protocols import BoolArray, ByteArray, FloatArray

__all__ = ["KEY_BYTES", "MemoryStore", "checked_keys", "checked_records", "key_names"]

KEY_BYTES = 16
"""Length of a key: a 128-bit digest."""


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
        self._records: dict[bytes, float] = {}
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
        names = key_names(checked_keys(keys))
        with self._lock:
            looked_up = map(self._records.get, names, repeat(np.nan))
            values = np.fromiter(looked_up, dtype=np.float64, count=len(names))
        found = ~np.isnan(values)
        values[~found] = 0.0
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
        names = key_names(keys)
        with self._lock:
            # Runs the map without a Python loop: the fastest way to first-stays semantics.
            deque(map(self._records.setdefault, names, values.tolist()), maxlen=0)

    def __len__(self) -> int:
        return len(self._records)

    def close(self) -> None:
        """Do nothing: there is no file or connection, and the records stay."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            return {"records": dict(self._records)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._records = state["records"]
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"MemoryStore(<{len(self)} records>)"
