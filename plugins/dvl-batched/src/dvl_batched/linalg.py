"""Many small symmetric matrices: weighted Gram matrices and positive definite systems."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg.lapack import dpocon, dposv

if TYPE_CHECKING:
    from dvl_core.protocols import FloatArray

__all__ = ["WeightedGram", "solve_positive"]

MOST_PACKED_BYTES = 1 << 26


class WeightedGram:
    """The matrices ``sum_i w_i z_i z_i'`` for many vectors of weights w.

    Parameters
    ----------
    z : float array [m, p]
        Rows. Their outer products are kept, if they are not too large, so that all matrices are one
        matrix product.

    Examples
    --------
    >>> WeightedGram(np.array([[1.0, 2.0], [3.0, 4.0]]))(np.array([[1.0, 0.0]]))
    array([[[1., 2.],
            [2., 4.]]])
    """

    def __init__(self, z: FloatArray) -> None:
        m, p = z.shape
        self.z = z
        self._rows, self._columns = np.triu_indices(p)
        self._packed: FloatArray | None = None
        if 8 * m * len(self._rows) <= MOST_PACKED_BYTES:
            self._packed = z[:, self._rows] * z[:, self._columns]
            place = np.empty((p, p), dtype=np.intp)
            place[self._rows, self._columns] = np.arange(len(self._rows))
            place[self._columns, self._rows] = np.arange(len(self._rows))
            self._place = place

    @property
    def floats(self) -> int:
        """Numbers that one matrix takes while it is made."""
        return self.z.shape[1] ** 2 + len(self._rows)

    def __call__(self, weights: FloatArray) -> FloatArray:
        """Return the matrices [b, p, p] for `weights` [b, m]."""
        if self._packed is not None:
            return np.asarray((weights @ self._packed)[:, self._place])
        return np.stack([(self.z * w[:, None]).T @ self.z for w in weights])


def solve_positive(
    matrices: FloatArray, right: FloatArray, condition: bool = False
) -> tuple[FloatArray, FloatArray]:
    """Solve positive definite systems.

    Parameters
    ----------
    matrices : float array [b, p, p]
        Symmetric.
    right : float array [b, p] or [b, p, r]
        Right-hand sides.
    condition : bool
        Estimate the reciprocal condition numbers in the 1-norm.

    Returns
    -------
    solutions : float array [b, p] or [b, p, r]
    quality : float array [b]
        The reciprocal condition number, 1 if it was not asked for, 0 if the matrix is not positive
        definite.
    """
    solutions = np.zeros(right.shape)
    quality = np.ones(len(matrices))
    norms = np.abs(matrices).sum(axis=1).max(axis=1) if condition else quality
    for i, matrix in enumerate(matrices):
        # The transpose of a symmetric matrix in C order is the matrix in LAPACK's.
        factor, solution, failed = dposv(matrix.T, right[i], lower=1)
        solutions[i] = solution.reshape(right.shape[1:])
        if failed:
            quality[i] = 0.0
        elif condition:
            quality[i] = dpocon(factor, norms[i], uplo="L")[0]
    return solutions, quality
