"""The mean of inverses of rank one in place of the inverse of their mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from dvl_core.errors import DataError, InvalidOptionError
from dvl_core.protocols import LinearOperator
from dvl_datainf.fisher import EmpiricalFisher, Gradients
from dvl_influence.operators import DampedOperator, split_damping
from dvl_influence.solutions import LinearSolution

__all__ = ["DataInfApproximator", "DataInfState", "Part", "mean_of_inverses"]

SHARE_OF_MEAN = 0.1
"""Of the mean squared entry of the gradients, as in the experiments of the paper."""


@dataclass(frozen=True)
class DataInfState:
    """The gradients of the training points, and what is added to their empirical Fisher matrix."""

    operator: LinearOperator
    gradients: Gradients
    damping: float
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """Right-hand sides [m, p_part] of some of the parameters, and the damping of these."""

    columns: Any
    rhs: Any
    damping: float


def mean_of_inverses(gradients: Gradients, parts: Sequence[Part]) -> list[Any]:
    """Return the mean over the points of ``(g g^T + lambda I)^-1 v``, for each part on its own.

    Parameters
    ----------
    gradients : Gradients
        The rows g, gone through once.
    parts : sequence of Part
        Which columns of the rows belong to each, and its vectors v.

    Returns
    -------
    list of float arrays [m, p_part]
    """
    totals = [array_namespace(part.rhs).zeros_like(part.rhs) for part in parts]
    for rows in gradients:
        xp = array_namespace(rows)
        for k, part in enumerate(parts):
            own = rows[:, part.columns]
            # By Sherman and Morrison, as products of matrices for all rows and vectors at once.
            weights = (part.rhs @ own.T) / (part.damping + xp.sum(own * own, axis=1))
            totals[k] = totals[k] + weights @ own
    return [
        (part.rhs - total / gradients.n_points) / part.damping
        for part, total in zip(parts, totals, strict=True)
    ]


class DataInfApproximator:
    """Approximate the inverse of the damped empirical Fisher matrix by a mean of inverses.

    ``r(v) = 1/(n lambda) sum_i [v - (g_i . v) / (lambda + |g_i|^2) g_i]``, with g_i the gradient of
    training point i: the inverse of each ``g_i g_i^T + lambda I`` is known, and their mean stands
    for the inverse of the mean. No linear system is solved: a solve costs two products of matrices
    with the n x p gradients, for all vectors together.

    Exact for one training point, or if all gradients are equal. Else the mean of inverses is at
    least the inverse of the mean, so that influences of points on themselves are too large, the
    more so the more parameters there are: take it layer by layer (``blocks="layer"``). Needs
    lambda > 0, and the gradients of single points: curvature ``"empirical-fisher"`` only.

    References
    ----------
    Kwon et al., DataInf: Efficiently estimating data influence in LoRA-tuned LLMs and diffusion
    models, ICLR 2024, section 3.

    Examples
    --------
    >>> fisher = EmpiricalFisher(np.array([[3.0, 4.0]]))
    >>> datainf = DataInfApproximator()
    >>> state = datainf.init(DampedOperator(fisher, 25.0))
    >>> datainf.solve(state, np.array([[3.0, 4.0], [4.0, -3.0]])).value
    array([[ 0.06,  0.08],
           [ 0.16, -0.12]])
    """

    approximate: ClassVar[bool] = True
    curvature_kinds: ClassVar[tuple[str, ...]] = ("empirical-fisher",)

    def init(self, curvature: LinearOperator) -> DataInfState:
        """Return the state that all solves share; the gradients are read at the first solve.

        Parameters
        ----------
        curvature : LinearOperator
            Empirical Fisher matrix plus lambda: a `DampedOperator` of a `dvl_influence.Curvature`
            or an `EmpiricalFisher`.

        Raises
        ------
        InvalidOptionError
            If lambda is 0, or the curvature is another one.
        """
        undamped, damping = split_damping(curvature)
        gradients = _gradients(undamped)
        if damping <= 0.0:
            raise InvalidOptionError(
                "regularization is 0: DataInf needs a positive one, because the matrix of a single "
                "point has rank one; 'auto' takes a tenth of the mean squared gradient entry"
            )
        return DataInfState(curvature, gradients, damping)

    def solve(self, state: DataInfState, rhs: Any) -> LinearSolution:
        """Return the approximate solutions for the rows of `rhs` [m, p].

        Raises
        ------
        DataError
            If `rhs` has another shape or is not finite.
        """
        xp = array_namespace(rhs)
        if rhs.ndim != 2 or rhs.shape[1] != state.operator.size:
            raise DataError(
                f"right-hand sides must be rows of {state.operator.size} numbers, not an array "
                f"{tuple(rhs.shape)}"
            )
        if not bool(xp.all(xp.isfinite(rhs))):
            raise DataError("a right-hand side holds NaN or infinity")
        (value,) = mean_of_inverses(state.gradients, [Part(slice(None), rhs, state.damping)])
        return self.solution(state, rhs, value)

    def solution(self, state: DataInfState, rhs: Any, value: Any) -> LinearSolution:
        """Return values [m, p] as a solution; exact for one training point only."""
        return LinearSolution(state.operator, rhs, value, converged=state.gradients.n_points == 1)

    def auto_damping(self, curvature: LinearOperator) -> float:
        """Return a tenth of the mean squared gradient entry: of the mean eigenvalue."""
        squares = _gradients(curvature).mean_squares
        return SHARE_OF_MEAN * float(array_namespace(squares).mean(squares))

    @staticmethod
    def example_curvature() -> DampedOperator:
        """Return a small curvature that the method can take, for conformance tests."""
        gradients = np.random.default_rng(0).normal(size=(5, 7))
        return DampedOperator(EmpiricalFisher(gradients), 0.5)


def _gradients(curvature: LinearOperator) -> Gradients:
    """Return the gradients of single points that a curvature is made of."""
    gradients = getattr(curvature, "gradients", None)
    kind = getattr(curvature, "kind", None)
    if gradients is None or kind != "empirical-fisher":
        raise InvalidOptionError(
            f"DataInf needs the gradients of single points, which {type(curvature).__name__} "
            f"{f'of kind {kind!r} ' if kind else ''}does not stand for: use "
            "curvature='empirical-fisher', or EmpiricalFisher(gradients)"
        )
    found: Gradients = gradients
    return found
