"""Several ledgers as one, fastest first."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from dvl_core.errors import DvlWarning, InvalidOptionError, StoreError
from dvl_core.protocols import Store
from dvl_core.stores.memory import checked_keys, checked_records

if TYPE_CHECKING:
    from dvl_core.protocols import BoolArray, ByteArray, FloatArray

__all__ = ["ChainStore"]


class ChainStore:
    """Stores in a row, fastest first: memory over memcached over disk, say.

    The last store is the ledger: what it has recorded is recorded, and its length is that of the
    chain. Those above are caches of it. Records that are found in a store are copied into those
    above it. A cache that fails is passed over with one warning, and tried again the next time; so
    is the ledger in a look-up, as long as another store answers. A `put` that the ledger refuses
    fails, and leaves nothing in the caches that the ledger lacks.

    Parameters
    ----------
    stores : sequence of Store, str or mapping
        Ready stores, names, or mappings with a name and options: ``{"name": "disk", "path": ...}``.

    Raises
    ------
    InvalidOptionError
        If there is none, one is no store, or a name or an option is unknown.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from dvl_core import DiskStore, MemoryStore
    >>> folder = tempfile.TemporaryDirectory()
    >>> disk = {"name": "disk", "path": f"{folder.name}/ledger.dvl"}
    >>> keys = np.arange(32, dtype=np.uint8).reshape(2, 16)
    >>> with ChainStore(["memory", disk]) as store:
    ...     store.put(keys, np.array([0.5, 0.25]))
    >>> with ChainStore(["memory", disk]) as store:
    ...     store.get(keys[:1])
    ...     [len(part) for part in store.stores]
    (array([0.5]), array([ True]))
    [1, 2]
    >>> folder.cleanup()
    """

    def __init__(self, stores: Iterable[Store | str | Mapping[str, Any]]) -> None:
        from dvl_core.registry import create

        if isinstance(stores, str | Mapping) or not isinstance(stores, Iterable):
            raise InvalidOptionError(f"stores is {stores!r}: it must be a list, fastest first")
        self.stores: tuple[Store, ...] = tuple(create("store", store) for store in stores)
        if not self.stores:
            raise InvalidOptionError("stores is empty: a chain needs at least one store")
        for store in self.stores:
            if not isinstance(store, Store):
                raise InvalidOptionError(f"a {type(store).__name__} in the chain is no store")
        self._warned: set[int] = set()

    def get(self, keys: ByteArray) -> tuple[FloatArray, BoolArray]:
        """Look up a batch, in each store what those above it lack.

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

        Raises
        ------
        StoreError
            If none of the stores can be read.
        """
        keys = checked_keys(keys)
        values, found = np.zeros(len(keys)), np.zeros(len(keys), dtype=bool)
        answered: list[int] = []
        failure: StoreError | None = None
        for level, store in enumerate(self.stores):
            missing = np.flatnonzero(~found)
            if len(missing) == 0:
                break
            try:
                there, known = store.get(keys[missing])
            except StoreError as error:
                failure = error
                self._warn(level, error)
                continue
            rows = missing[known]
            values[rows], found[rows] = there[known], True
            self._copy(keys[rows], values[rows], answered)
            answered.append(level)
        if failure is not None and not answered:
            raise failure
        return values, found

    def put(self, keys: ByteArray, values: FloatArray) -> None:
        """Record a batch in all stores; a key that has a record in the last one keeps it.

        Parameters
        ----------
        keys : uint8 array [b, 16]
            Digests.
        values : float array [b]
            Any number or infinity.

        Raises
        ------
        StoreError
            If a value is NaN, the shapes do not match, or the last store cannot be written.
        """
        keys, values = checked_records(keys, values)
        ledger, caches = len(self.stores) - 1, range(len(self.stores) - 1)
        self.stores[ledger].put(keys, values)
        if not caches or len(keys) == 0:
            return
        try:
            # Another process may have been first: caches hold what the ledger holds.
            kept, found = self.stores[ledger].get(keys)
        except StoreError as error:
            self._warn(ledger, error)
            return
        self._copy(keys[found], kept[found], caches)

    def __len__(self) -> int:
        return len(self.stores[-1])

    def close(self) -> None:
        """Close all stores, also when one of them fails, and then say so; safe to call twice."""
        with ExitStack() as stack:
            for store in reversed(self.stores):
                stack.callback(store.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"ChainStore({list(self.stores)!r})"

    def _copy(self, keys: ByteArray, values: FloatArray, levels: Iterable[int]) -> None:
        """Record a batch in some stores, none of which has to succeed."""
        if len(keys) == 0:
            return
        for level in levels:
            try:
                self.stores[level].put(keys, values)
            except StoreError as error:
                self._warn(level, error)

    def _warn(self, level: int, error: StoreError) -> None:
        """Tell once that a store is passed over."""
        if level in self._warned:
            return
        self._warned.add(level)
        warnings.warn(
            f"store {level + 1} of {len(self.stores)} of the chain fails and is passed over, to be "
            f"tried again each time: {error}",
            DvlWarning,
            stacklevel=3,
        )
