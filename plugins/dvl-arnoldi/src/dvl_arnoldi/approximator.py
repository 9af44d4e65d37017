"""The inverse of a curvature from its leading eigenvectors."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from array_api_compat import array_namespace

from dvl_arnoldi.lanczos import RitzPairs, ritz_pairs
from dvl_core.errors import DvlWarning, InvalidOptionError
from dvl_core.protocols import LinearOperator
from dvl_influence.errors import IndefiniteCurvatureError
from dvl_influence.operators import DampedOperator, split_damping
from dvl_influence.solutions import LinearSolution, check_rows

__all__ = ["ArnoldiApproximator", "ArnoldiState"]

SPARE_DIMENSIONS = 20
"""Of the Krylov space, beyond twice the rank."""

CONVERGED = 1e-3
"""Residual of an eigenpair, relative to the largest eigenvalue."""


@dataclass(frozen=True, eq=False)
class ArnoldiState:
    """Leading eigenpairs of the curvature."""

    operator: DampedOperator
    """The curvature and lambda."""
    vectors: Any
    """Orthonormal rows [k, p]."""
    values: Any
    """Eigenvalues [k], the largest magnitude first."""
    exact: bool
    """Whether all others are zero."""
    facts: dict[str, float]
    """Numbers about the Krylov space, for `details`."""

    @property
    def full(self) -> bool:
        """Whether all p eigenpairs are there."""
        return bool(self.vectors.shape[0] == self.vectors.shape[1])

    @property
    def details(self) -> dict[str, Any]:
        """What can be told of the eigenpairs, ready for JSON."""
        return {"rank": int(self.values.shape[0]), **self.facts}


@dataclass(frozen=True, kw_only=True)
class ArnoldiApproximator:
    """Invert the curvature on its leading eigenvectors, and take it for flat elsewhere.

    For symmetric matrices Arnoldi's method is Lanczos's: a Krylov space from a random vector, here
    with full re-orthogonalisation. With V the eigenvectors kept and D their eigenvalues, the
    inverse is ``V (D + lambda)^-1 V^T + (I - V V^T) / lambda``.

    Parameters
    ----------
    rank : int
        Eigenpairs kept at most: rank x p numbers. At p or above nothing is approximate, negative
        directions apart.
    krylov_dimension : int, optional
        Products with the curvature, one pass over the data each, and vectors of p numbers held
        while fitting; at least `rank`. None: 2 rank + 20. The details tell how many pairs have not
        converged: more dimensions mend that.
    eigenvalues : str
        ``"positive"``: keep the largest positive ones, and take negative directions for flat;
        ``"magnitude"``: keep the largest by absolute value, also negative ones, as others do.
    complement : bool
        Whether directions outside of the eigenvectors are divided by the regularization. False:
        they are left out, a low-rank embedding, which under-estimates influences.
    seed : int
        Of the random vector.

    Raises
    ------
    InvalidOptionError
        If an option has none of these values.

    References
    ----------
    Schioppa et al., Scaling up influence functions, AAAI 2022, algorithm 1 (without the
    complement).

    Examples
    --------
    >>> from dvl_core.testing.inverse_hessians import MatrixOperator
    >>> arnoldi = ArnoldiApproximator(rank=1, complement=False)
    >>> state = arnoldi.init(MatrixOperator(np.diag([1.0, 2.0, 4.0])))
    >>> arnoldi.solve(state, np.ones((1, 3))).value.round(6) + 0.0
    array([[0.  , 0.  , 0.25]])
    """

    rank: int = 50
    krylov_dimension: int | None = None
    eigenvalues: Literal["positive", "magnitude"] = "positive"
    complement: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise InvalidOptionError(f"rank is {self.rank}: it must be at least 1")
        if self.krylov_dimension is not None and self.krylov_dimension < self.rank:
            raise InvalidOptionError(
                f"krylov_dimension is {self.krylov_dimension}, less than the rank {self.rank}: so "
                "many eigenpairs are not to be had from it"
            )
        if self.eigenvalues not in ("positive", "magnitude"):
            raise InvalidOptionError(
                f"eigenvalues is {self.eigenvalues!r}: it must be 'positive' or 'magnitude'"
            )

    def init(self, curvature: LinearOperator) -> ArnoldiState:
        """Return leading eigenpairs of a curvature.

        Parameters
        ----------
        curvature : LinearOperator
            Symmetric [p, p].

        Raises
        ------
        InvalidOptionError
            If there is no regularization, but a complement that would be divided by it.
        IndefiniteCurvatureError
            If no eigenvalue is left to be kept, or one is minus the regularization.
        InfluenceError
            If products are not finite.
        """
        operator = DampedOperator(*split_damping(curvature))
        size = operator.size
        self._check_complement(min(self.rank, size), operator)
        dimension = self.krylov_dimension or 2 * self.rank + SPARE_DIMENSIONS
        pairs = ritz_pairs(operator.undamped, min(dimension, size), self.seed)
        rounding = _rounding(pairs.basis, size) * float(np.abs(pairs.values).max())
        wanted = pairs.values if self.eigenvalues == "positive" else np.abs(pairs.values)
        order = np.argsort(-wanted, kind="stable")
        chosen = order[wanted[order] > rounding][: self.rank]
        xp = array_namespace(pairs.basis)
        like = {"dtype": pairs.basis.dtype, "device": pairs.basis.device}
        found_all = len(pairs.values) == size
        outside = np.delete(np.abs(pairs.values), chosen)
        state = ArnoldiState(
            operator,
            pairs.vectors(chosen),
            xp.asarray(pairs.values[chosen], **like),
            found_all and not bool((outside > rounding).any()),
            _facts(pairs, chosen, rounding),
        )
        return self._checked(state)

    def solve(self, state: ArnoldiState, rhs: Any) -> LinearSolution:
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
        inside = vectors @ state.vectors.T
        value = (inside / (state.values + damping)) @ state.vectors
        if self.complement and not state.full:
            value = value + (vectors - inside @ state.vectors) / damping
        return LinearSolution(
            state.operator,
            rhs,
            xp.astype(value, rhs.dtype, copy=False),
            converged=state.exact and (self.complement or state.full),
            details=state.details,
        )

    def with_damping(self, state: ArnoldiState, damping: float) -> ArnoldiState:
        """Return the same eigenpairs with another regularization."""
        operator = DampedOperator(state.operator.undamped, damping)
        return self._checked(replace(state, operator=operator))

    def to_arrays(self, state: ArnoldiState) -> dict[str, Any]:
        """Return what `from_arrays` needs, by name."""
        xp = array_namespace(state.values)
        text = json.dumps({"exact": state.exact, **state.facts})
        facts = xp.asarray(list(text.encode()), dtype=xp.uint8)
        return {"vectors": state.vectors, "values": state.values, "facts": facts}

    def from_arrays(self, arrays: dict[str, Any], curvature: LinearOperator) -> ArnoldiState:
        """Return the state that `to_arrays` took apart, with the damping of `curvature`."""
        operator = DampedOperator(*split_damping(curvature))
        facts = json.loads(bytes(arrays["facts"].tolist()))
        exact = facts.pop("exact")
        return ArnoldiState(operator, arrays["vectors"], arrays["values"], exact, facts)

    def _check_complement(self, kept: int, operator: DampedOperator) -> None:
        size = operator.size
        if self.complement and kept < size and operator.damping == 0.0:
            raise InvalidOptionError(
                f"{kept} eigenpairs of {size} need regularization: everything outside of them is "
                f"divided by it; give a number above 0, or complement=False, or rank {size} if the "
                "curvature is positive definite"
            )

    def _checked(self, state: ArnoldiState) -> ArnoldiState:
        """Return the state; refuse to divide by zero, and warn of a matrix that is indefinite."""
        xp = array_namespace(state.values)
        size, damping = state.operator.size, state.operator.damping
        kept = int(state.values.shape[0])
        self._check_complement(kept, state.operator)
        if not kept and not self.complement:
            raise IndefiniteCurvatureError(
                "no eigenvalue of the curvature is positive, so that without the complement all "
                "influences would be zero; use complement=True with a regularization"
            )
        largest = state.facts["largest_eigenvalue"]
        smallest = state.facts["smallest_eigenvalue"]
        scale = _rounding(state.values, size) * max(abs(largest), abs(smallest))
        if kept and float(xp.min(xp.abs(state.values + damping))) <= scale:
            raise IndefiniteCurvatureError(
                f"an eigenvalue of the curvature is minus the regularization {damping:.4g}, so "
                f"that their sum cannot be inverted; give more than {-smallest:.4g}, or "
                "eigenvalues='positive'"
            )
        if smallest + damping < -scale:
            positive = self.eigenvalues == "positive"
            done = "taken for flat" if positive else "kept with their sign if large enough"
            warnings.warn(
                f"the curvature has negative eigenvalues, the smallest seen {smallest:.3g}, that "
                f"the regularization {damping:g} does not make up for; they are {done}: use "
                f"curvature='ggn', or a regularization of {-4 * smallest:.2g} or more",
                DvlWarning,
                stacklevel=3,
            )
        return state


def _facts(pairs: RitzPairs, chosen: Any, rounding: float) -> dict[str, float]:
    """Return numbers about the Krylov space and what was taken from it."""
    dropped = np.delete(pairs.values, chosen)
    scale = float(np.abs(pairs.values).max()) or 1.0
    residuals = pairs.residuals[chosen] / scale
    return {
        "krylov_dimension": len(pairs.values),
        "largest_eigenvalue": float(pairs.values[-1]),
        "smallest_eigenvalue": float(pairs.values[0]),
        "negative_dropped": int((dropped < -rounding).sum()),
        "pairs_not_converged": int((residuals > CONVERGED).sum()),
        "worst_pair_residual": float(residuals.max(initial=0.0)),
    }


def _rounding(array: Any, size: int) -> float:
    """Return up to which share of the largest an eigenvalue may be rounding error."""
    return size * float(array_namespace(array).finfo(array.dtype).eps)
