"""Preconditioners change the number of iterations, never the solution."""

from __future__ import annotations

import numpy as np
import pytest

from dvl_cg import CgApproximator, JacobiPreconditioner, NystroemPreconditioner
from dvl_cg.preconditioners import as_preconditioner
from dvl_core import override
from dvl_core.errors import InvalidOptionError
from dvl_core.testing.inverse_hessians import MatrixOperator
from dvl_influence import DampedOperator, LinearSolution


def few_large_eigenvalues(p=200, damping=1e-3):
    basis, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(p, p)))
    matrix = (basis * np.r_[np.geomspace(1.0, 1e-3, 30), np.zeros(p - 30)]) @ basis.T
    return DampedOperator(MatrixOperator((matrix + matrix.T) / 2), damping)


def solve(operator, preconditioner, m=2):
    cg = CgApproximator(preconditioner=preconditioner, rtol=1e-8, dense_up_to=0)
    rhs = np.random.default_rng(1).normal(size=(m, operator.size))
    solution = cg.solve(cg.init(operator), rhs)
    exact = np.linalg.solve(operator.dense(), rhs.T).T
    assert solution.converged
    np.testing.assert_allclose(solution.value, exact, atol=1e-4 * abs(exact).max())
    return solution.iterations


def test_jacobi_helps_where_the_diagonal_varies():
    matrix = np.diag(np.geomspace(1.0, 1e5, 100)) + 0.1
    operator = MatrixOperator(matrix)
    plain = solve(operator, None)
    assert solve(operator, "jacobi") < plain / 2
    assert solve(operator, JacobiPreconditioner(exact=True)) < plain / 2


def test_jacobi_estimates_the_diagonal():
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(30, 60))
    operator = DampedOperator(MatrixOperator(matrix @ matrix.T), 0.5)
    exact = JacobiPreconditioner(exact=True).init(operator)
    np.testing.assert_allclose(exact, np.diag(operator.dense()))
    np.testing.assert_allclose(JacobiPreconditioner(probes=4000).init(operator), exact, rtol=0.1)


def test_jacobi_stays_positive_for_an_indefinite_diagonal():
    operator = DampedOperator(MatrixOperator(np.diag([1.0, -2.0, 0.0])), 0.1)
    assert (JacobiPreconditioner().init(operator) > 0).all()
    assert (JacobiPreconditioner().init(MatrixOperator(np.zeros((2, 2)))) > 0).all()


def test_nystroem_flattens_the_large_eigenvalues():
    operator = few_large_eigenvalues()
    plain = solve(operator, None)
    assert solve(operator, NystroemPreconditioner(rank=40)) <= plain / 3


def test_nystroem_is_the_formula_of_its_paper():
    operator = few_large_eigenvalues(40, 0.01)
    sketch = NystroemPreconditioner(rank=40)
    applied = sketch.apply(sketch.init(operator), np.eye(40))
    values, basis = np.linalg.eigh(operator.undamped.dense())
    values, basis = values[-30:], basis[:, -30:]
    expected = (
        (values[0] + 0.01) * (basis / (values + 0.01)) @ basis.T + np.eye(40) - basis @ basis.T
    )
    np.testing.assert_allclose(applied, expected, atol=1e-6)


@pytest.mark.parametrize("rank", [1, 3, 50])
@pytest.mark.parametrize("low", [-0.5, 0.0, 0.1])
def test_nystroem_is_positive_definite_for_any_curvature(rank, low):
    sketch = NystroemPreconditioner(rank=rank)
    applied = sketch.apply(sketch.init(MatrixOperator(np.diag(np.linspace(low, 1, 8)))), np.eye(8))
    np.testing.assert_allclose(applied, applied.T, atol=1e-12)
    assert np.linalg.eigvalsh(applied).min() > 0


class Exact:
    def init(self, curvature):
        return curvature

    def solve(self, state, rhs):
        value = np.linalg.solve(state.dense(), rhs.T).T
        return LinearSolution(state, rhs, value, converged=True)


def test_any_approximator_can_be_a_preconditioner():
    operator = few_large_eigenvalues()
    assert solve(operator, Exact()) == 1
    with override("inverse-hessian", "exact-in-test", Exact):
        assert solve(operator, "exact-in-test") == 1
        assert solve(operator, {"name": "exact-in-test"}) == 1


class Own:
    def __init__(self, sign=1.0):
        self.sign = sign

    def init(self, curvature):
        return np.diag(curvature.dense())

    def apply(self, state, vectors):
        return self.sign * vectors / state


def test_an_object_of_your_own():
    assert solve(few_large_eigenvalues(), Own()) > 1


def test_a_preconditioner_that_is_not_positive_definite_is_refused():
    with pytest.raises(InvalidOptionError, match="preconditioner is not positive definite"):
        solve(few_large_eigenvalues(), Own(-1.0))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "'jacobi', 'nystroem'"),
        (Own, "init"),
        ({"name": "jacobi", "probe": 3}, "probe"),
        ({"name": "jacobi", "probes": 0}, "probes is 0"),
        ({"name": "nystroem", "rank": 0}, "rank is 0"),
    ],
)
def test_other_things_are_refused(given, message):
    with pytest.raises(InvalidOptionError, match=message):
        as_preconditioner(given)
