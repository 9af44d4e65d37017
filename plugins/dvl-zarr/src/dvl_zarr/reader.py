"""Reading what all writers have put, each record once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dvl_core.stores.memory import MemoryStore
from dvl_zarr.segments import (
    DOCUMENT,
    Segment,
    check_root,
    chunk_name,
    document_name,
    is_segment_name,
    keys_of,
    rows_between,
    rows_of_unknown_number,
)

if TYPE_CHECKING:
    from dvl_core.protocols import AnyArray
    from dvl_zarr.objects import Objects

__all__ = ["Reader"]

_CHUNKS = 64
"""Chunks that are in memory at the same time while a segment is read."""

_LOOKS = 10
"""How often to look again because others merge segments meanwhile."""


class Reader:
    """The records of a ledger, as far as they were read.

    Parameters
    ----------
    objects : Objects
        Where it lies.
    where : str
        How messages name it.
    """

    def __init__(self, objects: Objects, where: str) -> None:
        self._objects = objects
        self._where = where
        self.forget()

    def forget(self) -> None:
        """Drop what was read."""
        self.index = MemoryStore()
        self.is_ledger = False
        self.n_read: dict[str, int] = {}
        self._damaged: dict[str, int] = {}
        self._final: set[str] = set()

    @property
    def n_damaged(self) -> int:
        """Number of records that are damaged or missing."""
        return sum(self._damaged.values())

    def refresh(self, own: str | None) -> None:
        """Read what was put since the last time, except by the writer of the segment `own`."""
        for _ in range(_LOOKS):
            if not self._look():
                return
            names = self.segment_names()
            if not self.n_read.keys() <= set(names):
                # Merged into others, or removed together with the ledger.
                self.forget()
                continue
            # This writer's segment has to be read if what was read is forgotten.
            known = self._final | ({own} & self.n_read.keys())
            wanted = [name for name in names if name not in known]
            documents = self._objects.read([document_name(name) for name in wanted])
            # A document that is missing belongs to a segment that is just being made, or removed
            # in favour of another one; or it was lost: then the list stays as it is.
            if None in documents and self.segment_names() != names:
                continue
            if all(map(self._read_segment, wanted, documents)):
                return

    def segment_names(self) -> list[str]:
        """Return the names of all segments, oldest first."""
        return [name for name in self._objects.names() if is_segment_name(name)]

    def all_records(self, name: str) -> tuple[AnyArray, int]:
        """Return the sound records of a segment without a document, and how many are not."""
        numbers = sorted(int(n) for n in self._objects.names(f"{name}/c") if n.isdecimal())
        chunks = self._objects.read([chunk_name(name, number) for number in numbers])
        return rows_of_unknown_number(chunks)

    def _look(self) -> bool:
        """Whether there is a ledger; what belongs to another program is refused."""
        if not self.is_ledger and self._objects.exists():
            (content,) = self._objects.read([DOCUMENT])
            if content is None and self._objects.names():
                # Without a document of its own, a folder that holds anything is somebody else's;
                # but a ledger that is just being made got its document first.
                (content,) = self._objects.read([DOCUMENT])
                content = content or b""
            if content is not None:
                check_root(content, self._where)
                self.is_ledger = True
        return self.is_ledger

    def _read_segment(self, name: str, document: bytes | None) -> bool:
        """Take in what of a segment was not read; False if it was removed meanwhile."""
        segment = Segment.parsed(document)
        if segment is None:
            self.n_read[name] = 0
            records, self._damaged[name] = self.all_records(name)
            self._take_in(records)
            return True
        size = segment.chunk_records
        start = self.n_read.setdefault(name, 0)
        damaged = self._damaged.get(name, 0) if start else 0
        while start < segment.n_records:
            stop = min(segment.n_records, (start // size + _CHUNKS) * size)
            numbers = range(start // size, -(-stop // size))
            chunks = self._objects.read([chunk_name(name, number) for number in numbers])
            if None in chunks and self._objects.read([document_name(name)]) == [None]:
                return False
            records, lost = rows_between(chunks, start, stop, size)
            self._take_in(records)
            damaged += lost
            start = stop
            self.n_read[name], self._damaged[name] = stop, damaged
        if segment.closed:
            self._final.add(name)
        return True

    def _take_in(self, records: AnyArray) -> None:
        self.index.put(keys_of(records), records["value"])
