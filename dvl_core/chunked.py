"""Arrays that lie in chunks on disk or elsewhere, such as zarr's, told by what they can do."""

from __future__ import annotations

from typing import Any, Protocol, TypeGuard, runtime_checkable

import numpy as np

__all__ = ["ChunkedArray", "is_chunked", "read_rows"]


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
