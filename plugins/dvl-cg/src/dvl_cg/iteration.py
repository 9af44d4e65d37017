"""Block conjugate gradients that do not break down, whatever the right-hand sides (array API)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from array_api_compat import array_namespace

from dvl_core.errors import InvalidOptionError

__all__ = ["Iterate", "block_cg", "orthonormal_rows"]

CHECK_EVERY = 50
"""Iterations after which the residuals that were updated are replaced by those that are true."""

KEPT_NUMBERS = 2**25
"""Size of the earlier directions and their products, which new directions are made conjugate to.

The last block would do if no row were ever done early and nothing were rounded; all of them save
most of the iterations where the condition is large.
"""

Product = Callable[[Any], Any]


@dataclass(frozen=True)
class Iterate:
    """Where the iteration ended."""

    value: Any
    """Solutions [m, p]."""
    residual: Any
    """Norms of what is left of the right-hand sides [m], from a product with the solutions."""
    iterations: int
    stopped: Literal["converged", "maxiter", "stagnation", "indefinite"]
    curvature: float
    """The smallest Rayleigh quotient that was met."""


def block_cg(
    product: Product, precondition: Product, rhs: Any, tolerance: Any, *, maxiter: int
) -> Iterate:
    """Solve A X = B for the columns of B, here the rows of `rhs`, all in one Krylov space.

    Every iteration makes the residuals of the rows that are not done into orthonormal directions,
    as many as are linearly independent, and minimises the error of all rows in the norm of A over
    them. A row is done when its residual is within its tolerance; this is checked with residuals
    from a product with A, not only with those that are updated along the way.

    Parameters
    ----------
    product : callable
        V [s, p] -> A V [s, p].
    precondition : callable
        R [a, p] -> P^-1 R [a, p], symmetric and positive definite.
    rhs : array [m, p]
        Of norm 1 or 0 each.
    tolerance : array [m]
        Norms of residuals to be reached.
    maxiter : int
        Iterations at most.

    Raises
    ------
    InvalidOptionError
        If the preconditioner is not positive definite.

    References
    ----------
    Ji and Li, A breakdown-free block conjugate gradient method, BIT 57, 2017, algorithm 2.
    """
    xp = array_namespace(rhs)
    value, left = xp.zeros_like(rhs), rhs
    earlier = started = _norms(rhs)
    stuck = earlier < 0
    kept: tuple[Any, Any] | None = None
    iterations = since_check = since_start = 0
    smallest, largest = float("inf"), 0.0
    indefinite = False
    while True:
        norms = _norms(left)
        active = xp.nonzero((norms > tolerance) & ~stuck)[0]
        exhausted = not len(active) or since_start >= rhs.shape[1]
        last = iterations == maxiter or indefinite
        if iterations and (exhausted or last or since_check == CHECK_EVERY):
            true = rhs - product(value)
            norms = _norms(true)
            # Rounding has taken over where a space was searched in full, or the updates no longer
            # describe what is left, and yet what is left is not half of what it was.
            if exhausted:
                stuck = stuck | ((norms > tolerance) & (norms > started / 2))
                started, since_start, kept = norms, 0, None
            else:
                stuck = stuck | ((_norms(true - left) > norms / 2) & (norms > earlier / 2))
            left, earlier, since_check = true, norms, 0
            active = xp.nonzero((norms > tolerance) & ~stuck)[0]
        if last or not len(active):
            break
        residuals = xp.take(left, active, axis=0)
        search = precondition(residuals)
        if not bool(xp.all(xp.sum(search * residuals, axis=1) > 0)):
            raise InvalidOptionError(
                "the preconditioner is not positive definite: it turns a residual by a right "
                "angle or more; use another one, or a larger regularization for it"
            )
        if kept is not None:
            search = search - (search @ kept[1].T) @ kept[0]
        directions = orthonormal_rows(search)
        since_start += directions.shape[0] or rhs.shape[1]
        if not directions.shape[0]:
            continue
        products = product(directions)
        iterations, since_check = iterations + 1, since_check + 1
        quotients, vectors = _eigen(directions @ products.T)
        smallest = min(smallest, float(quotients[0]))
        largest = max(largest, float(quotients[-1]))
        positive = quotients > xp.finfo(rhs.dtype).eps * largest
        indefinite = not bool(xp.all(positive))
        usable = xp.nonzero(positive)[0]
        scaled = (xp.take(vectors, usable, axis=1) / xp.sqrt(xp.take(quotients, usable))).T
        directions, products = scaled @ directions, scaled @ products
        step = left @ directions.T
        value, left = value + step @ directions, left - step @ products
        kept = _kept(kept, directions, products)
    stopped: Literal["converged", "maxiter", "stagnation", "indefinite"] = "converged"
    if bool(xp.any(norms > tolerance)):
        stopped = "indefinite" if indefinite else "maxiter" if len(active) else "stagnation"
    return Iterate(value, norms, iterations, stopped, smallest)


def orthonormal_rows(rows: Any) -> Any:
    """Return an orthonormal basis [rank, p] of the space of the rows [a, p].

    Rows are brought to norm 1 first, and the rank is decided by singular values, so that a small
    row counts as much as a large one, and equal rows count once.

    Examples
    --------
    >>> import numpy as np
    >>> basis = orthonormal_rows(np.array([[3.0, 0.0], [3e-9, 0.0], [0.0, 0.0]]))
    >>> basis.shape, float(abs(basis[0, 0]))
    ((1, 2), 1.0)
    """
    xp = array_namespace(rows)
    norms = _norms(rows)[:, None]
    rows = rows / xp.where(norms == 0, xp.ones_like(norms), norms)
    orthogonal, triangular = xp.linalg.qr(rows.T)
    left, singular, _ = xp.linalg.svd(triangular, full_matrices=False)
    smallest = 10 * max(rows.shape) ** 0.5 * xp.finfo(rows.dtype).eps
    independent = xp.nonzero(singular > smallest * xp.max(singular))[0]
    return (orthogonal @ xp.take(left, independent, axis=1)).T


def _kept(earlier: tuple[Any, Any] | None, directions: Any, products: Any) -> tuple[Any, Any]:
    """Return the last directions [k, p], orthonormal in the product with A, and A times them."""
    if earlier is None:
        return directions, products
    xp = array_namespace(directions)
    room = max(2 * directions.shape[0], KEPT_NUMBERS // (2 * directions.shape[1]))
    return (
        xp.concat([earlier[0], directions], axis=0)[-room:, :],
        xp.concat([earlier[1], products], axis=0)[-room:, :],
    )


def _norms(rows: Any) -> Any:
    """Return the norms of the rows [m]."""
    return array_namespace(rows).linalg.vector_norm(rows, axis=1)


def _eigen(matrix: Any) -> tuple[Any, Any]:
    """Return ascending eigenvalues, and eigenvectors, of a matrix symmetric but for rounding."""
    decomposed = array_namespace(matrix).linalg.eigh((matrix + matrix.T) / 2)
    return decomposed[0], decomposed[1]
