"""Solutions against dense algebra, on any right-hand sides."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dvl_cg import CgApproximator
from dvl_core.errors import DataError, DvlWarning, InvalidOptionError
from dvl_core.testing.inverse_hessians import MatrixOperator
from dvl_influence import DampedOperator
from dvl_influence.errors import IndefiniteCurvatureError, InfluenceError


def spd(p, condition=100.0, seed=0):
    basis, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(p, p)))
    matrix = (basis * np.geomspace(1.0 / condition, 1.0, p)) @ basis.T
    return (matrix + matrix.T) / 2


def vectors(m, p, seed=1):
    return np.random.default_rng(seed).normal(size=(m, p))


def solve(matrix, rhs, **options):
    approximator = CgApproximator(**options)
    return approximator.solve(approximator.init(MatrixOperator(matrix)), rhs)


class TorchOperator:
    def __init__(self, matrix):
        self.matrix = matrix
        self.size = len(matrix)

    def matvec(self, rows):
        return rows @ self.matrix

    def dense(self):
        return self.matrix.clone()


class Counting(MatrixOperator):
    def __init__(self, matrix):
        super().__init__(matrix)
        self.passes = self.products = self.formed = 0

    def matvec(self, rows):
        self.passes += 1
        self.products += len(rows)
        return super().matvec(rows)

    def dense(self):
        self.formed += 1
        return super().dense()


@settings(max_examples=60, deadline=None)
@given(
    p=st.integers(1, 12),
    m=st.integers(0, 40),
    rank=st.integers(1, 12),
    condition=st.floats(1.0, 1e4),
    preconditioner=st.sampled_from([None, "jacobi", {"name": "nystroem", "rank": 4}]),
    seed=st.integers(0, 10**6),
)
def test_solutions_are_those_of_dense_algebra(p, m, rank, condition, preconditioner, seed):
    matrix = spd(p, condition, seed)
    rhs = vectors(m, rank, seed) @ vectors(rank, p, seed + 1)
    solution = solve(matrix, rhs, rtol=1e-10, preconditioner=preconditioner)
    exact = np.linalg.solve(matrix, rhs.T).T
    assert solution.converged
    np.testing.assert_allclose(
        solution.value, exact, rtol=1e-6, atol=1e-6 * (1 + abs(exact).max(initial=0.0))
    )
    # Twice the dimension leaves room for rounding, and for dropping a column and taking it up.
    assert solution.iterations <= 2 * p


@pytest.mark.parametrize("m", [0, 1, 10, 30])
def test_0_1_and_b1_every_right_hand_side_is_solved(m):
    """0.1, B1: rows beyond the number of parameters stayed zero."""
    matrix = spd(10)
    rhs = vectors(m, 10)
    solution = solve(matrix, rhs)
    assert solution.value.shape == (m, 10)
    assert (abs(solution.value).max(axis=1) > 0).all()
    np.testing.assert_allclose(solution.value @ matrix, rhs, atol=1e-7)
    assert solution.residual.shape == (m,)


@pytest.mark.parametrize("rtol", [1e-2, 1e-4, 1e-9])
def test_0_2_the_tolerance_is_what_it_says(rtol):
    """0.2: the residual was compared with the square of the tolerance."""
    matrix = spd(200, 1e5)
    rhs = vectors(1, 200) * 1e4
    solution = solve(matrix, rhs, rtol=rtol, dense_up_to=0)
    true = np.linalg.norm(rhs - solution.value @ matrix) / np.linalg.norm(rhs)
    assert rtol / 30 < true <= rtol * (1 + 1e-9)
    np.testing.assert_allclose(solution.residual, true, rtol=1e-3)


def test_absolute_tolerance_is_in_the_units_of_the_right_hand_side():
    matrix = spd(50, 1e4)
    rhs = vectors(3, 50) * np.array([[1.0], [1e-3], [1e-9]])
    solution = solve(matrix, rhs, rtol=0.0, atol=1e-6, dense_up_to=0)
    left = np.linalg.norm(rhs - solution.value @ matrix, axis=1)
    assert (left <= 1e-6).all()
    assert solution.converged


def test_a_small_row_is_solved_as_well_as_a_large_one():
    matrix = spd(30, 1e3)
    scales = 10.0 ** np.array([12, 0, -20, -200, -320])[:, None]
    rhs = vectors(5, 30)
    solution = solve(matrix, rhs * scales)
    exact = np.linalg.solve(matrix, rhs.T).T
    np.testing.assert_allclose(solution.value[:4] / scales[:4], exact[:4], atol=1e-4)
    assert solution.value[4].any()


def test_zero_and_duplicate_rows():
    matrix = spd(8)
    rhs = vectors(3, 8)[[0, 1, 0, 0, 2]]
    rhs[1] = 0.0
    rhs[3] *= -2.0
    solution = solve(matrix, rhs)
    assert not solution.value[1].any()
    assert solution.residual[1] == 0
    np.testing.assert_allclose(solution.value[0], solution.value[2], atol=1e-12)
    np.testing.assert_allclose(solution.value @ matrix, rhs, atol=1e-7)


def test_only_zero_rows_cost_nothing():
    operator = Counting(spd(5))
    cg = CgApproximator()
    solution = cg.solve(cg.init(operator), np.zeros((4, 5)))
    assert solution.converged
    assert operator.passes == 0


def test_one_product_serves_all_rows():
    operator = Counting(spd(40, 1e2))
    cg = CgApproximator(dense_up_to=0)
    solution = cg.solve(cg.init(operator), vectors(8, 40))
    assert operator.passes == solution.iterations + 1 <= 8
    assert solution.details["products"] == operator.products
    assert solution.details["passes"] == operator.passes


def test_one_parameter():
    solution = solve(np.array([[4.0]]), np.array([[1.0], [0.0], [-8.0]]))
    np.testing.assert_array_equal(solution.value, [[0.25], [0.0], [-2.0]])
    assert solution.iterations == 1


def test_rows_do_not_depend_on_each_other():
    matrix, rhs = spd(40, 1e3), vectors(20, 40)
    together = solve(matrix, rhs).value
    alone = np.concatenate([solve(matrix, row[None]).value for row in rhs])
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(together, solve(matrix, rhs, block_size=3).value, atol=1e-5)


def test_torch_and_numpy_agree():
    matrix, rhs = spd(20), vectors(30, 20)
    for preconditioner in (None, "jacobi", "nystroem"):
        options = {"preconditioner": preconditioner, "rtol": 1e-10}
        cg = CgApproximator(**options)
        operator = TorchOperator(torch.from_numpy(matrix))
        operator.like = torch.zeros(20, dtype=torch.float64)
        solution = cg.solve(cg.init(operator), torch.from_numpy(rhs))
        assert isinstance(solution.value, torch.Tensor)
        np.testing.assert_allclose(
            solution.value.numpy(), solve(matrix, rhs, **options).value, atol=1e-7
        )


def test_single_precision_keeps_its_type_and_reaches_its_tolerance():
    matrix = torch.from_numpy(spd(60, 100.0)).float()
    rhs = torch.from_numpy(vectors(50, 60)).float()
    cg = CgApproximator()
    solution = cg.solve(cg.init(TorchOperator(matrix)), rhs)
    assert solution.value.dtype == solution.residual.dtype == torch.float32
    assert solution.converged
    assert float(solution.residual.max()) <= 1e-4


def test_stagnation_in_single_precision_is_told():
    matrix = torch.from_numpy(spd(60, 1e4)).float()
    rhs = torch.from_numpy(vectors(2, 60)).float()
    cg = CgApproximator(rtol=1e-9, dense_up_to=0, maxiter=10_000)
    with pytest.warns(DvlWarning, match=r"2 of 2 .*rounding hides"):
        solution = cg.solve(cg.init(TorchOperator(matrix)), rhs)
    assert not solution.converged
    assert solution.iterations < 1000
    assert solution.details["stopped_by"] == ["stagnation"]
    true = torch.linalg.vector_norm(rhs - solution.value @ matrix, dim=1)
    true = true / torch.linalg.vector_norm(rhs, dim=1)
    torch.testing.assert_close(solution.residual, true, rtol=0.5, atol=1e-6)
    assert float(solution.residual.max()) < 1e-2


def test_a_noisy_operator_is_told():
    """Residuals that are updated shrink all the same; the true ones show the noise."""
    rng = np.random.default_rng(0)

    class Noisy(MatrixOperator):
        def matvec(self, rows):
            noise = 1e-4 * rng.normal(size=self.matrix.shape)
            return rows @ (self.matrix + noise + noise.T)

    cg = CgApproximator(dense_up_to=0)
    with pytest.warns(DvlWarning, match="3 of 3"):
        solution = cg.solve(cg.init(Noisy(spd(40, 10.0))), vectors(3, 40))
    assert solution.details["stopped_by"] == ["stagnation"]
    assert (solution.residual > 1e-5).all()
    true = np.linalg.norm(vectors(3, 40) - solution.value @ spd(40, 10.0), axis=1)
    true = true / np.linalg.norm(vectors(3, 40), axis=1)
    assert (true < 0.1).all()


def test_too_few_iterations_are_told():
    with pytest.warns(DvlWarning, match=r"1 of 1 .*maxiter=3 was reached"):
        solution = solve(spd(100, 1e5), vectors(1, 100), maxiter=3)
    assert not solution.converged
    assert solution.iterations == 3
    assert solution.residual[0] > 1e-8


def indefinite(p=20):
    basis, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(p, p)))
    return (basis * np.linspace(-0.3, 1.0, p)) @ basis.T


@pytest.mark.parametrize("m", [1, 5, 60])
def test_indefinite_curvature_is_refused_with_a_regularization_that_would_do(m):
    operator = DampedOperator(MatrixOperator(indefinite()), 0.01)
    cg = CgApproximator()
    with pytest.raises(IndefiniteCurvatureError, match=r"about -0\.3.* at least 1\.2") as info:
        cg.solve(cg.init(operator), vectors(m, 20))
    assert "regularization 0.01 included" in str(info.value)
    better = cg.init(DampedOperator(operator.undamped, 1.2))
    assert cg.solve(better, vectors(m, 20)).converged


@pytest.mark.parametrize("m", [1, 5, 60])
def test_indefinite_curvature_stops_on_request(m):
    with pytest.warns(DvlWarning, match="not positive definite"):
        solution = solve(indefinite(), vectors(m, 20), indefinite="stop")
    assert not solution.converged
    assert solution.details["stopped_by"] == ["indefinite"]
    assert np.isfinite(solution.value).all()
    assert (abs(solution.value).max(axis=1) > 0).all()
    true = np.linalg.norm(vectors(m, 20) - solution.value @ indefinite(), axis=1)
    np.testing.assert_allclose(solution.residual, true / np.linalg.norm(vectors(m, 20), axis=1))


def test_singular_curvature_is_refused_where_it_matters():
    matrix = np.diag([1.0, 2.0, 0.0])
    with pytest.raises(IndefiniteCurvatureError, match="above 0"):
        solve(matrix, np.array([[1.0, 1.0, 1.0]]))
    inside = solve(matrix, np.array([[1.0, 1.0, 0.0]]))
    np.testing.assert_allclose(inside.value, [[1.0, 0.5, 0.0]], atol=1e-12)


def test_zero_curvature_is_refused():
    with pytest.raises(IndefiniteCurvatureError, match="Rayleigh quotient 0"):
        solve(np.zeros((4, 4)), vectors(2, 4))


def test_the_matrix_is_formed_once_products_have_cost_as_much():
    operator = Counting(spd(100, 1e6))
    cg = CgApproximator()
    state = cg.init(operator)
    first = cg.solve(state, vectors(1, 100))
    assert first.converged
    assert first.details["dense"]
    assert operator.formed == 1
    spent = operator.passes
    second = cg.solve(state, vectors(300, 100, seed=5))
    assert second.iterations <= 3
    assert operator.passes == spent
    assert operator.formed == 1
    assert (second.residual <= 1e-8).all()


def test_states_travel_to_other_processes():
    cg = CgApproximator(preconditioner="nystroem")
    state = cg.init(MatrixOperator(spd(100, 1e6)))
    first = cg.solve(state, vectors(3, 100))
    assert first.details["dense"]
    again = pickle.loads(pickle.dumps(cg)).solve(  # noqa: S301
        pickle.loads(pickle.dumps(state)),  # noqa: S301
        vectors(3, 100),
    )
    np.testing.assert_allclose(again.value, first.value, rtol=1e-4)


def test_the_matrix_is_formed_before_a_solve_that_would_cost_more():
    operator = Counting(spd(300, 2.0))
    cg = CgApproximator(rtol=1e-3)
    state = cg.init(operator)
    assert not cg.solve(state, vectors(20, 300)).details["dense"]
    spent = operator.products
    assert cg.solve(state, vectors(200, 300)).details["dense"]
    assert operator.products == spent


def test_the_matrix_is_not_formed_where_it_is_too_large():
    operator = Counting(spd(60, 1e6))
    cg = CgApproximator(dense_up_to=59)
    solution = cg.solve(cg.init(operator), vectors(3, 60))
    assert solution.converged
    assert operator.formed == 0


def test_an_indefinite_matrix_is_noticed_after_it_was_formed():
    operator = Counting(indefinite(60))
    cg = CgApproximator()
    state = cg.init(operator)
    state.operator.expect(1)
    state.operator._cost = 10**6
    with pytest.raises(IndefiniteCurvatureError):
        cg.solve(state, vectors(3, 60))
    assert operator.formed == 1


def test_products_that_are_not_finite_are_refused():
    with pytest.raises(InfluenceError, match="NaN or infinite"):
        solve(np.array([[np.nan, 0.0], [0.0, 1.0]]), np.ones((1, 2)))


def test_right_hand_sides_are_checked():
    with pytest.raises(DataError, match="right-hand side 1 holds NaN"):
        solve(spd(2), np.array([[1.0, 2.0], [1.0, np.nan]]))
    for wrong in (np.ones(2), np.ones((1, 3))):
        with pytest.raises(DataError, match=r"\[m, 2\]"):
            solve(spd(2), wrong)
    with pytest.raises(DataError, match="int64"):
        solve(spd(2), np.ones((1, 2), dtype=np.int64))


@pytest.mark.parametrize(
    "options",
    [
        {"rtol": -1e-3},
        {"rtol": 1.0},
        {"atol": -1.0},
        {"maxiter": 0},
        {"block_size": 0},
        {"indefinite": "ignore"},
        {"dense_up_to": -1},
    ],
)
def test_options_are_checked(options):
    with pytest.raises(InvalidOptionError, match=next(iter(options))):
        CgApproximator(**options)


def test_torch_is_not_imported_for_numpy():
    code = (
        "import sys, numpy as np; from dvl_cg import CgApproximator as C;"
        "from dvl_core.testing.inverse_hessians import MatrixOperator as M;"
        "c = C(); c.solve(c.init(M(np.eye(2))), np.ones((1, 2))); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
