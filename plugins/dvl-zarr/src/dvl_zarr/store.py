"""A ledger in zarr: every writer appends to an array of its own, so nothing is ever locked.

Four rules keep it sound:

- Objects are replaced whole. A put writes the chunks, and then the document of the segment, which
  acknowledges them.
- Nobody writes to the segment of another. A writer that failed or was interrupted in a put goes on
  in a new segment.
- A segment is removed only when all its records are in another one that is complete.
- Every record has its own checksum, so that damage costs what it covers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from threading import RLock
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from dvl_core.errors import InvalidOptionError
from dvl_core.stores.memory import checked_keys, checked_records, first_of_each
from dvl_core.stores.record_file import packed
from dvl_zarr.merging import merge
from dvl_zarr.objects import Objects, location
from dvl_zarr.reader import Reader
from dvl_zarr.segments import DOCUMENT, ROOT
from dvl_zarr.writer import Writer

if TYPE_CHECKING:
    from zarr.abc.store import Store as ZarrObjectStore

    from dvl_core.protocols import BoolArray, ByteArray, FloatArray

__all__ = ["ZarrStore"]


class ZarrStore:
    """A ledger in a group of zarr, in a folder or an object store, for any number of writers.

    Once `put` has returned, its records survive whatever happens to the process, SIGKILL included,
    where whole objects are written at once or not at all: in local folders and object stores. What
    others have put is found. Damage costs the records that it covers: they are found no more, and
    never read as something else; `n_damaged` counts them.

    Constructing touches nothing: the ledger is opened at the first use and created by the first
    `put`. A pickled copy is the path and the options: it opens the ledger for itself.

    Parameters
    ----------
    path : str, path-like or zarr.abc.store.Store
        A folder, a URL that fsspec knows (``"s3://bucket/ledger"``), or a store of zarr.
    chunk_records : int
        Records in a chunk, of 28 bytes each. A `put` writes the chunk again that is not full.
    compact_at : int
        `close` merges what closed writers have left behind, once there are this many arrays of
        less than a chunk; 0: never.
    refresh_seconds : float
        For how long `get` and `put` may miss what other writers have put; 0: they always look.
    storage_options : mapping, optional
        What fsspec is told besides the URL.

    Raises
    ------
    InvalidOptionError
        If an option is none of these.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> keys = np.arange(32, dtype=np.uint8).reshape(2, 16)
    >>> with ZarrStore(f"{folder.name}/ledger") as store:
    ...     store.put(keys[:1], np.array([0.5]))
    >>> with ZarrStore(f"{folder.name}/ledger") as store:
    ...     store.get(keys)
    (array([0.5, 0. ]), array([ True, False]))
    >>> folder.cleanup()
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | ZarrObjectStore,
        *,
        chunk_records: int = 4096,
        compact_at: int = 64,
        refresh_seconds: float = 0.0,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        if chunk_records < 1:
            raise InvalidOptionError(f"chunk_records is {chunk_records}: it must be at least 1")
        if compact_at < 0 or not refresh_seconds >= 0.0:
            raise InvalidOptionError("compact_at and refresh_seconds must not be negative")
        self.path = location(path)
        self.chunk_records = chunk_records
        self.compact_at = compact_at
        self.refresh_seconds = refresh_seconds
        self.storage_options = dict(storage_options or {})
        self._start_over()

    def get(self, keys: ByteArray) -> tuple[FloatArray, BoolArray]:
        """Look up a batch; what other writers have put is found.

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
            If the ledger cannot be read or is none.
        """
        keys = checked_keys(keys)
        with self._in_use():
            values, found = self._reader.index.get(keys)
            if not found.all() and self._is_due():
                self._refresh()
                values, found = self._reader.index.get(keys)
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
            If a value is NaN, the shapes do not match, or the ledger cannot be written. What was
            recorded before stays.
        """
        keys, values = checked_records(keys, values)
        if len(keys) == 0:
            return
        with self._in_use():
            unknown = np.flatnonzero(~self._reader.index.get(keys)[1])
            if len(unknown) and self._is_due():
                self._refresh()
                unknown = np.flatnonzero(~self._reader.index.get(keys)[1])
            rows = unknown[first_of_each(keys[unknown])]
            if len(rows):
                self._append(packed(keys[rows], values[rows]))
                self._reader.index.put(keys[rows], values[rows])

    def __len__(self) -> int:
        with self._in_use():
            self._refresh()
            return len(self._reader.index)

    @property
    def n_damaged(self) -> int:
        """Number of records that are damaged or missing, and were skipped."""
        with self._in_use():
            self._refresh()
            return self._reader.n_damaged

    def compact(self, *, all_writers: bool = False) -> int:
        """Merge small arrays that closed writers have left behind into one.

        Arrays with damaged records are left as they are.

        Parameters
        ----------
        all_writers : bool
            Merge also those whose writers have not closed them, and close the large ones, so that
            nobody looks into them again: the writers were killed, or are still at work. Only for a
            ledger to which nobody else writes: records that are put meanwhile would be lost.

        Returns
        -------
        int
            How many were merged; 0 if there were fewer than two.

        Raises
        ------
        StoreError
            If the ledger cannot be read or written. No record is lost.
        """
        with self._in_use():
            self._refresh()
            if all_writers:
                self._writer = None
            return self._merge(at_least=2, all_writers=all_writers)

    def close(self) -> None:
        """Close the array of this writer, and merge small ones; safe to call twice."""
        with self._in_use():
            try:
                if self._writer is not None:
                    self._refresh()
                if self._writer is not None:
                    self._writer.close(self._objects)
                    if self.compact_at:
                        self._merge(at_least=max(2, self.compact_at), all_writers=False)
            finally:
                self._forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[..., Self], tuple[Any, ...]]:
        made = partial(
            type(self),
            chunk_records=self.chunk_records,
            compact_at=self.compact_at,
            refresh_seconds=self.refresh_seconds,
            storage_options=self.storage_options,
        )
        return made, (self.path,)

    def __repr__(self) -> str:
        return f"ZarrStore({self.path!r})"

    def _start_over(self) -> None:
        """Begin with nothing read and nothing open, in this process."""
        self._process = os.getpid()
        self._lock = RLock()
        self._forget()

    def _forget(self) -> None:
        """Drop what was opened and read."""
        self._opened: tuple[Objects, Reader] | None = None
        self._writer: Writer | None = None
        self._looked = -np.inf

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        """Keep other threads out; a forked child is a writer of its own."""
        if self._process != os.getpid():
            self._start_over()
        with self._lock:
            yield

    @property
    def _objects(self) -> Objects:
        return self._open()[0]

    @property
    def _reader(self) -> Reader:
        return self._open()[1]

    def _open(self) -> tuple[Objects, Reader]:
        if self._opened is None:
            objects = Objects(self.path, self.storage_options)
            self._opened = objects, Reader(objects, str(self.path))
        return self._opened

    def _is_due(self) -> bool:
        return time.monotonic() - self._looked >= self.refresh_seconds

    def _refresh(self) -> None:
        """Read what was put since the last look."""
        self._looked = time.monotonic()
        own = self._writer.name if self._writer is not None else None
        self._reader.refresh(own)
        if own not in self._reader.n_read:
            self._writer = None

    def _append(self, rows: bytes) -> None:
        """Add records to the segment of this writer."""
        if not self._reader.is_ledger:
            self._objects.write([(DOCUMENT, ROOT)])
            self._reader.is_ledger = True
        writer = self._writer or Writer.of_new_segment(self.chunk_records)
        # None until all is written: one that fails or is interrupted is not used again.
        self._writer = None
        self._writer = writer.append(self._objects, rows)
        self._reader.n_read[writer.name] = self._writer.segment.n_records

    def _merge(self, *, at_least: int, all_writers: bool) -> int:
        return merge(
            self._objects,
            self._reader,
            chunk_records=self.chunk_records,
            at_least=at_least,
            all_writers=all_writers,
        )
