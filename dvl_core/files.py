"""Writing files so that a reader sees the old content or the new, never a torn one."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

__all__ = ["atomic_write"]


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "wb") -> Iterator[IO[bytes]]:
    """Open a temporary file beside `path` that replaces it when the block ends without error.

    The content reaches the disk before the name does (write, fsync, rename, fsync of the folder),
    so neither a crash nor a full disk costs what was there before.

    Parameters
    ----------
    path : path
        File to write; its folder must exist.
    mode : str
        "wb", or "w" for text in UTF-8.

    Raises
    ------
    OSError
        If it cannot be written; `path` is then as it was.
    """
    target = Path(path)
    encoding = None if "b" in mode else "utf-8"
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        # mkstemp makes files that only the owner may read; the result is an ordinary file.
        os.chmod(name, 0o666 & ~_umask())
        with os.fdopen(descriptor, mode, encoding=encoding) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(name, target)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename is None:
            # A full disk is reported without a name; the reader wants to know which file.
            error.filename = str(target)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _umask() -> int:
    """Return the permissions that new files lack; it can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
