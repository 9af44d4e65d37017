"""A ledger in one append-only file, for any number of processes at once.

Three rules keep it sound:

- Writers hold an exclusive lock of the file, read what others have appended, and append.
- Whole records are never removed. Only an incomplete record at the end, which a killed writer
  leaves behind, is cut off, by the next writer and under its lock: what a reader has read stays
  where it was.
- Every record has its own checksum, at a position that damage elsewhere cannot shift, so garbage
  costs the records that it covers and no others.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Self

import numpy as np

from dvl_core.errors import StoreError
from dvl_core.stores.memory import (
    KEY_BYTES,
    MemoryStore,
    checked_keys,
    checked_records,
    first_of_each,
)
from dvl_core.stores.record_file import (
    HEADER,
    RECORD,
    check_header,
    explanation,
    file_size,
    locked,
    packed,
    sound_records,
    sync_folder,
    whole_records_end,
    write_all,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dvl_core.protocols import AnyArray, BoolArray, ByteArray, FloatArray

__all__ = ["DiskStore"]

_CHUNK_BYTES = 65_536 * RECORD.itemsize


class DiskStore:
    """A ledger in a file, safe against crashes and for several processes at once.

    Once `put` has returned, its records survive whatever happens to the process, SIGKILL
    included; a failure of the whole machine they survive once `sync` or `close` has returned.
    Damage to the file costs the records that it covers: they are found no more, and never read as
    something else. `n_damaged` counts them.

    Constructing touches nothing. The file is opened at the first use, created with its parent
    folders by the first `put`, and opened again by a use after `close`. A pickled copy is the path:
    it opens the file for itself.

    Parameters
    ----------
    path : path-like
        The file; made absolute at once, so that workers elsewhere find it.

    Notes
    -----
    Processes are kept apart by ``flock``. Where a network file system does not honour it, give
    each machine its own file. Windows has no ``flock``, and no disk store.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> keys = np.arange(32, dtype=np.uint8).reshape(2, 16)
    >>> with DiskStore(f"{folder.name}/ledger.dvl") as store:
    ...     store.put(keys[:1], np.array([0.5]))
    >>> with DiskStore(f"{folder.name}/ledger.dvl") as store:
    ...     store.get(keys)
    (array([0.5, 0. ]), array([ True, False]))
    >>> folder.cleanup()
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        self._file: FileIO | None = None
        self._unsynced = False
        self._start_over()

    def get(self, keys: ByteArray) -> tuple[FloatArray, BoolArray]:
        """Look up a batch; what other processes have recorded is found.

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
            If the file cannot be read or is no store.
        """
        keys = checked_keys(keys)
        with self._in_use("read"):
            values, found = self._index.get(keys)
            if not found.all() and self._refresh():
                values, found = self._index.get(keys)
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
            If a value is NaN, the shapes do not match, or the file cannot be written. What was
            recorded before stays.
        """
        keys, values = checked_records(keys, values)
        if len(keys) == 0:
            return
        with self._in_use("write"):
            file = self._open_for_writing()
            with locked(file, exclusive=True):
                self._read_new(file, file_size(file))
                unknown = np.flatnonzero(~self._index.get(keys)[1])
                rows = unknown[first_of_each(keys[unknown])]
                self._append(file, keys[rows], values[rows])

    def __len__(self) -> int:
        with self._in_use("read"):
            self._refresh()
            return len(self._index)

    @property
    def n_damaged(self) -> int:
        """Number of damaged records that were met, and skipped, since the file was opened."""
        with self._in_use("read"):
            self._refresh()
            return self._n_damaged

    def sync(self) -> None:
        """Bring all records to the disk itself.

        Raises
        ------
        StoreError
            If the operating system cannot.
        """
        with self._in_use("write"):
            if self._unsynced and self._file is not None:
                os.fsync(self._file.fileno())
                sync_folder(self.path.parent)
            self._unsynced = False

    def close(self) -> None:
        """Sync and close the file; safe to call twice, and a later use opens it again."""
        with self._in_use("write"):
            try:
                self.sync()
            finally:
                self._forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[type[Self], tuple[str]]:
        return type(self), (str(self.path),)

    def __repr__(self) -> str:
        return f"DiskStore({str(self.path)!r})"

    def _start_over(self) -> None:
        """Begin with nothing read and nothing open, in this process."""
        self._process = os.getpid()
        self._lock = RLock()
        self._forget()

    def _forget(self) -> None:
        """Drop the file and what was read from it."""
        if self._file is not None:
            self._file.close()
        self._file = None
        self._index = MemoryStore()
        self._end = 0
        self._n_damaged = 0

    @contextmanager
    def _in_use(self, action: str) -> Iterator[None]:
        """Keep other threads out, and turn what the operating system says into a sentence."""
        if self._process != os.getpid():
            # A forked child shares the open file of its parent, and with it the lock: they would
            # not keep each other out.
            self._start_over()
        with self._lock:
            try:
                yield
            except StoreError:
                raise
            except OSError as error:
                raise StoreError(explanation(action, self.path, error)) from error

    def _refresh(self) -> bool:
        """Read what was appended since the last look; return whether there was anything."""
        size = self._current_size()
        if size == 0:
            return False
        if self._file is None:
            self._file = FileIO(self.path, "r")
        if self._end and whole_records_end(size) == self._end:
            return False
        with locked(self._file, exclusive=False):
            settled = file_size(self._file)
        # What is complete while no writer is at work never changes: no lock is needed to read it.
        self._read_new(self._file, settled)
        return True

    def _current_size(self) -> int:
        """Return the size of the file at the path, 0 if there is none.

        If it is not the file that was read, or has become shorter, what was read is forgotten.
        """
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            self._forget()
            return 0
        if stat.S_ISDIR(status.st_mode):
            raise StoreError(f"store {self.path} is a folder; give the path of a file")
        if not stat.S_ISREG(status.st_mode):
            raise StoreError(f"store {self.path} is not a regular file; choose another path")
        if self._file is not None:
            same = os.path.samestat(status, os.fstat(self._file.fileno()))
            if not same or status.st_size < self._end:
                self._forget()
        return status.st_size

    def _open_for_writing(self) -> FileIO:
        """Return the file at the path, created if need be."""
        self._current_size()
        if self._file is None or not self._file.writable():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = FileIO(self.path, "a+")
            if self._file is not None:
                self._file.close()
            self._file = file
        return self._file

    def _read_new(self, file: FileIO, size: int) -> None:
        """Take in the complete records after those read so far, of the first `size` bytes."""
        if self._end == 0:
            check_header(os.pread(file.fileno(), len(HEADER), 0), self.path)
            if size < len(HEADER):
                return
            self._end = len(HEADER)
        end = whole_records_end(size)
        while self._end < end:
            wanted = min(end - self._end, _CHUNK_BYTES)
            content = os.pread(file.fileno(), wanted, self._end)
            count = len(content) // RECORD.itemsize
            if count == 0:
                raise StoreError(f"store {self.path} became shorter while it was read; run again")
            self._take_in(np.frombuffer(content, dtype=RECORD, count=count))
            self._end += count * RECORD.itemsize

    def _take_in(self, records: AnyArray) -> None:
        """Add the sound ones of `records` [b] to the index."""
        kept = records[sound_records(records)]
        self._n_damaged += len(records) - len(kept)
        keys = np.ascontiguousarray(kept["key"]).view(np.uint8).reshape(-1, KEY_BYTES)
        self._index.put(keys, kept["value"])

    def _append(self, file: FileIO, keys: ByteArray, values: FloatArray) -> None:
        """Write records that are new after all that is complete; under the exclusive lock."""
        if len(keys) == 0:
            return
        if file_size(file) > self._end:
            os.ftruncate(file.fileno(), self._end)
        content = packed(keys, values) if self._end else HEADER + packed(keys, values)
        self._unsynced = True
        write_all(file, content)
        self._index.put(keys, values)
        self._end += len(content)
