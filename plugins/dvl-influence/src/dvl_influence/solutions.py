"""What a solve returns, with the residual that tells how far to trust it."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from array_api_compat import array_namespace

from dvl_core.errors import DataError
from dvl_core.protocols import LinearOperator
from dvl_influence.finite import all_finite

__all__ = ["LinearSolution", "check_rows", "relative_residuals"]


def check_rows(rhs: Any, size: int) -> None:
    """Refuse right-hand sides that are none.

    Raises
    ------
    DataError
        If they are not rows of `size` finite numbers.
    """
    xp = array_namespace(rhs)
    if rhs.ndim != 2 or rhs.shape[1] != size:
        raise DataError(
            f"right-hand sides must be the rows of an array [m, {size}], not {tuple(rhs.shape)}"
        )
    if not xp.isdtype(rhs.dtype, "real floating"):
        raise DataError(f"right-hand sides must be floating-point numbers, not {rhs.dtype}")
    if not all_finite(rhs):
        bad = xp.nonzero(~xp.all(xp.isfinite(rhs), axis=1))[0]
        raise DataError(
            f"right-hand side {int(bad[0])} holds NaN or infinity: look at the gradient of that "
            "point"
        )


def relative_residuals(operator: LinearOperator, rhs: Any, value: Any) -> Any:
    """Return ||rhs - A value|| / ||rhs|| of each row [m]; 0 where both are zero.

    Parameters
    ----------
    operator : LinearOperator
        A [p, p].
    rhs, value : array [m, p]
        Right-hand sides and their solutions.
    """
    return _relative(rhs - operator.matvec(value), rhs)


def _relative(left: Any, rhs: Any) -> Any:
    """Return the norms of the rows of `left` over those of `rhs`."""
    xp = array_namespace(rhs)
    norm = xp.linalg.vector_norm(rhs, axis=-1)
    rest = xp.linalg.vector_norm(left, axis=-1)
    zero = norm == 0
    return xp.where(zero, rest, rest / xp.where(zero, xp.ones_like(norm), norm))


class LinearSolution:
    """Solutions of A x = b for several b.

    Parameters
    ----------
    operator : LinearOperator
        A [p, p], damping included.
    rhs, value : array [m, p]
        Right-hand sides and their solutions.
    iterations : int
        Iterations used; 0 for direct methods.
    converged : bool
        Whether every solution met the tolerance of the method; of a method that approximates the
        inverse once and for all: whether it claims to be exact.
    residual : array [m], optional
        Relative residuals, where the method knows them; else they are computed, by one product
        with A, when they are first asked for.
    details : dict, optional
        What else the method has to say: numbers and short texts, ready for JSON.
    """

    def __init__(
        self,
        operator: LinearOperator,
        rhs: Any,
        value: Any,
        *,
        iterations: int = 0,
        converged: bool,
        residual: Any = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        self._operator = operator
        self._rhs = rhs
        self._known = residual
        self.value = value
        self.iterations = iterations
        self.converged = converged
        self.details = details or {}

    @cached_property
    def residual(self) -> Any:
        """Relative residual norms [m]."""
        if self._known is not None:
            return self._known
        return relative_residuals(self._operator, self._rhs, self.value)
