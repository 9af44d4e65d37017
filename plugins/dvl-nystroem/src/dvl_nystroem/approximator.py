"""The inverse of a curvature from its products with a few random vectors."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from dvl_core.errors import DvlWarning, InvalidOptionError
from dvl_core.protocols import LinearOperator
from dvl_influence.errors import IndefiniteCurvatureError, InfluenceError
from dvl_influence.finite import all_finite
from dvl_influence.operators import DampedOperator, split_damping
from dvl_influence.solutions import LinearSolution, check_rows
from dvl_influence.spectrum import gaussian

__all__ = ["NystroemApproximator", "NystroemState"]


@dataclass(frozen=True, eq=False)
class NystroemState:
    """A sketch U diag(values) U^T of the curvature."""

    operator: DampedOperator
    """The curvature and lambda."""
    vectors: Any
    """U [p, rank], orthonormal columns."""
    values: Any
    """Eigenvalues [rank] of the sketch, descending, none negative."""
    lowest: float
    """Smallest eigenvalue of the curvature seen by the random vectors."""
    indefinite: bool
    """Whether that is negative beyond rounding."""

    @property
    def full(self) -> bool:
        """Whether the sketch has all p eigenvectors."""
        return bool(self.vectors.shape[0] == self.vectors.shape[1])

    @property
    def _effective_dimension(self) -> float:
        """Sum of s / (s + lambda) over the eigenvalues s: how many of them lambda leaves standing.

        Of the sketch, so less than that of the curvature.
        """
        xp = array_namespace(self.values)
        positive = self.values[self.values > 0]
        return float(xp.sum(positive / (positive + self.operator.damping)))

    @property
    def details(self) -> dict[str, Any]:
        """What can be told of the sketch, ready for JSON."""
        return {
            "rank": int(self.values.shape[0]),
            "largest_eigenvalue": float(self.values[0]),
            "smallest_kept_eigenvalue": float(self.values[-1]),
            "smallest_seen_eigenvalue": self.lowest,
            "effective_dimension": self._effective_dimension,
        }


@dataclass(frozen=True, kw_only=True)
class NystroemApproximator:
    """Invert a randomised Nystroem sketch of the curvature, plus regularization.

    With Q an orthonormal basis of random vectors [p, rank], the curvature H is replaced by
    ``(H Q) (Q^T H Q)^-1 (H Q)^T = U S U^T``, and then
    ``(U S U^T + lambda I)^-1 = U (S + lambda)^-1 U^T + (I - U U^T) / lambda``. The sketch is never
    larger than H, so its inverse is never smaller than the true one. H must be positive
    semi-definite: with ``curvature="ggn"`` it is, for the usual losses.

    Parameters
    ----------
    rank : int
        Products with the curvature, all in one pass over the data, and eigenvectors kept: rank x p
        numbers. At p or above nothing is approximate. Scores are close to exact ones at several
        times the effective dimension, of which the details hold what the sketch sees.
    seed : int
        Of the random vectors.

    Raises
    ------
    InvalidOptionError
        If the rank is less than 1.

    References
    ----------
    Frangella, Tropp and Udell, Randomized Nystroem preconditioning, SIAM J. Matrix Anal. Appl.
    2023, algorithm 2.1; Hataya and Yamada, Nystroem method for accurate and scalable implicit
    differentiation, AISTATS 2023.

    Examples
    --------
    >>> from dvl_core.testing.inverse_hessians import MatrixOperator
    >>> nystroem = NystroemApproximator(rank=3)
    >>> state = nystroem.init(MatrixOperator(np.diag([1.0, 2.0, 4.0])))
    >>> nystroem.solve(state, np.ones((1, 3))).value.round(9)
    array([[1.  , 0.5 , 0.25]])
    """

    curvature_kinds: ClassVar[tuple[str, ...]] = ("ggn", "hessian", "empirical-fisher")

    rank: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise InvalidOptionError(f"rank is {self.rank}: it must be at least 1")

    def init(self, curvature: LinearOperator) -> NystroemState:
        """Return the sketch of a curvature.

        Parameters
        ----------
        curvature : LinearOperator
            Positive semi-definite [p, p].

        Raises
        ------
        InvalidOptionError
            If there is no regularization, and the rank is less than p.
        IndefiniteCurvatureError
            If there is no regularization, and the curvature is singular.
        InfluenceError
            If products are not finite.
        """
        undamped, damping = split_damping(curvature)
        operator = DampedOperator(undamped, damping)
        rank = min(self.rank, operator.size)
        _check_damping(rank, operator)
        vectors = gaussian(undamped, np.random.default_rng(self.seed), rank)
        xp = array_namespace(vectors)
        basis, _ = xp.linalg.qr(vectors.T)
        products = undamped.matvec(basis.T)
        if not all_finite(products):
            raise InfluenceError("products of the curvature with vectors hold NaN or infinity")
        vectors, values, lowest, indefinite = _sketch(basis, products.T)
        if indefinite:
            warnings.warn(
                f"the curvature has negative eigenvalues, such as {lowest:.3g}, but a Nystroem "
                "sketch needs a positive semi-definite one: negative directions are taken for "
                "flat, the others are rough; use curvature='ggn'",
                DvlWarning,
                stacklevel=2,
            )
        return _checked(NystroemState(operator, vectors, values, lowest, indefinite))

    def solve(self, state: NystroemState, rhs: Any) -> LinearSolution:
        """Return the solutions for the rows of `rhs` [m, p], in its precision.

        Raises
        ------
        DataError
            If `rhs` has another shape or is not finite.
        """
        check_rows(rhs, state.operator.size)
        xp = array_namespace(rhs)
        damping = state.operator.damping
        vectors = xp.astype(rhs, state.vectors.dtype, copy=False)
        inside = vectors @ state.vectors
        if state.full:
            value = (inside / (state.values + damping)) @ state.vectors.T
        else:
            # I / lambda takes the same from all directions: too much from those of U.
            excess = inside * (state.values / (state.values + damping))
            value = (vectors - excess @ state.vectors.T) / damping
        return LinearSolution(
            state.operator,
            rhs,
            xp.astype(value, rhs.dtype, copy=False),
            converged=state.full and not state.indefinite,
            details=state.details,
        )

    def with_damping(self, state: NystroemState, damping: float) -> NystroemState:
        """Return the same sketch with another regularization."""
        operator = DampedOperator(state.operator.undamped, damping)
        _check_damping(int(state.values.shape[0]), operator)
        return _checked(
            NystroemState(operator, state.vectors, state.values, state.lowest, state.indefinite)
        )

    def to_arrays(self, state: NystroemState) -> dict[str, Any]:
        """Return what `from_arrays` needs, by name."""
        xp = array_namespace(state.values)
        facts = xp.asarray([state.lowest, float(state.indefinite)], dtype=state.values.dtype)
        return {"vectors": state.vectors, "values": state.values, "facts": facts}

    def from_arrays(self, arrays: dict[str, Any], curvature: LinearOperator) -> NystroemState:
        """Return the state that `to_arrays` took apart, with the damping of `curvature`."""
        operator = DampedOperator(*split_damping(curvature))
        lowest, indefinite = (float(fact) for fact in arrays["facts"])
        return NystroemState(
            operator, arrays["vectors"], arrays["values"], lowest, bool(indefinite)
        )


def _sketch(basis: Any, products: Any) -> tuple[Any, Any, float, bool]:
    """Return U, its eigenvalues, the smallest eigenvalue seen, and whether it is negative.

    Parameters
    ----------
    basis, products : float array [p, rank]
        Q and H Q.
    """
    xp = array_namespace(products)
    core = basis.T @ products
    found, rotation = xp.linalg.eigh((core + core.T) / 2)
    # The shift makes what rounding has left of zero eigenvalues safely positive, and is taken off
    # again in the end. Negative eigenvalues need a larger one.
    epsilon = float(xp.finfo(products.dtype).eps)
    rounding = math.sqrt(products.shape[0]) * epsilon * float(xp.linalg.matrix_norm(products))
    lowest = float(found[0])
    indefinite = lowest < -rounding
    shift = rounding + max(0.0, -lowest)
    if shift == 0.0:
        return basis, xp.zeros_like(found), 0.0, False
    inverse_root = rotation / xp.sqrt(xp.clip(found + shift, min=rounding))
    vectors, singular, _ = xp.linalg.svd(
        (products + shift * basis) @ inverse_root, full_matrices=False
    )
    values = xp.clip(singular**2 - shift, min=0.0)
    return vectors, values, lowest, indefinite


def _check_damping(rank: int, operator: DampedOperator) -> None:
    if operator.damping == 0.0 and rank < operator.size:
        raise InvalidOptionError(
            f"a Nystroem sketch of rank {rank} needs regularization: outside of its {rank} of "
            f"{operator.size} directions vectors are divided by it; give a number above 0, or rank "
            f"{operator.size}"
        )


def _checked(state: NystroemState) -> NystroemState:
    """Return the state, or refuse to divide by zero."""
    epsilon = float(array_namespace(state.values).finfo(state.values.dtype).eps)
    largest, smallest = float(state.values[0]), float(state.values[-1])
    if state.operator.damping == 0.0 and smallest <= state.operator.size * epsilon * largest:
        raise IndefiniteCurvatureError(
            f"the curvature without regularization is singular: its eigenvalues reach from "
            f"{smallest:.3g} to {largest:.3g}; give a regularization above 0"
        )
    return state
