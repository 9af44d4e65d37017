"""Inverse curvature times vectors by conjugate gradients."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from array_api_compat import array_namespace

from dvl_cg.iteration import Iterate, block_cg
from dvl_cg.preconditioners import Preconditioner, as_preconditioner
from dvl_cg.switching import SwitchingOperator
from dvl_core.errors import DvlWarning, InvalidOptionError
from dvl_core.options import Described
from dvl_core.protocols import InverseHessianApproximator, LinearOperator
from dvl_influence.errors import IndefiniteCurvatureError
from dvl_influence.operators import split_damping
from dvl_influence.solutions import LinearSolution, check_rows
from dvl_influence.spectrum import extreme_eigenvalues

__all__ = ["CgApproximator"]

SAFE = 4.0
"""Regularization that an indefinite curvature should get, in sizes of its smallest eigenvalue."""


@dataclass
class _State:
    operator: SwitchingOperator
    preconditioner: Any
    details: dict[str, Any]


@dataclass(frozen=True)
class _Like:
    """An operator that tells what its vectors look like."""

    operator: LinearOperator
    like: Any

    @property
    def size(self) -> int:
        return self.operator.size

    def matvec(self, vectors: Any) -> Any:
        return self.operator.matvec(vectors)

    def dense(self) -> Any:
        return self.operator.dense()


class CgApproximator(Described):
    """Solve with the curvature itself, to any accuracy, by block conjugate gradients.

    All right-hand sides share the products with the curvature: one pass through the training data
    per iteration serves them all, and each profits from the directions of the others. The curvature
    plus regularization has to be positive definite.

    Parameters
    ----------
    rtol : float, optional
        A right-hand side b is solved when ``||b - A x|| <= max(rtol ||b||, atol)``. None: 1e-8 in
        double, 1e-4 in single precision, in which 1e-6 is often out of reach.
    atol : float
        See `rtol`.
    maxiter : int
        Iterations at most.
    block_size : int, optional
        Right-hand sides that are solved together; None: all. About 14 vectors of memory for each,
        beside up to 2^25 numbers of earlier directions.
    preconditioner : str, dict or object, optional
        ``"jacobi"``, ``"nystroem"``, the name of an inverse-hessian such as ``"ekfac"``, a
        dictionary of name and options, or an object with ``init(curvature)`` and
        ``apply(state, vectors)``.
        It must be symmetric and positive definite.
    indefinite : str
        What to do when a direction of curvature that is not positive is met: ``"refuse"`` raises,
        ``"stop"`` warns and returns the last iterate, improved along the positive directions only.
    dense_up_to : int
        Largest number of parameters p for which the matrix [p, p] is formed once that costs fewer
        products than going on; 0: never.

    Raises
    ------
    InvalidOptionError
        If an option is out of range.

    References
    ----------
    Ji and Li, A breakdown-free block conjugate gradient method, BIT 57, 2017, algorithm 2; Martens,
    Deep learning via Hessian-free optimization, ICML 2010, for its use with Hessians of nets.

    Examples
    --------
    >>> import numpy as np
    >>> from dvl_core.testing.inverse_hessians import MatrixOperator
    >>> cg = CgApproximator()
    >>> solution = cg.solve(cg.init(MatrixOperator(np.diag([1.0, 4.0]))), np.ones((3, 2)))
    >>> solution.value[0].round(6), solution.converged, solution.iterations
    (array([1.  , 0.25]), True, 2)
    """

    curvature_kinds: ClassVar[tuple[str, ...]] = ("hessian", "ggn", "empirical-fisher")

    def __init__(
        self,
        *,
        rtol: float | None = None,
        atol: float = 0.0,
        maxiter: int = 1000,
        block_size: int | None = None,
        preconditioner: str
        | Mapping[str, Any]
        | Preconditioner
        | InverseHessianApproximator
        | None = None,
        indefinite: Literal["refuse", "stop"] = "refuse",
        dense_up_to: int = 8192,
    ) -> None:
        if rtol is not None and not 0.0 <= rtol < 1.0:
            raise InvalidOptionError(f"rtol is {rtol}: it must be at least 0 and below 1")
        if not 0.0 <= atol < float("inf"):
            raise InvalidOptionError(f"atol is {atol}: it must be at least 0")
        if maxiter < 1:
            raise InvalidOptionError(f"maxiter is {maxiter}: it must be at least 1")
        if block_size is not None and block_size < 1:
            raise InvalidOptionError(f"block_size is {block_size}: it must be at least 1, or None")
        if indefinite not in ("refuse", "stop"):
            raise InvalidOptionError(f"indefinite is {indefinite!r}: it must be 'refuse' or 'stop'")
        if dense_up_to < 0:
            raise InvalidOptionError(f"dense_up_to is {dense_up_to}: it must be at least 0")
        self.rtol = rtol
        self.atol = atol
        self.maxiter = maxiter
        self.block_size = block_size
        self.preconditioner = as_preconditioner(preconditioner)
        self.indefinite = indefinite
        self.dense_up_to = dense_up_to

    def init(self, curvature: LinearOperator) -> _State:
        """Prepare the preconditioner; the curvature is read by `solve`."""
        operator = SwitchingOperator(curvature, dense_up_to=self.dense_up_to)
        details = {"preconditioner": repr(self.preconditioner) if self.preconditioner else None}
        prepared = self.preconditioner.init(curvature) if self.preconditioner else None
        return _State(operator, prepared, details)

    def solve(self, state: _State, rhs: Any) -> LinearSolution:
        """Solve for the rows of `rhs` [m, p].

        Returns
        -------
        LinearSolution
            With true relative residuals [m], and in its details how many products it took, whether
            they were with the matrix [p, p], and why it stopped.

        Raises
        ------
        DataError
            If `rhs` has another shape, or is not finite.
        IndefiniteCurvatureError
            If a direction of curvature that is not positive is met, and `indefinite` is "refuse".
        InfluenceError
            If a product is not finite.

        Warns
        -----
        DvlWarning
            If a right-hand side is not solved to its tolerance.
        """
        xp = array_namespace(rhs)
        check_rows(rhs, state.operator.size)
        unit, norms = _normalised(rhs)
        tolerance = self._tolerance(norms)
        products, passes = state.operator.products, state.operator.passes
        step = self.block_size or max(1, rhs.shape[0])
        parts = []
        for start in range(0, rhs.shape[0], step):
            part = slice(start, start + step)
            parts.append(self._solved(state, unit[part, :], tolerance[part]))
            if parts[-1].stopped == "indefinite":
                self._indefinite(state, parts[-1], rhs)
        if not parts:
            parts.append(Iterate(unit, norms, 0, "converged", float("inf")))
        value = xp.concat([part.value for part in parts], axis=0) * norms[:, None]
        residual = xp.concat([part.residual for part in parts])
        missed = int(xp.sum(xp.astype(residual > tolerance, xp.int64)))
        reasons: list[str] = sorted({part.stopped for part in parts} - {"converged"})
        if missed:
            self._warn(missed, residual, reasons)
        return LinearSolution(
            state.operator,
            rhs,
            value,
            iterations=max(part.iterations for part in parts),
            converged=not missed,
            residual=residual,
            details={
                "products": state.operator.products - products,
                "passes": state.operator.passes - passes,
                "dense": state.operator.matrix is not None,
                "not_converged": missed,
                "stopped_by": reasons,
            },
        )

    def _solved(self, state: _State, unit: Any, tolerance: Any) -> Iterate:
        """Solve for right-hand sides of norm 1 or 0 that are taken together."""
        operator = state.operator
        operator.expect(unit.shape[0])

        def precondition(vectors: Any) -> Any:
            if operator.cholesky is not None:
                return operator.cholesky.solve(vectors)
            if self.preconditioner is None:
                return vectors
            return self.preconditioner.apply(state.preconditioner, vectors)

        return block_cg(operator.matvec, precondition, unit, tolerance, maxiter=self.maxiter)

    def _tolerance(self, norms: Any) -> Any:
        """Return the relative residuals to be reached [m]."""
        xp = array_namespace(norms)
        double = xp.finfo(norms.dtype).eps < 1e-12
        rtol = self.rtol if self.rtol is not None else 1e-8 if double else 1e-4
        some = xp.where(norms == 0, xp.ones_like(norms), norms)
        return xp.maximum(rtol * xp.ones_like(norms), self.atol / some)

    def _warn(self, missed: int, residual: Any, reasons: list[str]) -> None:
        xp = array_namespace(residual)
        causes = {
            "maxiter": f"maxiter={self.maxiter} was reached: raise it, use a preconditioner or a "
            "larger regularization",
            "stagnation": "rounding hides what is left: compute in double precision (dtype), raise "
            "rtol or the regularization",
            "indefinite": "the curvature is not positive definite: raise the regularization",
        }
        why = "; ".join(causes[reason] for reason in reasons)
        warnings.warn(
            f"conjugate gradients missed the tolerance for {missed} of {residual.shape[0]} "
            f"right-hand sides, worst relative residual {float(xp.max(residual)):.2g}; {why}",
            DvlWarning,
            stacklevel=3,
        )

    def _indefinite(self, state: _State, part: Iterate, rhs: Any) -> None:
        """Say which regularization would do."""
        if self.indefinite == "stop":
            return
        undamped, damping = split_damping(state.operator.operator)
        smallest, _ = extreme_eigenvalues(_Like(undamped, rhs[0, :]))
        smallest = min(smallest, part.curvature - damping)
        enough = f"of at least {-SAFE * smallest:.3g}" if smallest < 0 else "above 0"
        raise IndefiniteCurvatureError(
            "the curvature is not positive definite in its precision: a direction has the Rayleigh "
            f"quotient {part.curvature:.3g}, regularization {damping:g} included, and the smallest "
            f"eigenvalue without it is about {smallest:.3g}. Use a regularization {enough}, or "
            "'auto', curvature='ggn', or the option indefinite='stop'"
        )


def _normalised(rhs: Any) -> tuple[Any, Any]:
    """Return the rows brought to norm 1, and their norms [m], without underflow."""
    xp = array_namespace(rhs)
    largest = xp.max(xp.abs(rhs), axis=1)
    peak = xp.where(largest == 0, xp.ones_like(largest), largest)
    scaled = rhs / peak[:, None]
    norms = xp.linalg.vector_norm(scaled, axis=1)
    some = xp.where(norms == 0, xp.ones_like(norms), norms)
    return scaled / some[:, None], norms * peak
