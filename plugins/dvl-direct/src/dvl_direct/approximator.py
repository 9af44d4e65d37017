"""The inverse of a curvature matrix that fits into memory."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from array_api_compat import array_namespace

from dvl_core.errors import DvlWarning, InvalidOptionError
from dvl_core.protocols import LinearOperator
from dvl_direct.matrices import CholeskyInverse, DenseMatrix, Spectrum, double
from dvl_influence.errors import IndefiniteCurvatureError, InfluenceError
from dvl_influence.operators import DampedOperator, split_damping
from dvl_influence.solutions import LinearSolution, check_rows
from dvl_influence.spectrum import extreme_eigenvalues

__all__ = ["DirectApproximator", "DirectState"]

BYTES_PER_ENTRY = 32
"""Of the matrix, at the peak: four matrices in double precision."""

SAFE_MULTIPLE = 4.0
"""Of the size of the most negative eigenvalue, as a regularization with which scores make sense."""


@dataclass(frozen=True, eq=False)
class DirectState:
    """A curvature matrix and its inverse."""

    curvature: DenseMatrix | Spectrum
    """In double precision, without lambda."""
    damping: float
    """lambda."""
    rounding: float
    """Up to which share of the largest eigenvalue an eigenvalue may be rounding error."""
    inverse: CholeskyInverse | Spectrum
    """Of the curvature plus lambda."""
    exact: bool
    """Whether no eigenvalue was changed or left out."""
    details: dict[str, Any]
    """Condition and eigenvalues, lambda included; estimates, with a factor."""


@dataclass(frozen=True, kw_only=True)
class DirectApproximator:
    """Invert the curvature matrix exactly, in double precision.

    By a Cholesky factorisation; by eigenvalues where they may have to be changed. Time p^3 once and
    p^2 a vector, memory about 32 p^2 bytes (3.2 GB for 10,000 parameters), beside the p products
    with the curvature that its matrix takes. Another regularization needs no new matrix.

    Parameters
    ----------
    indefinite : str
        Negative eigenvalues of the curvature. ``"refuse"``: an error if regularization leaves any
        of them negative, which says how many there are and how much would do; ``"clip"``: all
        become zero; ``"absolute"``: all change their sign. Regularization is added afterwards.
    singular : str
        Eigenvalues that are zero, regularization included. ``"refuse"``: an error;
        ``"pseudo-inverse"``: gradients have no influence in these directions.
    max_parameters : int
        More of them are refused.

    Raises
    ------
    InvalidOptionError
        If an option has none of these values.

    References
    ----------
    Koh and Liang, Understanding black-box predictions via influence functions, ICML 2017,
    equation 2; Dauphin et al., Identifying and attacking the saddle point problem, NeurIPS 2014,
    for absolute eigenvalues.

    Examples
    --------
    >>> from dvl_core.testing.inverse_hessians import MatrixOperator
    >>> direct = DirectApproximator()
    >>> state = direct.init(MatrixOperator(np.diag([1.0, 2.0, 4.0])))
    >>> direct.solve(state, np.ones((1, 3))).value
    array([[1.  , 0.5 , 0.25]])
    >>> round(state.details["condition"], 6)
    4.0
    """

    indefinite: Literal["refuse", "clip", "absolute"] = "refuse"
    singular: Literal["refuse", "pseudo-inverse"] = "refuse"
    max_parameters: int = 10_000

    def __post_init__(self) -> None:
        if self.indefinite not in ("refuse", "clip", "absolute"):
            raise InvalidOptionError(
                f"indefinite is {self.indefinite!r}: it must be 'refuse', 'clip' or 'absolute'"
            )
        if self.singular not in ("refuse", "pseudo-inverse"):
            raise InvalidOptionError(
                f"singular is {self.singular!r}: it must be 'refuse' or 'pseudo-inverse'"
            )
        if self.max_parameters < 1:
            raise InvalidOptionError(f"max_parameters is {self.max_parameters}: at least 1")

    def init(self, curvature: LinearOperator) -> DirectState:
        """Return the inverse of a curvature.

        Parameters
        ----------
        curvature : LinearOperator
            Symmetric [p, p].

        Raises
        ------
        InvalidOptionError
            If there are more than `max_parameters` parameters.
        IndefiniteCurvatureError
            If an eigenvalue is negative or zero and options do not say what to do with it.
        InfluenceError
            If the matrix is not finite.
        """
        size = curvature.size
        if size > self.max_parameters:
            raise InvalidOptionError(
                f"a dense matrix for {size:,} parameters, above max_parameters="
                f"{self.max_parameters:,}, and its inverse take about "
                f"{1e-9 * BYTES_PER_ENTRY * size**2:.3g} GB: use conjugate gradients (dvl-cg), "
                "which need no matrix, or blocks='layer', or raise max_parameters"
            )
        undamped, damping = split_damping(curvature)
        matrix, rounding = _matrix(undamped)
        return self._inverted(matrix, damping, rounding)

    def solve(self, state: DirectState, rhs: Any) -> LinearSolution:
        """Return the solutions for the rows of `rhs` [m, p], in its precision.

        Raises
        ------
        DataError
            If `rhs` has another shape or is not finite.
        """
        check_rows(rhs, state.curvature.size)
        value = state.inverse.matvec(rhs)
        return LinearSolution(
            DampedOperator(state.curvature, state.damping),
            rhs,
            array_namespace(rhs).astype(value, rhs.dtype, copy=False),
            converged=state.exact,
            details=state.details,
        )

    def with_damping(self, state: DirectState, damping: float) -> DirectState:
        """Return the inverse of the same matrix with another regularization.

        Takes a factorisation at most, none if the eigenvalues are known.
        """
        checked = DampedOperator(state.curvature, damping).damping
        return self._inverted(state.curvature, checked, state.rounding)

    def to_arrays(self, state: DirectState) -> dict[str, Any]:
        """Return what `from_arrays` needs, by name."""
        held = state.curvature
        if isinstance(held, DenseMatrix):
            arrays = {"matrix": held.matrix}
        else:
            arrays = {"values": held.values, "vectors": held.vectors}
        dtype = next(iter(arrays.values())).dtype
        xp = array_namespace(*arrays.values())
        return {**arrays, "rounding": xp.asarray([state.rounding], dtype=dtype)}

    def from_arrays(self, arrays: dict[str, Any], curvature: LinearOperator) -> DirectState:
        """Return the state that `to_arrays` took apart, with the damping of `curvature`."""
        held: DenseMatrix | Spectrum
        if "matrix" in arrays:
            held = DenseMatrix(arrays["matrix"])
        else:
            held = Spectrum(arrays["values"], arrays["vectors"])
        _, damping = split_damping(curvature)
        return self._inverted(held, damping, float(arrays["rounding"][0]))

    def _inverted(
        self, curvature: DenseMatrix | Spectrum, damping: float, rounding: float
    ) -> DirectState:
        if isinstance(curvature, Spectrum):
            return self._from_spectrum(curvature, damping, rounding)
        if self.indefinite == "refuse" and self.singular == "refuse":
            state = _factored(curvature, damping, rounding)
            if state is not None:
                return state
        xp = array_namespace(curvature.matrix)
        return self._from_spectrum(Spectrum(*xp.linalg.eigh(curvature.matrix)), damping, rounding)

    def _from_spectrum(self, spectrum: Spectrum, damping: float, rounding: float) -> DirectState:
        """Return the inverse by eigenvalues, changed as the options say, or refuse."""
        xp = array_namespace(spectrum.values)
        tolerance = rounding * float(xp.max(xp.abs(spectrum.values)))
        negative = _count(spectrum.values < -tolerance)
        if self.indefinite == "refuse":
            values = spectrum.values + damping
            _refuse_negative(values, damping, tolerance)
        else:
            values = self._changed(spectrum.values, damping, negative) + damping
        largest = float(xp.max(values))
        if not largest > 0.0:
            raise IndefiniteCurvatureError(
                "the curvature has no positive eigenvalue, so that influences do not exist: the "
                "loss may be flat at these parameters; give a regularization, or leave them out"
            )
        zero = values <= _floor(spectrum.size, damping, rounding) * largest
        missing = _count(zero)
        if missing and self.singular == "refuse":
            raise IndefiniteCurvatureError(
                f"the curvature with regularization {damping:g} is singular: {missing} of "
                f"{spectrum.size} eigenvalues are zero up to rounding, the largest is "
                f"{largest:.3g}; give a regularization, or singular='pseudo-inverse'"
            )
        reciprocal = xp.where(zero, xp.zeros_like(values), 1.0 / xp.where(zero, largest, values))
        inverse = Spectrum(reciprocal, spectrum.vectors)
        smallest = float(xp.min(xp.where(zero, largest, values)))
        details = {
            "condition": largest / smallest,
            "smallest_eigenvalue": smallest,
            "largest_eigenvalue": largest,
            "smallest_curvature_eigenvalue": float(spectrum.values[0]),
            "negative_curvature_eigenvalues": negative,
            "zero_eigenvalues": missing,
        }
        exact = not missing and (self.indefinite == "refuse" or not negative)
        return DirectState(spectrum, damping, rounding, inverse, exact, details)

    def _changed(self, found: Any, damping: float, negative: int) -> Any:
        """Return the eigenvalues with none below zero; warn if it is more than rounding."""
        if negative:
            done = "set to zero" if self.indefinite == "clip" else "taken without their sign"
            warnings.warn(
                f"{negative} negative eigenvalues of {found.shape[0]} of the curvature, the "
                f"smallest {float(found[0]):.4g}, were {done} before the regularization "
                f"{damping:g} was added: the scores are those of the changed matrix",
                DvlWarning,
                stacklevel=5,
            )
        xp = array_namespace(found)
        return xp.clip(found, min=0.0) if self.indefinite == "clip" else xp.abs(found)


def _count(mask: Any) -> int:
    xp = array_namespace(mask)
    return int(xp.sum(xp.astype(mask, xp.int64)))


def _refuse_negative(values: Any, damping: float, tolerance: float) -> None:
    count = _count(values < -tolerance)
    if not count:
        return
    smallest = float(values[0])
    needed = damping - smallest
    plus = f" plus the regularization {damping:g}" if damping else ""
    raise IndefiniteCurvatureError(
        f"the curvature{plus} has {count} negative eigenvalues of {values.shape[0]}, the "
        f"smallest is {smallest:.4g}: a regularization above {needed:.4g} makes it positive "
        f"definite, and one of {SAFE_MULTIPLE * needed:.2g} or more gives scores that make "
        "sense; or use curvature='ggn', or indefinite='clip' or 'absolute'"
    )


def _matrix(operator: LinearOperator) -> tuple[DenseMatrix, float]:
    """Return a matrix in double precision, and the relative rounding of its eigenvalues."""
    matrix = operator.dense()
    xp = array_namespace(matrix)
    if not bool(xp.all(xp.isfinite(matrix))):
        raise InfluenceError("the curvature matrix holds NaN or infinity")
    rounding = operator.size * float(xp.finfo(matrix.dtype).eps)
    matrix = double(matrix)
    return DenseMatrix((matrix + matrix.T) / 2), rounding


def _factored(matrix: DenseMatrix, damping: float, rounding: float) -> DirectState | None:
    """Return the inverse by Cholesky, or nothing if the matrix is not positive definite."""
    operator = DampedOperator(matrix, damping)
    try:
        factor = CholeskyInverse(operator.dense())
    except np.linalg.LinAlgError:
        return None
    _, largest = extreme_eigenvalues(operator)
    _, inverse_of_smallest = extreme_eigenvalues(factor)
    smallest = 1.0 / inverse_of_smallest
    if not smallest > _floor(matrix.size, damping, rounding) * largest:
        return None
    details = {
        "condition": largest / smallest,
        "smallest_eigenvalue": smallest,
        "largest_eigenvalue": largest,
        "smallest_curvature_eigenvalue": smallest - damping,
    }
    return DirectState(matrix, damping, rounding, factor, True, details)


def _floor(size: int, damping: float, rounding: float) -> float:
    """Return up to which share of the largest an eigenvalue counts as zero.

    Regularization is known to full precision, whatever that of the curvature.
    """
    return size * float(np.finfo(np.float64).eps) if damping else rounding
