"""Appending to a segment, which nobody else writes to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from dvl_core.stores.record_file import RECORD
from dvl_zarr.objects import Objects
from dvl_zarr.segments import Segment, chunk_name, document_name, new_segment_name

__all__ = ["Writer"]


@dataclass(frozen=True)
class Writer:
    """The end of a segment, where records are appended.

    Parameters
    ----------
    name : str
        Name of the segment.
    segment : Segment
        What its document says so far.
    tail : bytes
        Rows of the chunk that is not full yet.
    """

    name: str
    segment: Segment
    tail: bytes = b""

    @classmethod
    def of_new_segment(cls, chunk_records: int) -> Writer:
        """Return a writer that begins a segment; nothing is written yet."""
        return cls(new_segment_name(), Segment(0, chunk_records))

    def append(self, objects: Objects, rows: bytes) -> Writer:
        """Write `rows`, then acknowledge them; return the writer to go on with.

        If that fails, this writer must not be used again: what was on its way to a remote store may
        arrive later, and must not come to lie over what was written meanwhile.
        """
        objects.write(self._chunks(rows))
        content = self.tail + rows
        n_records = self.segment.n_records + len(rows) // RECORD.itemsize
        kept = len(content) % (self.segment.chunk_records * RECORD.itemsize)
        segment = replace(self.segment, n_records=n_records)
        objects.write([(document_name(self.name), segment.document)])
        return Writer(self.name, segment, content[len(content) - kept :])

    def close(self, objects: Objects) -> None:
        """Say that the segment will not change any more."""
        segment = replace(self.segment, closed=True)
        objects.write([(document_name(self.name), segment.document)])

    def _chunks(self, rows: bytes) -> Iterator[tuple[str, bytes]]:
        """Yield name and content of the chunks that change when `rows` are appended."""
        content = self.tail + rows
        first = self.segment.n_records // self.segment.chunk_records
        step = self.segment.chunk_records * RECORD.itemsize
        for number, start in enumerate(range(0, len(content), step), start=first):
            yield chunk_name(self.name, number), content[start : start + step].ljust(step, b"\0")
