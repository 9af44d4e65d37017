"""Inverse curvature times vectors by LiSSA."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from dvl_core.errors import DvlWarning, InvalidOptionError
from dvl_core.options import Described
from dvl_core.protocols import LinearOperator
from dvl_influence.errors import InfluenceError
from dvl_influence.operators import split_damping
from dvl_influence.solutions import LinearSolution, check_rows
from dvl_influence.spectrum import gaussian
from dvl_lissa.recursion import Product, iterate, sample, vector_norms

__all__ = ["LissaApproximator"]

MARGIN = 1.1
"""Scale, in largest eigenvalues; power iteration may end a little below the largest."""

TRIED_BATCHES = 3
"""Mini-batches whose largest eigenvalue is estimated too: it may be far above that of the mean."""


@dataclass(frozen=True)
class _State:
    curvature: LinearOperator
    scale: float
    details: dict[str, Any]


class LissaApproximator(Described):
    """Sum the Neumann series of the inverse by a recursion that needs products only.

    ``h <- v + h - (H + lambda I) h / s``, from ``h = v``; the solution is ``h / s``. It converges
    where all eigenvalues of ``(H + lambda I) / s`` lie between 0 and 2, at a rate of one minus the
    smallest of them: it takes about the condition number times the logarithm of the accuracy in
    steps. Conjugate gradients take the square root of that; LiSSA is for curvature of random
    mini-batches, where they cannot be used.

    Without `batch_size` it stops when every residual is within `rtol`, and draws nothing at random.
    With it, the solution is the mean over `repeats` runs of `depth` steps.

    Parameters
    ----------
    depth : int
        Steps at most; with `batch_size`, steps of each run.
    repeats : int
        Runs with other random mini-batches, averaged; their spread estimates the error. Only used
        with `batch_size`.
    batch_size : int, optional
        Training points in a mini-batch; None: all of them at every step.
    averaged : float
        Share of the last iterates of a run that are averaged, which takes away most of the noise of
        mini-batches; 0: the last one only, as in the paper. Only used with `batch_size`.
    rtol : float
        A right-hand side is solved when its relative residual, and with `repeats` the relative
        standard error of its solution, are within it. With small mini-batches, 0.1 is realistic.
    scale : float, optional
        s, above half the largest eigenvalue; None: 1.1 times the estimate of the largest.
    power_iterations : int
        Products to estimate the largest eigenvalue with.
    seed : int
        Of the mini-batches, and of the first vector of the power iteration.

    Raises
    ------
    InvalidOptionError
        If an option is out of range.

    References
    ----------
    Agarwal, Bullins and Hazan, Second-order stochastic optimization for machine learning in linear
    time, JMLR 18, 2017, equation 8; Koh and Liang, ICML 2017, section 3; Klochkov and Liu,
    Revisiting inverse Hessian vector products for calculating influence functions, 2024, for scale
    and batch size.

    Examples
    --------
    >>> from dvl_core.testing.inverse_hessians import MatrixOperator
    >>> lissa = LissaApproximator()
    >>> state = lissa.init(MatrixOperator(np.diag([1.0, 4.0])))
    >>> solution = lissa.solve(state, np.ones((3, 2)))
    >>> solution.value[0].round(3), solution.converged
    (array([0.999, 0.25 ]), True)
    """

    curvature_kinds: ClassVar[tuple[str, ...]] = ("hessian", "ggn", "empirical-fisher")

    def __init__(
        self,
        *,
        depth: int = 2000,
        repeats: int = 4,
        batch_size: int | None = None,
        averaged: float = 0.5,
        rtol: float = 1e-3,
        scale: float | None = None,
        power_iterations: int = 20,
        seed: int = 0,
    ) -> None:
        least = {
            "depth": depth,
            "repeats": repeats,
            "batch_size": 1 if batch_size is None else batch_size,
            "power_iterations": power_iterations,
        }
        for name, value in least.items():
            if value < 1:
                raise InvalidOptionError(f"{name} is {value}: it must be at least 1")
        if not 0.0 <= averaged <= 1.0:
            raise InvalidOptionError(f"averaged is {averaged}: it must be a share, from 0 to 1")
        if not 0.0 < rtol < 1.0:
            raise InvalidOptionError(f"rtol is {rtol}: it must be above 0 and below 1")
        if scale is not None and not 0.0 < scale < math.inf:
            raise InvalidOptionError(f"scale is {scale}: it must be above 0, or None")
        self.depth = depth
        self.repeats = repeats
        self.batch_size = batch_size
        self.averaged = averaged
        self.rtol = rtol
        self.scale = scale
        self.power_iterations = power_iterations
        self.seed = seed

    def init(self, curvature: LinearOperator) -> _State:
        """Estimate the largest eigenvalue and choose the scale.

        Raises
        ------
        InvalidOptionError
            If `batch_size` is given, but the curvature has no mini-batches.
        InfluenceError
            If a product is not finite, or the curvature is zero.
        """
        undamped: Any
        undamped, damping = split_damping(curvature)
        if self.batch_size is not None and not hasattr(undamped, "sampled"):
            raise InvalidOptionError(
                f"batch_size is {self.batch_size}, but a {type(undamped).__name__} has no "
                "mini-batches, sampled(rng, n_points): leave batch_size at None"
            )
        if self.scale is not None:
            return _State(curvature, self.scale, {"scale": self.scale, "largest_eigenvalue": None})
        rng = np.random.default_rng(self.seed)
        operators = [undamped]
        if self.batch_size is not None:
            operators += [undamped.sampled(rng, self.batch_size) for _ in range(TRIED_BATCHES)]
        largest = max(self._largest(operator, rng) for operator in operators)
        scale = MARGIN * (largest + damping)
        if not 0.0 < scale < math.inf:
            raise InfluenceError(
                f"the largest eigenvalue of the curvature is {largest:g}, with regularization "
                f"{damping:g} there is nothing to invert: the loss may be flat, or its second "
                "derivatives NaN"
            )
        return _State(curvature, scale, {"scale": scale, "largest_eigenvalue": largest})

    def solve(self, state: _State, rhs: Any) -> LinearSolution:
        """Solve for the rows of `rhs` [m, p].

        Returns
        -------
        LinearSolution
            With true relative residuals [m] and, in its details, the scale and, of mini-batches,
            the relative standard error of the solution of each row, ``"errors"``.

        Raises
        ------
        ConvergenceError
            If the recursion grows instead of converging.
        DataError
            If `rhs` has another shape, or is not finite.

        Warns
        -----
        DvlWarning
            If a right-hand side is not solved to `rtol`.
        """
        xp = array_namespace(rhs)
        check_rows(rhs, state.curvature.size)
        largest = xp.max(xp.abs(rhs), axis=1)
        # In two steps, because squares of small numbers are zero.
        scaled = rhs / _nonzero(largest)[:, None]
        lengths = vector_norms(scaled)
        unit, norms = scaled / _nonzero(lengths)[:, None], largest * lengths
        details: dict[str, Any] = {"scale": state.scale}
        if self.batch_size is None:
            found = iterate(
                state.curvature.matvec,
                unit,
                scale=state.scale,
                depth=self.depth,
                tolerance=self.rtol,
            )
            value, residual, steps = found.value, found.residual, found.steps
            error = residual
        elif not rhs.shape[0]:
            value, residual, error, steps = unit, norms, norms, 0
        else:
            value, spread = self._averaged(state, unit)
            residual = vector_norms(unit - state.curvature.matvec(value))
            error = xp.maximum(residual, spread)
            steps = self.depth * self.repeats
            details["errors"] = [float(e) for e in spread]
        missed = int(xp.sum(xp.astype(error > self.rtol, xp.int64)))
        if missed:
            self._warn(missed, error)
        return LinearSolution(
            state.curvature,
            rhs,
            value * norms[:, None],
            iterations=steps,
            converged=not missed,
            residual=residual,
            details={**details, "not_converged": missed},
        )

    def _averaged(self, state: _State, unit: Any) -> tuple[Any, Any]:
        """Return the mean of the runs [m, p], and its relative standard error [m]; 0 of one run."""
        xp = array_namespace(unit)
        draw = self._drawing(state)
        averaged = max(1, round(self.averaged * self.depth))
        mean, squares = xp.zeros_like(unit), xp.zeros_like(unit[:, 0])
        for run in range(1, self.repeats + 1):
            value = sample(draw, unit, scale=state.scale, depth=self.depth, averaged=averaged)
            change = value - mean
            mean = mean + change / run
            squares = squares + xp.sum(change * (value - mean), axis=1)
        if self.repeats == 1:
            return mean, squares
        error = xp.sqrt(squares / (self.repeats * (self.repeats - 1)))
        return mean, error / _nonzero(vector_norms(mean))

    def _drawing(self, state: _State) -> Callable[[], Product]:
        """Return a function that returns the product with the next random mini-batch."""
        undamped: Any
        undamped, damping = split_damping(state.curvature)
        rng = np.random.default_rng([self.seed, 1])

        def draw() -> Product:
            operator = undamped.sampled(rng, self.batch_size)
            return lambda vectors: operator.matvec(vectors) + damping * vectors

        return draw

    def _largest(self, operator: LinearOperator, rng: np.random.Generator) -> float:
        """Return a power iteration's estimate of the size of the largest eigenvalue."""
        vector = gaussian(operator, rng, 1)
        xp = array_namespace(vector)
        size = 0.0
        for _ in range(self.power_iterations):
            vector = vector / _nonzero(vector_norms(vector))[:, None]
            vector = operator.matvec(vector)
            size = float(xp.linalg.vector_norm(vector))
        return size

    def _warn(self, missed: int, error: Any) -> None:
        xp = array_namespace(error)
        way_out = (
            "raise depth or the regularization, or use conjugate gradients"
            if self.batch_size is None
            else "raise batch_size, depth, repeats or rtol"
        )
        warnings.warn(
            f"LiSSA missed rtol={self.rtol:g} for {missed} of {error.shape[0]} right-hand sides, "
            f"worst relative error {float(xp.max(error)):.2g} after {self.depth} steps: {way_out}",
            DvlWarning,
            stacklevel=3,
        )


def _nonzero(numbers: Any) -> Any:
    """Return the numbers, with 1 for 0."""
    xp = array_namespace(numbers)
    return xp.where(numbers == 0, xp.ones_like(numbers), numbers)
