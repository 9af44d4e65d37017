"""Rows of features: an array, a mapped file or a sparse matrix, used a part at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

__all__ = ["Rows"]

ENTRIES_A_CHUNK = 1 << 18
"""Two megabytes: what is made of a chunk is used while it is in the cache."""
LEAST_ROWS_A_CHUNK = 64


@dataclass(frozen=True, eq=False)
class Rows:
    """A table of numbers that is never turned into dense float64 as a whole.

    Parameters
    ----------
    table : array [n, d] or CSR matrix
        Numbers of any real type.

    Examples
    --------
    >>> rows = Rows(np.array([[1, 2], [3, 4], [5, 6]]))
    >>> len(rows), rows.n_features, rows.take(np.array([2, 0]))
    (3, 2, array([[5., 6.],
           [1., 2.]]))
    """

    table: Any

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self.table.shape[0])

    @property
    def n_features(self) -> int:
        """Numbers in a row."""
        return int(self.table.shape[1])

    @property
    def is_sparse(self) -> bool:
        """Whether most entries are zeros that are not stored."""
        return hasattr(self.table, "toarray")

    @property
    def arrays(self) -> list[NDArray[Any]]:
        """The arrays that hold the content."""
        if self.is_sparse:
            return [self.table.data, self.table.indices, self.table.indptr]
        return [self.table]

    def take(self, which: slice | IntArray) -> FloatArray:
        """Return some rows as float64 [m, d]; a view where nothing has to be copied."""
        part = self.table[which]
        return np.asarray(part.toarray() if self.is_sparse else part, dtype=np.float64)

    def chunks(self) -> Iterator[tuple[slice, FloatArray]]:
        """Yield all rows, in order: where they are and what they hold, as float64 [c, d]."""
        size = max(LEAST_ROWS_A_CHUNK, ENTRIES_A_CHUNK // self.n_features)
        for start in range(0, len(self), size):
            which = slice(start, start + size)
            yield which, self.take(which)
