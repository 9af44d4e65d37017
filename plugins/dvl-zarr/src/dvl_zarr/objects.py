"""Whole objects by name: all that a ledger asks of a store of zarr."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dvl_core.errors import InvalidOptionError, MissingDependencyError, StoreError
from dvl_core.stores.record_file import explanation

if TYPE_CHECKING:
    from zarr.abc.store import Store as ZarrObjectStore

__all__ = ["Objects", "location"]

T = TypeVar("T")

_AT_ONCE = 32
"""Objects that are read or written at the same time."""


def location(path: Any) -> str | ZarrObjectStore:
    """Return an absolute path, a URL, or a store of zarr.

    Raises
    ------
    InvalidOptionError
        If it is none of these.
    """
    if isinstance(path, os.PathLike):
        path = os.fspath(path)
    if isinstance(path, str):
        for scheme in ("file://", "local://"):
            # Not through fsspec, which writes in place: a killed writer would leave half a chunk.
            path = path.removeprefix(scheme)
        if not path:
            raise InvalidOptionError("path is empty: give a folder or a URL")
        return path if _is_url(path) else str(Path(path).absolute())
    from zarr.abc.store import Store as ZarrObjectStore

    if not isinstance(path, ZarrObjectStore):
        raise InvalidOptionError(
            f"path is a {type(path).__name__}: it must be a folder, a URL of fsspec, or a store of "
            "zarr"
        )
    return path


def _storage() -> Any:
    """Return the module of zarr with its stores."""
    try:
        from zarr import storage
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"ZarrStore needs the package {error.name}: pip install zarr fsspec"
        ) from error
    return storage


def _is_url(path: str) -> bool:
    return "://" in path or "::" in path


class Objects:
    """Reads and writes whole objects, many at a time.

    Parameters
    ----------
    path : str or zarr.abc.store.Store
        As `location` returns it.
    options : mapping
        What fsspec is told besides the URL.

    Raises
    ------
    StoreError
        If there is no such file system, or it takes no such options.
    MissingDependencyError
        If a package is missing that this kind of URL needs.
    """

    def __init__(self, path: str | ZarrObjectStore, options: Mapping[str, Any]) -> None:
        self._where = path if isinstance(path, str) else repr(path)
        self._folder: Path | None = None
        if not isinstance(path, str):
            self._store = path
        elif _is_url(path):
            self._store = self._of_url(path, options)
        else:
            self._folder = Path(path)
            self._store = _storage().LocalStore(self._folder)

    def exists(self) -> bool:
        """Whether there may be anything; asked first, as zarr makes the folders that it reads."""
        if self._folder is None:
            return True
        try:
            mode = os.stat(self._folder).st_mode
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StoreError(explanation("read", self._folder, error)) from error
        if not stat.S_ISDIR(mode):
            raise StoreError(f"store {self._folder} is a file; give the path of a folder")
        return True

    def read(self, names: Sequence[str]) -> list[bytes | None]:
        """Return the content of each object, None where there is none."""
        from zarr.core.buffer import default_buffer_prototype

        prototype = default_buffer_prototype()

        async def one(name: str) -> bytes | None:
            content = await self._store.get(name, prototype)
            return None if content is None else content.to_bytes()

        return self._run("read", _gathered(one(name) for name in names))

    def write(self, contents: Iterable[tuple[str, bytes]]) -> None:
        """Write objects, each whole or not at all, in any order."""
        from zarr.core.buffer import cpu

        async def one(name: str, content: bytes) -> None:
            await self._store.set(name, cpu.Buffer.from_bytes(content))

        self._run("write", _gathered(one(name, content) for name, content in contents))

    def names(self, folder: str = "") -> list[str]:
        """Return what lies in a folder, sorted, without what zarr had begun to write."""
        self._forget_listings()

        async def every() -> list[str]:
            return [name async for name in self._store.list_dir(folder)]

        names = self._run("read", every())
        return sorted({n.strip("/") for n in names if not n.endswith(".partial")} - {""})

    def remove(self, folder: str, first: str) -> None:
        """Remove a folder, beginning with the object of it that is named `first`."""

        async def both() -> None:
            await self._store.delete(f"{folder}/{first}")
            await self._store.delete_dir(folder)

        self._run("write", both())

    def _forget_listings(self) -> None:
        """Make file systems of fsspec look again: they remember what they have listed."""
        system = getattr(self._store, "fs", None)
        for remembering in (system, getattr(system, "sync_fs", None)):
            if remembering is not None:
                remembering.invalidate_cache()

    def _of_url(self, url: str, options: Mapping[str, Any]) -> ZarrObjectStore:
        """Return the store of zarr for a URL."""
        kind = _storage().FsspecStore
        try:
            store: ZarrObjectStore = kind.from_url(url, storage_options=dict(options))
            return store
        except ImportError as error:
            package = getattr(error.__cause__ or error, "name", None)
            way_out = f": pip install {package}" if package else ""
            raise MissingDependencyError(
                f"store {url} needs another package ({error}){way_out}"
            ) from error
        except Exception as error:
            raise StoreError(f"cannot open store {url}: {error}") from error

    def _run(self, action: str, work: Coroutine[Any, Any, T]) -> T:
        """Wait for `work`, and turn what file systems of all sorts say into a sentence."""
        from zarr.core.sync import sync

        try:
            return sync(work)
        except OSError as error:
            if self._folder is not None:
                raise StoreError(explanation(action, self._folder, error)) from error
            raise StoreError(f"cannot {action} store {self._where}: {error}") from error
        except Exception as error:
            told = f"{type(error).__name__}: {error}"
            raise StoreError(f"cannot {action} store {self._where}: {told}") from error


async def _gathered(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Return the results of all, in their order; a bounded number is under way at a time."""
    results: list[T] = []
    batch: list[Coroutine[Any, Any, T]] = []
    for coroutine in work:
        batch.append(coroutine)
        if len(batch) == _AT_ONCE:
            results += await asyncio.gather(*batch)
            batch = []
    return results + await asyncio.gather(*batch)
