"""What is a record, and what is not."""

from __future__ import annotations

import pickle
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dvl_memcached.records import names_of, packed, unpacked

KEYS = np.arange(64, dtype=np.uint8).reshape(4, 16)


@given(st.lists(st.floats(allow_nan=False), min_size=4, max_size=4))
def test_values_come_back_to_the_bit(values) -> None:
    values = np.array(values)
    got, found = unpacked(KEYS, packed(KEYS, values))
    assert found.all()
    assert got.tobytes() == values.tobytes()


def test_the_format() -> None:
    """What servers hold is read by later versions."""
    key = KEYS[1:2]
    checksum = zlib.crc32(key.tobytes() + struct.pack("<d", 0.1))
    assert packed(key, np.array([0.1])) == [struct.pack("<BdI", 1, 0.1, checksum)]
    assert names_of(key, "a/b") == [b"a/b:1:101112131415161718191a1b1c1d1e1f"]


@given(st.binary(max_size=40) | st.binary(min_size=13, max_size=13))
def test_random_bytes_are_no_record(content) -> None:
    values, found = unpacked(KEYS[:1], [content])
    assert not found.any()
    assert values.tolist() == [0.0]


def test_every_flipped_bit_is_noticed() -> None:
    (content,) = packed(KEYS[:1], np.array([-1.5]))
    for bit in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        assert not unpacked(KEYS[:1], [bytes(damaged)])[1].any()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        packed(KEYS[:1], np.array([0.5]))[0][:-1],
        packed(KEYS[:1], np.array([0.5]))[0] + b"\0",
        packed(KEYS[:1], np.array([np.nan]))[0],
        packed(KEYS[1:2], np.array([0.5]))[0],
        pickle.dumps(0.5),
        b"0.5",
    ],
    ids=["nothing", "cut", "longer", "NaN", "of another key", "pickle", "text"],
)
def test_what_is_no_record(content) -> None:
    values, found = unpacked(KEYS[:2], [content, packed(KEYS[1:2], np.array([0.25]))[0]])
    assert found.tolist() == [False, True]
    assert values.tolist() == [0.0, 0.25]
