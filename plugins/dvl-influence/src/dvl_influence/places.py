"""Where an array of zarr lies: a folder of this machine, behind a URL, or in a store of zarr.

Arrays are written object by object, each replaced whole or, where a file system cannot do that,
found damaged by its checksum.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

import zarr
from zarr.abc.store import Store
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from dvl_core.errors import CheckpointError, DvlError, InvalidOptionError, MissingDependencyError

__all__ = ["Place", "place"]

DOCUMENT = "zarr.json"
"""The object that makes an array of all others."""


class Place(ABC):
    """Where an array of zarr lies, or will."""

    failures: ClassVar[tuple[type[Exception], ...]]
    """What reading and writing may raise."""
    target: Path | Store
    """What zarr opens."""

    @abstractmethod
    def __str__(self) -> str:
        """Return its name, for messages."""

    @abstractmethod
    def require_writable(self) -> None:
        """Refuse what can be read only."""

    @abstractmethod
    def is_empty(self) -> bool:
        """Return whether there is nothing at all."""

    @abstractmethod
    def remove(self) -> None:
        """Remove the array, the document first."""

    @abstractmethod
    def remove_leftovers(self) -> None:
        """Remove what was begun and never finished."""

    @abstractmethod
    def _has_document(self) -> bool:
        """Return whether there may be an array."""

    def array(self, mode: Literal["r", "r+"] = "r+") -> zarr.Array[Any] | None:
        """Return the array that is there, None if there is none.

        Raises
        ------
        CheckpointError
            If that cannot be told.
        """
        with self.explained("read"):
            if not self._has_document():
                return None
            try:
                return zarr.open_array(self.target, mode=mode, zarr_format=3)
            except (ValueError, KeyError, TypeError):
                return None

    @contextmanager
    def explained(self, action: Literal["read", "write"]) -> Iterator[None]:
        """Turn what file systems of all sorts say into a sentence."""
        try:
            yield
        except DvlError:
            raise
        except self.failures as error:
            told = f"{type(error).__name__}: {error}"
            advice = "; what was written before is kept, and the same call goes on from there"
            raise CheckpointError(
                f"cannot {action} {self}: {told}{advice if action == 'write' else ''}"
            ) from error


class Folder(Place):
    """A folder of this machine, where a chunk is there whole or not at all."""

    failures = (OSError,)

    def __init__(self, path: Path) -> None:
        self.target: Path = path

    def __str__(self) -> str:
        return str(self.target)

    def require_writable(self) -> None:
        """Do nothing: writing will tell."""

    def is_empty(self) -> bool:
        if not self.target.exists():
            return True
        return self.target.is_dir() and not any(self.target.iterdir())

    def remove(self) -> None:
        # Under another name first: what is half removed must not look like an array.
        aside = self.target.with_name(f".{self.target.name}.{uuid.uuid4().hex}")
        with self.explained("write"):
            self.target.rename(aside)
            shutil.rmtree(aside)

    def remove_leftovers(self) -> None:
        # What zarr had begun to write when it was killed.
        for leftover in self.target.rglob("*.partial"):
            leftover.unlink()

    def _has_document(self) -> bool:
        return (self.target / DOCUMENT).is_file()


class Objects(Place):
    """A store of zarr.

    Parameters
    ----------
    store : zarr.abc.store.Store
        The store, with the array at its root.
    name : str
        Its name, for messages.
    """

    # Each file system has errors of its own.
    failures = (Exception,)

    def __init__(self, store: Store, name: str) -> None:
        self.target: Store = store
        self._name = name

    def __str__(self) -> str:
        return self._name

    def require_writable(self) -> None:
        if self.target.read_only or not self.target.supports_deletes:
            raise InvalidOptionError(
                f"{self} is read-only or cannot replace what it holds: give a folder, a URL, or a "
                "store of zarr that can"
            )

    def is_empty(self) -> bool:
        async def first() -> bool:
            try:
                async for _ in self.target.list():
                    return False
            except FileNotFoundError:
                pass
            return True

        with self.explained("read"):
            return sync(first())

    def remove(self) -> None:
        # Object by object: some stores take the removal of their root for that of the bucket.
        async def every() -> None:
            await self.target.delete(DOCUMENT)
            names = [name async for name in self.target.list()]
            for start in range(0, len(names), 32):
                await asyncio.gather(*map(self.target.delete, names[start : start + 32]))

        with self.explained("write"):
            sync(every())

    def remove_leftovers(self) -> None:
        """Do nothing: there are no objects under other names."""

    def _has_document(self) -> bool:
        # File systems of fsspec remember what they have listed.
        system = getattr(self.target, "fs", None)
        for remembering in (system, getattr(system, "sync_fs", None)):
            if remembering is not None:
                remembering.invalidate_cache()
        return sync(self.target.get(DOCUMENT, default_buffer_prototype())) is not None


def place(path: Any, storage_options: Mapping[str, Any] | None = None) -> Place:
    """Return where an array lies.

    Parameters
    ----------
    path : str, path-like or zarr.abc.store.Store
        A folder, a URL of fsspec, or a store of zarr with the array at its root.
    storage_options : mapping, optional
        What fsspec is told besides the URL.

    Raises
    ------
    InvalidOptionError
        If it is none of these, or there are options without a URL.
    MissingDependencyError
        If a package is missing that this kind of URL needs.
    CheckpointError
        If the file system behind a URL cannot be opened.

    Examples
    --------
    >>> print(place("file:///data/scores.zarr"), place("memory://scores.zarr").target.path)
    /data/scores.zarr /scores.zarr
    """
    options = dict(storage_options or {})
    if isinstance(path, os.PathLike):
        path = os.fspath(path)
    if isinstance(path, str):
        for scheme in ("file://", "local://"):
            # Not through fsspec, which writes in place: a killed writer would leave half a chunk.
            path = path.removeprefix(scheme)
        if "://" in path or "::" in path:
            return Objects(_store_of(path, options), path)
    if options:
        raise InvalidOptionError(f"storage_options are for URLs, which {path!r} is not")
    if isinstance(path, str) and path:
        return Folder(Path(path))
    if isinstance(path, Store):
        return Objects(path, str(path))
    raise InvalidOptionError(
        f"path is {path!r}: it must be a folder, a URL of fsspec, or a store of zarr"
    )


def _store_of(url: str, options: Mapping[str, Any]) -> Store:
    """Return the store of zarr for a URL."""
    from zarr.storage import FsspecStore

    try:
        return FsspecStore.from_url(url, storage_options=dict(options))
    except ImportError as error:
        raise MissingDependencyError(f"{url} needs another package: {error}") from error
    except (ValueError, TypeError) as error:
        raise InvalidOptionError(f"cannot open {url}: {error}") from error
    except Exception as error:
        raise CheckpointError(f"cannot open {url}: {type(error).__name__}: {error}") from error
