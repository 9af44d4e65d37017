"""Estimates of the spectrum of an operator from a few products with vectors, without torch."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace, device

from dvl_core.protocols import LinearOperator

__all__ = ["extreme_eigenvalues", "gaussian", "mean_eigenvalue", "signs"]


def gaussian(operator: LinearOperator, rng: np.random.Generator, count: int) -> Any:
    """Return standard normal vectors [count, p] of the type and on the device of the operator."""
    return _like(operator, rng.standard_normal((count, operator.size)))


def signs(operator: LinearOperator, rng: np.random.Generator, count: int) -> Any:
    """Return vectors of random signs [count, p] of the type and on the device of the operator."""
    return _like(operator, 2.0 * rng.integers(0, 2, (count, operator.size)) - 1.0)


def _like(operator: LinearOperator, numbers: np.ndarray[Any, Any]) -> Any:
    like = getattr(operator, "like", None)
    if like is None:
        return numbers
    return array_namespace(like).asarray(numbers, dtype=like.dtype, device=device(like))


def mean_eigenvalue(operator: LinearOperator, *, probes: int = 16, seed: int = 0) -> float:
    """Return an unbiased estimate of trace / p, from random signs (Hutchinson).

    Parameters
    ----------
    operator : LinearOperator
        Symmetric [p, p].
    probes : int
        Products with vectors.
    seed : int
        Of the random signs.

    Examples
    --------
    >>> from dvl_core.testing.inverse_hessians import MatrixOperator
    >>> mean_eigenvalue(MatrixOperator(np.diag([1.0, 3.0])))
    2.0
    """
    vectors = signs(operator, np.random.default_rng(seed), probes)
    products = operator.matvec(vectors)
    xp = array_namespace(products)
    return float(xp.sum(vectors * products)) / (probes * operator.size)


def extreme_eigenvalues(
    operator: LinearOperator, *, steps: int = 40, seed: int = 0
) -> tuple[float, float]:
    """Return estimates of the smallest and the largest eigenvalue.

    By Lanczos with full re-orthogonalisation. They lie inside the spectrum, and are exact for
    `steps` >= p.

    Parameters
    ----------
    operator : LinearOperator
        Symmetric [p, p].
    steps : int
        Products with one vector.
    seed : int
        Of the first vector.

    Examples
    --------
    >>> from dvl_core.testing.inverse_hessians import MatrixOperator
    >>> low, high = extreme_eigenvalues(MatrixOperator(np.diag([-1.0, 2.0, 3.0])))
    >>> round(low, 9), round(high, 9)
    (-1.0, 3.0)
    """
    vector = gaussian(operator, np.random.default_rng(seed), 1)
    xp = array_namespace(vector)
    vector = vector / xp.linalg.vector_norm(vector)
    basis = vector
    diagonal: list[float] = []
    beside: list[float] = []
    for _ in range(min(steps, operator.size)):
        product = operator.matvec(vector)
        diagonal.append(float(xp.sum(product * vector)))
        # Twice is enough: one pass leaves rounding errors of the size of what it removed.
        for _ in range(2):
            product = product - (product @ basis.T) @ basis
        norm = float(xp.linalg.vector_norm(product))
        scale = max(abs(value) for value in diagonal)
        if norm <= 100 * float(xp.finfo(product.dtype).eps) * scale:
            break
        beside.append(norm)
        vector = product / norm
        basis = xp.concat([basis, vector], axis=0)
    k = len(diagonal)
    inner = np.array(beside[: k - 1])
    matrix = np.diag(diagonal) + np.diag(inner, 1) + np.diag(inner, -1)
    eigenvalues = np.linalg.eigvalsh(matrix)
    return float(eigenvalues[0]), float(eigenvalues[-1])
