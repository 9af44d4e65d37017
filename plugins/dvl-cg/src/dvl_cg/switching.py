"""A linear operator that becomes a matrix once that is cheaper than more products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace, is_numpy_array, is_torch_array

from dvl_core.protocols import LinearOperator
from dvl_influence.errors import InfluenceError

__all__ = ["CholeskyFactor", "SwitchingOperator", "pass_cost"]

PASS = 16
"""Vectors that could be multiplied at the price of going through the training data once more."""


def pass_cost(vectors: int) -> int:
    """Return the cost of one product with a block of vectors, in vectors.

    Examples
    --------
    >>> pass_cost(1), pass_cost(200)
    (17, 216)
    """
    return vectors + PASS


@dataclass(frozen=True)
class CholeskyFactor:
    """The lower triangular L [p, p] of A = L L^T."""

    lower: Any

    def solve(self, rows: Any) -> Any:
        """Return R A^-1 [m, p] for the rows of R.

        Examples
        --------
        >>> import numpy as np
        >>> CholeskyFactor(np.diag([2.0, 3.0])).solve(np.ones((1, 2))).round(3)
        array([[0.25 , 0.111]])
        """
        if is_numpy_array(self.lower):
            from scipy.linalg import cho_solve

            return cho_solve((self.lower, True), rows.T).T
        if is_torch_array(self.lower):
            import torch

            return torch.cholesky_solve(rows.T, self.lower).T
        xp = array_namespace(self.lower)
        return xp.linalg.solve(self.lower.T, xp.linalg.solve(self.lower, rows.T)).T


class SwitchingOperator:
    """Products with an operator, counted, and with its matrix from when that costs less.

    The matrix [p, p] costs as much as p products. It is formed when the products so far have cost
    that much, which never makes more than twice what the better choice costs; or before a solve
    that would bring them there if it took as many products for each row as those before. With its
    Cholesky factor for a preconditioner, conjugate gradients then end after an iteration or two.

    Parameters
    ----------
    operator : LinearOperator
        A [p, p].
    dense_up_to : int
        Largest p for which the matrix is formed.
    """

    def __init__(self, operator: LinearOperator, *, dense_up_to: int) -> None:
        self.operator = operator
        self.dense_up_to = dense_up_to
        self.matrix: Any = None
        self.cholesky: CholeskyFactor | None = None
        self.products = 0
        self.passes = 0
        self._solved = 0
        self._cost = 0

    @property
    def size(self) -> int:
        """The dimension p."""
        return self.operator.size

    def matvec(self, vectors: Any) -> Any:
        """Return the products [m, p] with the rows of `vectors` [m, p].

        Raises
        ------
        InfluenceError
            If they are not finite.
        """
        if self.matrix is None and self._cost >= pass_cost(self.size):
            self._form()
        if self.matrix is not None:
            return vectors @ self.matrix
        result = self.operator.matvec(vectors)
        xp = array_namespace(result)
        if not bool(xp.all(xp.isfinite(result))):
            raise InfluenceError(
                "a product of the curvature with a vector is NaN or infinite: look at the loss and "
                "its second derivatives at the training points"
            )
        self.products += vectors.shape[0]
        self.passes += 1
        self._cost += pass_cost(vectors.shape[0])
        return result

    def dense(self) -> Any:
        """Return the matrix [p, p]."""
        return self.operator.dense() if self.matrix is None else self.matrix

    def expect(self, rows: int) -> None:
        """Form the matrix if solving for as many rows is expected to cost more than it does."""
        each = self._cost / self._solved if self._solved else 0.0
        if self.matrix is None and each and self._cost + each * rows > pass_cost(self.size):
            self._form()
        self._solved += rows

    def _form(self) -> None:
        if self.size > self.dense_up_to:
            return
        self.matrix = self.operator.dense()
        self.cholesky = _factorised(self.matrix)


def _factorised(matrix: Any) -> CholeskyFactor | None:
    """Return the Cholesky factor, or None if the matrix is not positive definite."""
    xp = array_namespace(matrix)
    try:
        factor = xp.linalg.cholesky(matrix)
    except (ValueError, RuntimeError):
        # The errors of linear algebra of numpy and of torch.
        return None
    return CholeskyFactor(factor) if bool(xp.all(xp.isfinite(factor))) else None
