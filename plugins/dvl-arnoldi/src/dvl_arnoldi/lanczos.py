"""A Krylov basis of a symmetric operator, orthonormal to rounding."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace

from dvl_core.protocols import LinearOperator
from dvl_influence.errors import InfluenceError
from dvl_influence.spectrum import gaussian

__all__ = ["RitzPairs", "ritz_pairs"]


class RitzPairs(NamedTuple):
    """Approximate eigenpairs from a Krylov space of dimension k."""

    values: Any
    """Ritz values [k], ascending, a numpy array in double precision."""
    rotation: Any
    """Coefficients [k, k] of the Ritz vectors in the basis, one a column, likewise."""
    residuals: Any
    """||A v - value v|| [k] of each pair, likewise."""
    basis: Any
    """Orthonormal rows [k, p], of the type of the operator."""

    def vectors(self, which: Any) -> Any:
        """Return the Ritz vectors of the columns `which`, as rows [., p]."""
        xp = array_namespace(self.basis)
        chosen = np.ascontiguousarray(self.rotation[:, which].T)
        return xp.asarray(chosen, dtype=self.basis.dtype, device=self.basis.device) @ self.basis


def ritz_pairs(operator: LinearOperator, dimension: int, seed: int) -> RitzPairs:
    """Return the Ritz pairs of a Krylov space that starts from a random vector.

    Lanczos's recursion, with each product made orthogonal to the whole basis. Where the space is
    exhausted, a new random vector goes on, so that ``dimension = p`` gives all eigenpairs, repeated
    ones included.

    Parameters
    ----------
    operator : LinearOperator
        Symmetric [p, p].
    dimension : int
        k, at most p: products with one vector each.
    seed : int
        Of the random vectors.

    Raises
    ------
    InfluenceError
        If a product is not finite.

    References
    ----------
    Golub and Van Loan, Matrix computations, 4th edition, sections 10.1 and 10.3.

    Examples
    --------
    >>> from dvl_core.testing.inverse_hessians import MatrixOperator
    >>> ritz_pairs(MatrixOperator(np.diag([1.0, 3.0, 3.0])), 3, seed=0).values.round(9)
    array([1., 3., 3.])
    """
    rng = np.random.default_rng(seed)
    vector = gaussian(operator, rng, 1)
    xp = array_namespace(vector)
    epsilon = float(xp.finfo(vector.dtype).eps)
    basis = xp.zeros((dimension, operator.size), dtype=vector.dtype, device=vector.device)
    vector = vector / xp.linalg.vector_norm(vector)
    diagonal, beside = np.zeros(dimension), np.zeros(dimension)
    scale = 0.0
    for k in range(dimension):
        basis[k, :] = vector[0, :]
        product = operator.matvec(vector)
        diagonal[k] = float(xp.sum(product * vector))
        norm = float(xp.linalg.vector_norm(product))
        if not np.isfinite(norm):
            raise InfluenceError("a product of the curvature with a vector is NaN or infinite")
        scale = max(scale, norm)
        rest = _orthogonal(product, basis[: k + 1, :])
        beside[k] = float(xp.linalg.vector_norm(rest))
        if k + 1 == operator.size:
            beside[k] = 0.0
        elif beside[k] <= 100 * epsilon * scale:
            beside[k] = 0.0
            rest = _orthogonal(gaussian(operator, rng, 1), basis[: k + 1, :])
        if k + 1 < operator.size:
            vector = rest / xp.linalg.vector_norm(rest)
    inner = beside[:-1]
    values, rotation = np.linalg.eigh(np.diag(diagonal) + np.diag(inner, 1) + np.diag(inner, -1))
    return RitzPairs(values, rotation, beside[-1] * np.abs(rotation[-1]), basis)


def _orthogonal(vector: Any, basis: Any) -> Any:
    """Return a vector [1, p] without its parts along the rows of a basis.

    Twice is enough: one pass leaves rounding errors of the size of what it removed.
    """
    for _ in range(2):
        vector = vector - (vector @ basis.T) @ basis
    return vector
