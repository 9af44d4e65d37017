"""What a record looks like on a server: 13 bytes under a name, known again by a checksum.

A version byte, the value (float64, little-endian), and the CRC-32 of key and value. A server is
shared: under our names may lie what another program, or another version, wrote. Whatever is not a
sound record of the very key that was asked for is no record.
"""

from __future__ import annotations

import zlib
from binascii import hexlify
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dvl_core.protocols import AnyArray, BoolArray, ByteArray, FloatArray

__all__ = ["VERSION", "name_start", "names_of", "packed", "unpacked"]

VERSION = 1
"""Of the format; part of every name and of every record."""

_RECORD = np.dtype([("version", "u1"), ("value", "<f8"), ("check", "<u4")])
_CHECKED = np.dtype([("key", "V16"), ("value", "<f8")])
_SIZE = _RECORD.itemsize
_NO_RECORD = bytes(_SIZE)


def name_start(prefix: str) -> str:
    """Return what the names of all records with this `prefix` begin with.

    Examples
    --------
    >>> name_start("dvl")
    'dvl:1:'
    """
    return f"{prefix}:{VERSION}:"


def names_of(keys: ByteArray, prefix: str) -> list[bytes]:
    """Return the names [b] of the records of `keys` [b, 16].

    Examples
    --------
    >>> names_of(np.arange(16, dtype=np.uint8).reshape(1, 16), "dvl")
    [b'dvl:1:000102030405060708090a0b0c0d0e0f']
    """
    start, digits = name_start(prefix).encode(), hexlify(keys.tobytes())
    return [start + digits[i : i + 32] for i in range(0, len(digits), 32)]


def packed(keys: ByteArray, values: FloatArray) -> list[bytes]:
    """Return the bytes of the record of each of `keys` [b, 16] with its value of `values` [b]."""
    records = np.empty(len(keys), dtype=_RECORD)
    records["version"] = VERSION
    records["value"] = values
    records["check"] = _checksums(keys, records["value"])
    contents: list[bytes] = records.view(f"V{_SIZE}").tolist()
    return contents


def unpacked(keys: ByteArray, contents: Sequence[bytes]) -> tuple[FloatArray, BoolArray]:
    """Return the values [b] in `contents` [b], and which of them are records of `keys` [b, 16].

    The value is 0.0 where there is no sound record.

    Examples
    --------
    >>> keys = np.arange(32, dtype=np.uint8).reshape(2, 16)
    >>> (content,) = packed(keys[:1], np.array([0.5]))
    >>> unpacked(keys, [content, content])
    (array([0.5, 0. ]), array([ True, False]))
    """
    fitting = [content if len(content) == _SIZE else _NO_RECORD for content in contents]
    records = np.frombuffer(b"".join(fitting), dtype=_RECORD)
    sound = records["version"] == VERSION
    sound &= records["check"] == _checksums(keys, records["value"])
    sound &= ~np.isnan(records["value"])
    return np.where(sound, records["value"], 0.0), sound


def _checksums(keys: ByteArray, values: AnyArray) -> AnyArray:
    """Return the CRC-32 [b] of each of `keys` [b, 16] and its value."""
    checked = np.empty(len(keys), dtype=_CHECKED)
    checked["key"] = keys.view("V16").reshape(-1)
    checked["value"] = values
    contents = checked.view(f"V{_CHECKED.itemsize}").tolist()
    return np.fromiter(map(zlib.crc32, contents), dtype="<u4", count=len(keys))
