"""The Neumann recursion for inverse matrices times vectors (array API)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace

from dvl_influence.errors import ConvergenceError

__all__ = ["Recursion", "diverged", "iterate", "sample", "vector_norms"]

GROWTH = 10.0
"""Times what a convergent recursion can reach, at which it is given up."""

Product = Callable[[Any], Any]


@dataclass(frozen=True)
class Recursion:
    """Where the recursion ended."""

    value: Any
    """Solutions [m, p]."""
    residual: Any
    """Norms of ``rhs - A value`` [m]."""
    steps: int


def iterate(product: Product, rhs: Any, *, scale: float, depth: int, tolerance: float) -> Recursion:
    """Run ``h <- v + h - A h / s`` with the whole operator, until h / s solves A x = v.

    The difference of two iterates is the residual ``v - A h / s``, so that it is known at every
    step. Rows that are done are left alone.

    Parameters
    ----------
    product : callable
        V [a, p] -> A V [a, p].
    rhs : array [m, p]
        Of norm 1 or 0 each.
    scale : float
        s, above half the largest eigenvalue of A.
    depth : int
        Steps at most.
    tolerance : float
        Norm of residuals to be reached.

    Raises
    ------
    ConvergenceError
        If a residual grows to ten times the right-hand side.
    """
    xp = array_namespace(rhs)
    norms = vector_norms(rhs)
    zero, rows = xp.nonzero(norms == 0)[0], xp.nonzero(norms != 0)[0]
    places, values, residuals = [zero], [xp.take(rhs, zero, axis=0)], [xp.take(norms, zero)]
    h = v = xp.take(rhs, rows, axis=0)
    steps = 0
    while rows.shape[0]:
        difference = v - product(h) / scale
        norms = vector_norms(difference)
        steps += 1
        if not bool(xp.all(norms <= GROWTH)):
            raise diverged(scale, steps, float(xp.max(norms)), "a residual")
        done = (norms <= tolerance) | (steps == depth)
        leave, stay = xp.nonzero(done)[0], xp.nonzero(~done)[0]
        places.append(xp.take(rows, leave))
        values.append(xp.take(h, leave, axis=0) / scale)
        residuals.append(xp.take(norms, leave))
        rows, v = xp.take(rows, stay), xp.take(v, stay, axis=0)
        h = xp.take(h + difference, stay, axis=0)
    order = xp.argsort(xp.concat(places))
    value = xp.take(xp.concat(values, axis=0), order, axis=0)
    return Recursion(value, xp.take(xp.concat(residuals), order), steps)


def sample(
    draw: Callable[[], Product], rhs: Any, *, scale: float, depth: int, averaged: int
) -> Any:
    """Run the recursion with a new random operator at every step; return solutions [m, p].

    Parameters
    ----------
    draw : callable
        Returns the product with a random operator whose mean is A.
    rhs : array [m, p]
        Of norm 1 or 0 each.
    scale : float
        s.
    depth : int
        Steps.
    averaged : int
        The mean of so many last iterates is the solution.

    Raises
    ------
    ConvergenceError
        If iterates grow to ten times what those of a convergent recursion can reach.
    """
    xp = array_namespace(rhs)
    h, total = rhs, xp.zeros_like(rhs)
    for step in range(1, depth + 1):
        h = rhs + h - draw()(h) / scale
        # Contractions add at most the right-hand side, of norm 1, at every step.
        size = float(xp.max(vector_norms(h)))
        if not size <= GROWTH * (step + 1):
            raise diverged(scale, step, size, "an iterate")
        if step > depth - averaged:
            total = total + h
    return total / (averaged * scale)


def diverged(scale: float, steps: int, size: float, what: str) -> ConvergenceError:
    """Return the error that says that the recursion grows."""
    return ConvergenceError(
        f"LiSSA with scale {scale:.4g} diverges: after {steps} steps {what} has grown to "
        f"{size:.3g} times the norm of the right-hand side. The scale may be too small: use "
        "scale=None or a larger one, or a larger batch_size; or the curvature is not positive "
        "definite: use a larger regularization, or curvature='ggn'"
    )


def vector_norms(rows: Any) -> Any:
    """Return the norms of the rows [m]."""
    return array_namespace(rows).linalg.vector_norm(rows, axis=1)
