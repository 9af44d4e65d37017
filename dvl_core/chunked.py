"""Arrays that are read in parts, such as zarr's in chunks, told by what they can do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, TypeGuard, runtime_checkable

import numpy as np

from dvl_core.mapped import give_back

__all__ = ["ChunkedArray", "byte_parts", "is_chunked", "read_rows"]

PART_BYTES = 1 << 24


@runtime_checkable
class ChunkedArray(Protocol):
    """An array [n_rows, ...] of which parts are read when they are asked for.

    A pickled copy opens the same chunks, so that it travels without them: ``zarr.Array`` does on
    local and remote paths.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""

    @property
    def dtype(self) -> Any:
        """Type of its elements."""

    @property
    def chunks(self) -> tuple[int, ...]:
        """Shape of a chunk."""

    @property
    def oindex(self) -> Any:
        """Takes indices of each dimension, independently of the others."""

    def __getitem__(self, part: Any) -> Any:
        """Return a part, in memory."""


def is_chunked(table: object) -> TypeGuard[ChunkedArray]:
    """Return whether a table is an array in chunks."""
    return isinstance(table, ChunkedArray)


def read_rows(table: ChunkedArray, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return some rows, in the order given; only the chunks that hold them are read."""
    return np.asarray(table.oindex[rows], order="C")


def byte_parts(array: Any) -> Iterator[memoryview]:
    """Yield the bytes of an array in C order; one on disk is not read as a whole."""
    if array.ndim == 0:
        array = array.reshape(1)
    n_rows = array.shape[0]
    row_bytes = max(1, array.nbytes // max(1, n_rows))
    step = max(1, PART_BYTES // row_bytes)
    for start in range(0, n_rows, step):
        rows = np.ascontiguousarray(array[start : start + step])
        yield rows.view(np.uint8).reshape(-1).data if rows.size else memoryview(b"")
        if isinstance(array, np.ndarray):
            give_back(array)
