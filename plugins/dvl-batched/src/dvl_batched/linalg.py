"""Many small symmetric matrices: Gram matrices and positive definite systems."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg.lapack import dpocon, dposv

from dvl_batched.members import ChainedMembers, Members

if TYPE_CHECKING:
    from dvl_core.protocols import FloatArray

__all__ = ["Gram", "solve_positive"]

MOST_PACKED_BYTES = 1 << 26


class Gram:
    """The matrices ``sum_i z_i z_i'`` over the members of many coalitions.

    Parameters
    ----------
    z : float array [m, p]
        Rows. Their outer products are kept, if they are not too large, so that all matrices are one
        matrix product.

    Examples
    --------
    >>> members = Members(np.array([[True, False]]))
    >>> Gram(np.array([[1.0, 2.0], [3.0, 4.0]]))(members)
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

    def __call__(self, members: Members) -> FloatArray:
        """Return the matrices [b, p, p] of the coalitions."""
        if self._packed is not None:
            return np.asarray(members.sums(self._packed)[:, self._place])
        if isinstance(members, ChainedMembers):
            return self._running(members)
        result = np.empty((len(members), *2 * self.z.shape[1:]))
        for matrix, rows in zip(result, members.rows, strict=True):
            np.matmul(self.z[rows].T, self.z[rows], out=matrix)
        return result

    def _running(self, members: ChainedMembers) -> FloatArray:
        """Return the matrices of nested coalitions, each from the one before it."""
        result = np.empty((len(members), *2 * self.z.shape[1:]))
        for part, order, joined in members.chains():
            total, before = np.zeros(result.shape[1:]), 0
            for matrix, size in zip(result[part], joined, strict=True):
                new = self.z[order[before:size]]
                total = total + new.T @ new
                matrix[:], before = total, size
        return result


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
