"""What every inverse-Hessian approximator must do.

Each check takes a factory. The curvature is a small positive definite matrix, known in full; the
approximator sees it as a `LinearOperator` on numpy arrays. What it returns is compared with the
exact solution by the residual that it reports itself: an approximation may be rough, not dishonest.

An approximator that needs more than products, such as a model and its training points, offers
``example_curvature()``, a static or class method that returns a small positive definite operator
that it can take; the checks then use that one. If the operator has ``like``, a vector [p] of
another array library, right-hand sides are handed over in its type.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core.testing.requirements import NotApplicable, require

if TYPE_CHECKING:
    from dvl_core.protocols import (
        AnyArray,
        FloatArray,
        InverseHessianApproximator,
        LinearOperator,
        Solution,
    )

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


def _curvature(approximator: InverseHessianApproximator) -> LinearOperator:
    """Return the approximator's own example, or a well-conditioned positive definite operator."""
    example = getattr(approximator, "example_curvature", None)
    if example is not None:
        operator: LinearOperator = example()
        return operator
    basis, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(SIZE, SIZE)))
    return MatrixOperator((basis * np.linspace(1.0, CONDITION, SIZE)) @ basis.T)


class _Problem:
    """An approximator, and a curvature that it can take."""

    def __init__(self, make: MakeApproximator) -> None:
        self.approximator = make()
        self.curvature = _curvature(self.approximator)
        self.size = self.curvature.size
        self.state = self.approximator.init(self.curvature)

    def vectors(self, count: int) -> FloatArray:
        """Return right-hand sides [count, p]."""
        return np.random.default_rng(1).normal(size=(count, self.size))

    def solve(self, rhs: FloatArray) -> Solution:
        """Solve for the rows of `rhs`."""
        return self.approximator.solve(self.state, self.native(rhs))

    def native(self, rhs: FloatArray) -> Any:
        """Return vectors in the type that the curvature works with."""
        like = getattr(self.curvature, "like", None)
        if like is None or isinstance(like, np.ndarray):
            return rhs
        from array_api_compat import array_namespace

        rhs = np.ascontiguousarray(rhs)
        return array_namespace(like).asarray(rhs, dtype=like.dtype, device=like.device)


def check_inverse_hessian_shape(make: MakeApproximator) -> None:
    """Return solutions [m, p], residuals [m], iterations and whether it converged."""
    problem = _Problem(make)
    for count in (1, 3):
        solution = problem.solve(problem.vectors(count))
        require(
            np.shape(solution.value) == (count, problem.size),
            f"{count} vectors of {problem.size} gave solutions of shape {np.shape(solution.value)}",
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
    problem = _Problem(make)
    rhs = problem.vectors(3)
    solution = problem.solve(rhs)
    if not solution.converged:
        raise NotApplicable("it says that it did not converge on the matrix of the check")
    exact = np.linalg.solve(np.asarray(problem.curvature.dense()), rhs.T).T
    error = np.linalg.norm(np.asarray(solution.value) - exact) / np.linalg.norm(exact)
    require(bool(error <= TOLERANCE), f"it claims to have converged, but is off by {error:.2g}")


def check_inverse_hessian_residuals(make: MakeApproximator) -> None:
    """Report the relative residuals that its solutions have."""
    problem = _Problem(make)
    rhs = problem.vectors(3)
    solution = problem.solve(rhs)
    left = rhs - np.asarray(problem.curvature.matvec(solution.value))
    true = np.linalg.norm(left, axis=1) / np.linalg.norm(rhs, axis=1)
    reported = np.asarray(solution.residual, dtype=float)
    require(
        bool(np.allclose(reported, true, rtol=0.1, atol=1e-6)),
        f"it reports residuals of {reported}, but the solutions have {true}",
    )


def check_inverse_hessian_more_vectors_than_parameters(make: MakeApproximator) -> None:
    """Solve for more vectors than there are parameters, linearly dependent as they are."""
    problem = _Problem(make)
    half = 2 * problem.size
    rhs = np.concatenate([problem.vectors(half), problem.vectors(half)])
    solution = problem.solve(rhs)
    value = np.asarray(solution.value)
    require(bool(np.isfinite(value).all()), "a solution is not finite")
    first, second = value[:half], value[half:]
    require(bool(np.allclose(first, second, rtol=1e-3, atol=1e-4)), "equal vectors differ")


def check_inverse_hessian_order(make: MakeApproximator) -> None:
    """Give a vector the same solution whatever its place among the others."""
    rhs = _Problem(make).vectors(4)
    forth = np.asarray(_Problem(make).solve(rhs).value)
    back = np.asarray(_Problem(make).solve(rhs[::-1]).value)
    require(
        bool(np.allclose(forth, back[::-1], rtol=1e-3, atol=1e-4)),
        "the solutions depend on the order of the vectors",
    )


def check_inverse_hessian_scales(make: MakeApproximator) -> None:
    """Give a thousand times the vector a thousand times the solution."""
    rhs = _Problem(make).vectors(2)
    one, thousand = _Problem(make).solve(rhs), _Problem(make).solve(1000.0 * rhs)
    require(
        bool(
            np.allclose(
                1000.0 * np.asarray(one.value), np.asarray(thousand.value), rtol=1e-2, atol=1.0
            )
        ),
        "solutions do not scale with the vectors",
    )


def check_inverse_hessian_zero(make: MakeApproximator) -> None:
    """Solve for zero with zero, and harm no vector beside it."""
    problem = _Problem(make)
    rhs = problem.vectors(3)
    rhs[1] = 0.0
    value = np.asarray(problem.solve(rhs).value)
    require(bool(np.isfinite(value).all()), "a vector of zeros makes solutions not finite")
    require(not value[1].any(), "the solution for a vector of zeros is not zero")


def check_inverse_hessian_no_vectors(make: MakeApproximator) -> None:
    """Take no vectors at all."""
    problem = _Problem(make)
    value = np.asarray(problem.solve(problem.vectors(3)[:0]).value)
    require(value.shape == (0, problem.size), f"no vectors gave solutions of shape {value.shape}")


def check_inverse_hessian_leaves_input_alone(make: MakeApproximator) -> None:
    """Leave the vectors as they are, and the state fit for the next solve."""
    problem = _Problem(make)
    rhs = problem.native(problem.vectors(3))
    first = np.asarray(problem.approximator.solve(problem.state, rhs).value).copy()
    require(np.array_equal(np.asarray(rhs), problem.vectors(3)), "the vectors were changed")
    again = np.asarray(problem.approximator.solve(problem.state, rhs).value)
    require(bool(np.allclose(first, again, rtol=1e-3, atol=1e-4)), "a second solve differs")
