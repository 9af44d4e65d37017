"""What a ledger looks like in zarr, version 3 of its format.

The root is a group. Each writer has an array in it, a segment, of records in the order in which
they were put: uint8 [n_records, 28], a row being what a record is in the file of a disk store (key,
value, CRC-32 of both). Chunks are not compressed, for keys cannot be, so that damage to a chunk
costs the rows that it covers and no others. The documents are written here and not by zarr: a
segment's document is what acknowledges its records, and has a checksum of its own.
"""

from __future__ import annotations

import json
import re
import time
import uuid
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from dvl_core.errors import StoreError
from dvl_core.stores.memory import KEY_BYTES
from dvl_core.stores.record_file import RECORD, sound_records

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dvl_core.protocols import AnyArray, ByteArray

__all__ = [
    "DOCUMENT",
    "ROOT",
    "Segment",
    "check_root",
    "chunk_name",
    "document_name",
    "is_segment_name",
    "keys_of",
    "new_segment_name",
    "rows_between",
    "rows_of_unknown_number",
]

DOCUMENT = "zarr.json"
_MARK = "dvl_ledger"
_VERSION = 1
_SEGMENT_NAME = re.compile(r"[0-9]{20}-[0-9a-f]{32}")

# All writers of a new ledger write the same bytes, so it does not matter who comes last.
ROOT = json.dumps(
    {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": {
            _MARK: _VERSION,
            "description": "Ledger of utility values. Each array is a list of records: key "
            "[16 bytes], value [float64, little-endian], CRC-32 of both [uint32, little-endian]. "
            "Of records with the same key the first counts.",
        },
    },
    indent=2,
).encode()


def check_root(content: bytes, where: str) -> None:
    """Refuse the group of another program or version.

    Raises
    ------
    StoreError
        If `content`, the document at the root of `where`, is not that of a ledger.
    """
    document = _json(content)
    attributes = document.get("attributes")
    version = attributes.get(_MARK) if isinstance(attributes, dict) else None
    if version is None or document.get("node_type") != "group":
        raise StoreError(
            f"{where} is not a dvl ledger, or its {DOCUMENT} is damaged; "
            "it was left as it is: choose another path"
        )
    if version != _VERSION:
        raise StoreError(
            f"store {where} was written by another version of dvl-zarr; "
            "it was left as it is: choose another path"
        )


def new_segment_name() -> str:
    """Return a name that no other writer has; names sort by the time of their making."""
    return f"{time.time_ns():020d}-{uuid.uuid4().hex}"


def is_segment_name(name: str) -> bool:
    """Whether a segment may have this name."""
    return _SEGMENT_NAME.fullmatch(name) is not None


def document_name(segment: str) -> str:
    """Return the name of the document of a segment."""
    return f"{segment}/{DOCUMENT}"


def chunk_name(segment: str, number: int) -> str:
    """Return the name of a chunk of a segment."""
    return f"{segment}/c/{number}/0"


@dataclass(frozen=True)
class Segment:
    """What the document of a segment says.

    Parameters
    ----------
    n_records : int
        Records that were acknowledged.
    chunk_records : int
        Rows of a chunk.
    closed : bool
        Whether its writer has gone, so that it will never change.
    """

    n_records: int
    chunk_records: int
    closed: bool = False

    @classmethod
    def parsed(cls, content: bytes | None) -> Self | None:
        """Return what a document says; None if it is damaged or missing."""
        document = _json(content or b"")
        try:
            attributes = document["attributes"]
            segment = cls(
                document["shape"][0],
                document["chunk_grid"]["configuration"]["chunk_shape"][0],
                attributes["closed"],
            )
            sound = attributes["check"] == segment._check
        except (KeyError, TypeError, IndexError):
            return None
        return segment if sound else None

    @property
    def is_large(self) -> bool:
        """Whether it has a chunk that is full, so that there is nothing to gain by merging it."""
        return self.n_records >= self.chunk_records

    @property
    def document(self) -> bytes:
        """The document, as zarr reads it."""
        return json.dumps(
            {
                "zarr_format": 3,
                "node_type": "array",
                "shape": [self.n_records, RECORD.itemsize],
                "data_type": "uint8",
                "chunk_grid": {
                    "name": "regular",
                    "configuration": {"chunk_shape": [self.chunk_records, RECORD.itemsize]},
                },
                "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
                "fill_value": 0,
                "codecs": [{"name": "bytes"}],
                "dimension_names": ["record", "byte"],
                "attributes": {"closed": self.closed, "check": self._check},
            }
        ).encode()

    @property
    def _check(self) -> int:
        """Checksum of the three numbers."""
        return zlib.crc32(f"{self.n_records}/{self.chunk_records}/{self.closed}".encode())


def rows_between(
    contents: Sequence[bytes | None], start: int, stop: int, chunk_records: int
) -> tuple[AnyArray, int]:
    """Return the sound records of a segment between two positions, and how many are not.

    Parameters
    ----------
    contents : sequence of bytes
        The chunks that hold them; None for one that is missing.
    start, stop : int
        Positions, the first of them in the first chunk.
    chunk_records : int
        Rows of a chunk.
    """
    parts = []
    for number, content in enumerate(contents, start=start // chunk_records):
        begin = max(start - number * chunk_records, 0)
        end = min(stop - number * chunk_records, chunk_records)
        parts.append(_records(content or b"")[begin:end])
    records = np.concatenate([np.empty(0, dtype=RECORD), *parts])
    sound = records[sound_records(records)]
    return sound, stop - start - len(sound)


def rows_of_unknown_number(contents: Sequence[bytes | None]) -> tuple[AnyArray, int]:
    """Return the sound records of chunks whose segment has lost its document.

    Rows of zeros may never have held a record, and do not count as damaged.
    """
    records = np.concatenate([np.empty(0, dtype=RECORD), *(_records(c or b"") for c in contents)])
    sound = sound_records(records)
    raw = records.view(np.uint8).reshape(len(records), RECORD.itemsize)
    empty = ~raw.any(axis=1)
    return records[sound], int(np.sum(~sound & ~empty))


def keys_of(records: AnyArray) -> ByteArray:
    """Return the keys [b, 16] of `records` [b]."""
    return np.ascontiguousarray(records["key"]).view(np.uint8).reshape(-1, KEY_BYTES)


def _records(content: bytes) -> AnyArray:
    """Return the whole rows of a chunk."""
    return np.frombuffer(content, dtype=RECORD, count=len(content) // RECORD.itemsize)


def _json(content: bytes) -> dict[str, Any]:
    """Return a document; an empty one for what is none."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
