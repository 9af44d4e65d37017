"""Symmetric matrices held in memory, and their Cholesky factors, for any array library."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg
from array_api_compat import array_namespace, is_numpy_array, is_torch_array

__all__ = ["CholeskyInverse", "DenseMatrix", "Spectrum", "double"]


def double(array: Any) -> Any:
    """Return an array in double precision, or as it is on a device that has none."""
    xp = array_namespace(array)
    try:
        return xp.astype(array, xp.float64, copy=False)
    except TypeError:
        return array


class DenseMatrix:
    """A symmetric matrix as a linear operator.

    Parameters
    ----------
    matrix : float array [p, p]
        Symmetric.
    """

    def __init__(self, matrix: Any) -> None:
        self.matrix = matrix

    @property
    def size(self) -> int:
        """The dimension p."""
        return int(self.matrix.shape[0])

    @property
    def like(self) -> Any:
        """A vector [p] of the type of the products."""
        return self.matrix[0, :]

    def matvec(self, vectors: Any) -> Any:
        """Return the products [m, p] with the rows of `vectors` [m, p]."""
        return _as_type_of(self.matrix, vectors) @ self.matrix

    def dense(self) -> Any:
        """Return the matrix [p, p]."""
        return self.matrix


class Spectrum:
    """A symmetric matrix as a linear operator, held as eigenvalues and eigenvectors.

    Parameters
    ----------
    values : float array [p]
        Eigenvalues, ascending.
    vectors : float array [p, p]
        Eigenvectors, one a column.
    """

    def __init__(self, values: Any, vectors: Any) -> None:
        self.values = values
        self.vectors = vectors

    @property
    def size(self) -> int:
        """The dimension p."""
        return int(self.values.shape[0])

    def matvec(self, vectors: Any) -> Any:
        """Return the products [m, p] with the rows of `vectors` [m, p]."""
        inside = _as_type_of(self.vectors, vectors) @ self.vectors
        return (inside * self.values) @ self.vectors.T

    def dense(self) -> Any:
        """Return the matrix [p, p]."""
        return (self.vectors * self.values) @ self.vectors.T


class CholeskyInverse:
    """The inverse of a positive definite matrix as a linear operator.

    Parameters
    ----------
    matrix : float array [p, p]
        Symmetric.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the matrix is not positive definite.
    """

    def __init__(self, matrix: Any) -> None:
        self.factor = _cholesky(matrix)

    @property
    def size(self) -> int:
        """The dimension p."""
        return int(self.factor.shape[0])

    @property
    def like(self) -> Any:
        """A vector [p] of the type of the products."""
        return self.factor[0, :]

    def matvec(self, vectors: Any) -> Any:
        """Return the products [m, p] with the rows of `vectors` [m, p]."""
        rhs = _as_type_of(self.factor, vectors).T
        if is_numpy_array(rhs):
            return scipy.linalg.cho_solve((self.factor, True), rhs, check_finite=False).T
        if is_torch_array(rhs):
            import torch

            return torch.cholesky_solve(rhs, self.factor).T
        xp = array_namespace(rhs)
        return xp.linalg.solve(self.factor.T, xp.linalg.solve(self.factor, rhs)).T

    def dense(self) -> Any:
        """Return the matrix [p, p]."""
        xp = array_namespace(self.factor)
        identity = xp.eye(self.size, dtype=self.factor.dtype, device=self.factor.device)
        return self.matvec(identity)


def _cholesky(matrix: Any) -> Any:
    """Return the lower factor; array libraries differ in how they say that there is none."""
    if is_numpy_array(matrix):
        # In the order in which LAPACK wants it: each solve would make a copy otherwise.
        return np.asfortranarray(scipy.linalg.cholesky(matrix, lower=True, check_finite=False))
    if is_torch_array(matrix):
        import torch

        factor, failed = torch.linalg.cholesky_ex(matrix)
        if int(failed):
            raise np.linalg.LinAlgError("not positive definite")
        return factor
    xp = array_namespace(matrix)
    factor = xp.linalg.cholesky(matrix)
    if not bool(xp.all(xp.isfinite(factor))):
        raise np.linalg.LinAlgError("not positive definite")
    return factor


def _as_type_of(matrix: Any, vectors: Any) -> Any:
    """Return vectors in the precision of a matrix."""
    return array_namespace(vectors).astype(vectors, matrix.dtype, copy=False)
