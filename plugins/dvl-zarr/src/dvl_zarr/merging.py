"""Putting many small segments into one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dvl_core.stores.memory import first_of_each
from dvl_zarr.segments import (
    DOCUMENT,
    Segment,
    chunk_name,
    document_name,
    keys_of,
    rows_between,
)
from dvl_zarr.writer import Writer

if TYPE_CHECKING:
    from dvl_core.protocols import AnyArray
    from dvl_zarr.objects import Objects
    from dvl_zarr.reader import Reader

__all__ = ["merge"]


def merge(
    objects: Objects, reader: Reader, *, chunk_records: int, at_least: int, all_writers: bool
) -> int:
    """Put the records of small segments into a new one, then remove them.

    Two may do so at once: each removes only what it has itself written elsewhere.

    Parameters
    ----------
    objects : Objects
        Where the ledger lies.
    reader : Reader
        Has read it.
    chunk_records : int
        Rows of a chunk of the new segment.
    at_least : int
        Nothing is done with fewer.
    all_writers : bool
        Whether nobody else writes, so that those that nobody has closed are merged or closed, too.

    Returns
    -------
    int
        How many segments were merged.
    """
    names = reader.segment_names()
    if len(names) < at_least and not all_writers:
        return 0
    chosen: dict[str, AnyArray] = {}
    documents = objects.read([document_name(name) for name in names])
    for name, document in zip(names, documents, strict=True):
        segment = Segment.parsed(document)
        if segment is None and all_writers:
            records, lost = reader.all_records(name)
        elif segment is None or not (segment.closed or all_writers):
            continue
        elif segment.is_large:
            if not segment.closed:
                Writer(name, segment).close(objects)
            continue
        else:
            chunk = objects.read([chunk_name(name, 0)])
            records, lost = rows_between(chunk, 0, segment.n_records, segment.chunk_records)
        if lost == 0:
            chosen[name] = records
    if len(chosen) < at_least:
        return 0
    records = np.concatenate(list(chosen.values()))
    rows = records[first_of_each(keys_of(records))].tobytes()
    Writer.of_new_segment(chunk_records).append(objects, rows).close(objects)
    for name in chosen:
        # The document first: then those who miss a chunk know that they have to look again.
        objects.remove(name, first=DOCUMENT)
    return len(chosen)
