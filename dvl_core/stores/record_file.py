"""The file format of the disk store, and what it asks of the operating system.

A header of 16 bytes and records of 28 bytes: key, value (float64, little-endian) and the CRC-32 of
both.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from dvl_core.errors import StoreError

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import FileIO
    from pathlib import Path

    from dvl_core.protocols import AnyArray, BoolArray, ByteArray, FloatArray

__all__ = [
    "HEADER",
    "RECORD",
    "check_header",
    "explanation",
    "file_size",
    "locked",
    "packed",
    "sound_records",
    "sync_folder",
    "whole_records_end",
    "write_all",
]

_MAGIC = b"dvlstore"
_VERSION = 1

RECORD = np.dtype([("key", "V16"), ("value", "<f8"), ("check", "<u4")])
_CHECKED = np.dtype([("content", "V24"), ("check", "<u4")])

HEADER = _MAGIC + struct.pack("<II", _VERSION, RECORD.itemsize)

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_FOLDER = {errno.ENOTDIR, errno.EEXIST}


def _checksums(records: AnyArray) -> AnyArray:
    """Return the CRC-32 [b] of the key and value of each of `records` [b]."""
    contents = records.view(_CHECKED)["content"].tolist()
    return np.fromiter(map(zlib.crc32, contents), dtype="<u4", count=len(records))


def packed(keys: ByteArray, values: FloatArray) -> bytes:
    """Return the bytes of the records of `keys` [b, 16] and `values` [b]."""
    records = np.empty(len(keys), dtype=RECORD)
    records["key"] = keys.view("V16").reshape(-1)
    records["value"] = values
    records["check"] = _checksums(records)
    return records.tobytes()


def sound_records(records: AnyArray) -> BoolArray:
    """Return which of `records` [b] are what was once written."""
    sound: BoolArray = (_checksums(records) == records["check"]) & ~np.isnan(records["value"])
    return sound


def whole_records_end(size: int) -> int:
    """Return where the last complete record of a file of `size` bytes ends."""
    return len(HEADER) + max(size - len(HEADER), 0) // RECORD.itemsize * RECORD.itemsize


def check_header(header: bytes, path: Path) -> None:
    """Refuse the file of another program or version; the beginning of a header will do.

    Raises
    ------
    StoreError
        If `header`, the first bytes of the file at `path`, is no beginning of `HEADER`.
    """
    if HEADER.startswith(header):
        return
    if header.startswith(_MAGIC):
        raise StoreError(
            f"store {path} was written by another version of dvl, or its first bytes are damaged; "
            "it was left as it is: choose another path"
        )
    raise StoreError(
        f"{path} is not a dvl store, or its first bytes are damaged; "
        "it was left as it is: choose another path"
    )


@contextmanager
def locked(file: FileIO, *, exclusive: bool) -> Iterator[None]:
    """Hold the lock of `file`: alone to write, with other readers to read."""
    if sys.platform == "win32":
        raise StoreError("the disk store needs flock, which Windows lacks; use the memory store")
    # flock and not lockf: it also keeps apart two stores of one process.
    fcntl.flock(file, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def file_size(file: FileIO) -> int:
    """Return the size of the open `file` in bytes."""
    return os.fstat(file.fileno()).st_size


def write_all(file: FileIO, content: bytes) -> None:
    """Write `content`, in as many pieces as the operating system makes of it."""
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]


def sync_folder(folder: Path) -> None:
    """Bring the directory entries of `folder` to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def explanation(action: str, path: Path, error: OSError) -> str:
    """Return in one sentence why the store at `path` could not be read or written."""
    if error.errno in _FULL:
        return (
            f"no space left to write store {path} ({error.strerror}); free some and run again: "
            "what was recorded before is kept"
        )
    if error.errno in _FORBIDDEN:
        return f"no permission to {action} store {path} ({error.strerror}); choose another path"
    if error.errno in _NO_FOLDER:
        return f"cannot {action} store {path}: a folder of its path is a file"
    return f"cannot {action} store {path}: {error.strerror}"
