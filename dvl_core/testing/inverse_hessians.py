"""What every inverse-Hessian approximator must do.

Each check takes a factory. The curvature is a small positive definite matrix, known in full; the
approximator sees it as a `LinearOperator` on numpy arrays. What it returns is compared with the
exact solution by the residual that it reports itself: an approximation may be rough, not dishonest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core.testing.requirements import NotApplicable, require

if TYPE_CHECKING:
    from dvl_core.protocols import AnyArray, FloatArray, InverseHessianApproximator, Solution

__all__ = [
    "MatrixOperator",
    "check_inverse_hessian_accuracy",
    "check_inverse_hessian_leaves_input_alone",
    "check_inverse_hessian_more_vectors_than_parameters",
    "check_inverse_hessian_no_vectors",
    "check_inverse_hessian_order",
    "check_inverse_hessian_residuals",
    "check_inverse_hessian_scales",
    "check_inverse_hessian_shape",
    "check_inverse_hessian_zero",
]

MakeApproximator = Callable[[], "InverseHessianApproximator"]

SIZE = 7
CONDITION = 8.0
TOLERANCE = 1e-2


class MatrixOperator:
    """A symmetric matrix as a linear operator.

    Parameters
    ----------
    matrix : float array [p, p]
        Symmetric.
    """

    def __init__(self, matrix: FloatArray) -> None:
        self.matrix = matrix

    @property
    def size(self) -> int:
        """The dimension p."""
        return len(self.matrix)

    def matvec(self, vectors: Any) -> AnyArray:
        """Return the products [m, p] with the rows of `vectors` [m, p]."""
        return np.asarray(vectors) @ self.matrix

    def dense(self) -> FloatArray:
        """Return the matrix [p, p]."""
        return self.matrix.copy()


def _curvature() -> MatrixOperator:
    """Return a well-conditioned positive definite operator."""
    basis, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(SIZE, SIZE)))
    return MatrixOperator((basis * np.linspace(1.0, CONDITION, SIZE)) @ basis.T)


def _vectors(count: int) -> FloatArray:
    """Return right-hand sides [count, p]."""
    return np.random.default_rng(1).normal(size=(count, SIZE))


def _solve(make: MakeApproximator, rhs: FloatArray) -> Solution:
    """Solve for the rows of `rhs` with a fresh approximator."""
    approximator = make()
    return approximator.solve(approximator.init(_curvature()), rhs)


def check_inverse_hessian_shape(make: MakeApproximator) -> None:
    """Return solutions [m, p], residuals [m], iterations and whether it converged."""
    for count in (1, 3):
        solution = _solve(make, _vectors(count))
        require(
            np.shape(solution.value) == (count, SIZE),
            f"{count} vectors of {SIZE} gave solutions of shape {np.shape(solution.value)}",
        )
        require(
            np.shape(solution.residual) == (count,),
            f"{count} vectors gave residuals of shape {np.shape(solution.residual)}",
        )
        require(bool(np.isfinite(np.asarray(solution.value)).all()), "a solution is not finite")
        require(solution.iterations >= 0, "iterations are negative")
        require(solution.converged in (True, False), "converged must say True or False")


def check_inverse_hessian_accuracy(make: MakeApproximator) -> None:
    """Be close to the exact solution if it says that it converged."""
    rhs = _vectors(3)
    solution = _solve(make, rhs)
    if not solution.converged:
        raise NotApplicable("it says that it did not converge on the kit's matrix")
    exact = np.linalg.solve(_curvature().matrix, rhs.T).T
    error = np.linalg.norm(np.asarray(solution.value) - exact) / np.linalg.norm(exact)
    require(bool(error <= TOLERANCE), f"it claims to have converged, but is off by {error:.2g}")


def check_inverse_hessian_residuals(make: MakeApproximator) -> None:
    """Report the relative residuals that its solutions have."""
    rhs = _vectors(3)
    solution = _solve(make, rhs)
    left = rhs - _curvature().matvec(solution.value)
    true = np.linalg.norm(left, axis=1) / np.linalg.norm(rhs, axis=1)
    reported = np.asarray(solution.residual, dtype=float)
    require(
        bool(np.allclose(reported, true, rtol=0.1, atol=1e-6)),
        f"it reports residuals of {reported}, but the solutions have {true}",
    )


def check_inverse_hessian_more_vectors_than_parameters(make: MakeApproximator) -> None:
    """Solve for more vectors than there are parameters, linearly dependent as they are."""
    rhs = np.concatenate([_vectors(2 * SIZE), _vectors(2 * SIZE)])
    solution = _solve(make, rhs)
    value = np.asarray(solution.value)
    require(bool(np.isfinite(value).all()), "a solution is not finite")
    first, second = value[: 2 * SIZE], value[2 * SIZE :]
    require(bool(np.allclose(first, second, rtol=1e-3, atol=1e-4)), "equal vectors differ")


def check_inverse_hessian_order(make: MakeApproximator) -> None:
    """Give a vector the same solution whatever its place among the others."""
    rhs = _vectors(4)
    forth, back = np.asarray(_solve(make, rhs).value), np.asarray(_solve(make, rhs[::-1]).value)
    require(
        bool(np.allclose(forth, back[::-1], rtol=1e-3, atol=1e-4)),
        "the solutions depend on the order of the vectors",
    )


def check_inverse_hessian_scales(make: MakeApproximator) -> None:
    """Give a thousand times the vector a thousand times the solution."""
    rhs = _vectors(2)
    one, thousand = _solve(make, rhs), _solve(make, 1000.0 * rhs)
    require(
        bool(np.allclose(1000.0 * np.asarray(one.value), thousand.value, rtol=1e-2, atol=1.0)),
        "solutions do not scale with the vectors",
    )


def check_inverse_hessian_zero(make: MakeApproximator) -> None:
    """Solve for zero with zero, and harm no vector beside it."""
    rhs = _vectors(3)
    rhs[1] = 0.0
    value = np.asarray(_solve(make, rhs).value)
    require(bool(np.isfinite(value).all()), "a vector of zeros makes solutions not finite")
    require(not value[1].any(), "the solution for a vector of zeros is not zero")


def check_inverse_hessian_no_vectors(make: MakeApproximator) -> None:
    """Take no vectors at all."""
    value = np.asarray(_solve(make, _vectors(3)[:0]).value)
    require(value.shape == (0, SIZE), f"no vectors gave solutions of shape {value.shape}")


def check_inverse_hessian_leaves_input_alone(make: MakeApproximator) -> None:
    """Leave the vectors as they are, and the state fit for the next solve."""
    approximator, rhs = make(), _vectors(3)
    state = approximator.init(_curvature())
    first = np.array(approximator.solve(state, rhs).value)
    require(np.array_equal(rhs, _vectors(3)), "the vectors were changed")
    again = np.asarray(approximator.solve(state, rhs).value)
    require(bool(np.allclose(first, again, rtol=1e-3, atol=1e-4)), "a second solve differs")
