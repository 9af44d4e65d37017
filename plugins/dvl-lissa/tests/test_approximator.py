"""Solutions against dense algebra, within the tolerance that they state; failures that are loud."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dvl_core.errors import DataError, DvlWarning, InvalidOptionError
from dvl_core.testing.inverse_hessians import MatrixOperator
from dvl_influence import DampedOperator
from dvl_influence.errors import ConvergenceError, InfluenceError
from dvl_lissa import LissaApproximator


def spd(p, condition=20.0, seed=0):
    basis, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(p, p)))
    matrix = (basis * np.linspace(1.0 / condition, 1.0, p)) @ basis.T
    return (matrix + matrix.T) / 2


def vectors(m, p, seed=1):
    return np.random.default_rng(seed).normal(size=(m, p))


def solve(operator, rhs, **options):
    if isinstance(operator, np.ndarray):
        operator = MatrixOperator(operator)
    lissa = LissaApproximator(**options)
    return lissa.solve(lissa.init(operator), rhs)


class Sampled(MatrixOperator):
    """The mean of x x^T over points, of which mini-batches can be drawn."""

    def __init__(self, points):
        super().__init__(points.T @ points / len(points))
        self.points = points
        self.drawn = 0

    def sampled(self, rng, n_points):
        self.drawn += 1
        return Sampled(self.points[rng.permutation(len(self.points))[:n_points]])


@settings(max_examples=40, deadline=None)
@given(
    p=st.integers(1, 8),
    m=st.integers(0, 20),
    size=st.floats(1e-6, 1e6),
    damping=st.floats(0.0, 2.0),
    seed=st.integers(0, 10**6),
)
def test_solutions_are_within_the_stated_tolerance(p, m, size, damping, seed):
    matrix = size * spd(p, 20.0, seed)
    rhs = vectors(m, p, seed)
    operator = DampedOperator(MatrixOperator(matrix), size * damping)
    solution = solve(operator, rhs, rtol=1e-6)
    assert solution.converged
    left = np.linalg.norm(rhs - operator.matvec(solution.value), axis=1)
    true = left / np.linalg.norm(rhs, axis=1)
    assert (true <= 1.001e-6).all()
    np.testing.assert_allclose(solution.residual, true, rtol=1e-2, atol=1e-12)
    exact = np.linalg.solve(operator.dense(), rhs.T).T
    np.testing.assert_allclose(
        solution.value, exact, atol=1e-4 * abs(exact).max(initial=1e-300), rtol=0
    )


def test_0_8_a_quadratic_of_four_parameters_is_solved():
    """0.8: 13 % off after 1,000 steps; convergence was tested by quotients of single entries."""
    matrix = np.diag([4.0, 1.0, 0.5, 0.1])
    rhs = np.array([[1.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0]])
    solution = solve(matrix, rhs, depth=1000, rtol=1e-5)
    assert solution.converged
    np.testing.assert_allclose(solution.value, rhs / np.diag(matrix), rtol=1e-4)
    assert not solution.value[1].any()
    assert solution.iterations < 1000


def test_0_8_runs_are_averaged_and_a_step_reads_a_mini_batch_only():
    """0.8: no averaging of runs; a new pass through the shuffled data was begun at every step."""
    operator = Sampled(np.random.default_rng(0).normal(size=(500, 5)))
    whole = []
    original = operator.matvec
    operator.matvec = lambda rows: whole.append(len(rows)) or original(rows)
    lissa = LissaApproximator(batch_size=50, depth=40, repeats=3, rtol=0.2, power_iterations=5)
    state = lissa.init(operator)
    tried = operator.drawn
    assert len(whole) == 5
    solution = lissa.solve(state, vectors(4, 5))
    assert operator.drawn - tried == 3 * 40
    assert len(whole) == 6
    assert solution.iterations == 120


@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_0_10_the_fixed_point_is_the_inverse(damping):
    """0.10: the recursion was printed as ``v + (1 - d) H h - h / s``."""
    matrix = spd(6, 5.0)
    lissa = LissaApproximator(rtol=1e-10)
    state = lissa.init(DampedOperator(MatrixOperator(matrix), damping))
    exact = np.linalg.inv(matrix + damping * np.eye(6))
    np.testing.assert_allclose(lissa.solve(state, np.eye(6)).value, exact, atol=1e-8)
    assert state.scale == pytest.approx(1.1 * (1.0 + damping), rel=0.05)
    assert state.details["largest_eigenvalue"] == pytest.approx(1.0, rel=0.05)


def test_one_product_serves_all_rows_and_none_is_lost():
    calls = []
    operator = MatrixOperator(spd(5))
    lissa = LissaApproximator()
    state = lissa.init(operator)
    original = operator.matvec
    operator.matvec = lambda rows: calls.append(len(rows)) or original(rows)
    rhs = vectors(16, 5)
    rhs[3] = 0.0
    rhs[4] = rhs[5]
    solution = lissa.solve(state, rhs)
    assert len(calls) == solution.iterations
    assert calls[0] == 15
    assert calls == sorted(calls, reverse=True)
    assert not solution.value[3].any()
    assert (abs(np.delete(solution.value, 3, axis=0)).max(axis=1) > 0).all()
    np.testing.assert_array_equal(solution.value[4], solution.value[5])


def test_small_rows_are_not_lost():
    rhs = vectors(2, 3)
    solution = solve(spd(3), rhs * np.array([[1e-200], [1e200]]))
    np.testing.assert_allclose(
        solution.value / np.array([[1e-200], [1e200]]), solve(spd(3), rhs).value
    )


@pytest.mark.parametrize("options", [{}, {"batch_size": 40, "depth": 300, "rtol": 0.2}])
def test_torch_and_numpy_agree(options):
    points = np.random.default_rng(0).normal(size=(200, 4))

    class Torch(Sampled):
        like = torch.zeros(4, dtype=torch.float64)

        def sampled(self, rng, n_points):
            return Torch(super().sampled(rng, n_points).points)

        def matvec(self, rows):
            return rows @ torch.from_numpy(self.matrix)

    rhs = vectors(6, 4)
    ours = solve(Torch(points), torch.from_numpy(rhs), **options)
    assert isinstance(ours.value, torch.Tensor)
    theirs = solve(Sampled(points), rhs, **options)
    np.testing.assert_allclose(ours.value.numpy(), theirs.value, rtol=1e-9)
    np.testing.assert_allclose(ours.residual.numpy(), theirs.residual, rtol=1e-6)


def test_single_precision_keeps_its_type():
    class Single(MatrixOperator):
        like = torch.zeros(6)

        def matvec(self, rows):
            return rows @ torch.from_numpy(self.matrix).float()

    solution = solve(Single(spd(6)), torch.from_numpy(vectors(9, 6)).float())
    assert solution.converged
    assert solution.value.dtype == solution.residual.dtype == torch.float32


def test_mini_batches_find_the_inverse_and_tell_their_error():
    points = np.random.default_rng(0).normal(size=(1000, 4)) * np.array([1.0, 1.0, 0.7, 0.5])
    operator = DampedOperator(Sampled(points), 0.05)
    rhs = vectors(8, 4)
    exact = np.linalg.solve(operator.dense(), rhs.T).T
    solution = solve(operator, rhs, batch_size=50, depth=500, repeats=6, rtol=0.1)
    assert solution.converged
    error = np.linalg.norm(solution.value - exact, axis=1) / np.linalg.norm(exact, axis=1)
    told = np.array(solution.details["errors"])
    assert (error < 0.1).all()
    assert (error < 5 * told).all()
    assert (told < 0.1).all()
    left = np.linalg.norm(rhs - operator.matvec(solution.value), axis=1)
    np.testing.assert_allclose(solution.residual, left / np.linalg.norm(rhs, axis=1))


def test_averaged_iterates_are_nearer_than_the_last():
    operator = Sampled(np.random.default_rng(0).normal(size=(1000, 4)))
    rhs = vectors(20, 4)
    exact = np.linalg.solve(operator.dense(), rhs.T).T

    def error(averaged):
        options = {"batch_size": 20, "depth": 400, "repeats": 2, "averaged": averaged, "rtol": 0.9}
        return np.linalg.norm(solve(operator, rhs, **options).value - exact)

    assert error(0.5) < error(0.0) / 2


def test_the_seed_decides():
    operator = Sampled(np.random.default_rng(0).normal(size=(100, 3)))
    options = {"batch_size": 10, "depth": 50, "rtol": 0.9}
    one, again = (solve(operator, vectors(2, 3), seed=1, **options).value for _ in range(2))
    np.testing.assert_array_equal(one, again)
    assert (solve(operator, vectors(2, 3), seed=2, **options).value != one).all()


def test_no_right_hand_sides_in_mini_batches():
    operator = Sampled(np.random.default_rng(0).normal(size=(100, 3)))
    solution = solve(operator, np.zeros((0, 3)), batch_size=10)
    assert solution.value.shape == (0, 3)
    assert solution.converged


def test_zero_rows_stay_zero_in_mini_batches():
    operator = Sampled(np.random.default_rng(0).normal(size=(100, 3)))
    rhs = vectors(2, 3)
    rhs[0] = 0.0
    solution = solve(operator, rhs, batch_size=50, depth=300, rtol=0.5)
    assert not solution.value[0].any()
    assert solution.residual[0] == 0
    assert np.isfinite(solution.value).all()


@pytest.mark.parametrize("scale", [0.3, 0.49])
def test_too_small_a_scale_fails_loudly(scale):
    with pytest.raises(ConvergenceError, match=rf"scale {scale} diverges: .* larger one"):
        solve(spd(5), vectors(2, 5), scale=scale)


def test_too_small_a_scale_fails_loudly_in_mini_batches():
    operator = Sampled(np.random.default_rng(0).normal(size=(100, 4)))
    with pytest.raises(ConvergenceError, match="larger batch_size"):
        solve(operator, vectors(2, 4), batch_size=2, scale=0.4)


def test_indefinite_curvature_fails_loudly():
    with pytest.raises(ConvergenceError, match="not positive definite"):
        solve(np.diag([1.0, 0.5, -0.1]), np.ones((2, 3)))


def test_products_that_are_not_finite_fail_loudly():
    with pytest.raises(ConvergenceError, match="nan"):
        solve(np.array([[np.nan, 0.0], [0.0, 1.0]]), np.ones((1, 2)), scale=1.0)
    with pytest.raises(InfluenceError, match="NaN"):
        solve(np.array([[np.nan, 0.0], [0.0, 1.0]]), np.ones((1, 2)))


def test_zero_curvature_is_refused():
    with pytest.raises(InfluenceError, match="nothing to invert"):
        solve(np.zeros((2, 2)), np.ones((1, 2)))
    damped = solve(DampedOperator(MatrixOperator(np.zeros((2, 2))), 0.5), np.ones((1, 2)))
    np.testing.assert_allclose(damped.value, [[2.0, 2.0]], rtol=1e-3)


def test_too_few_steps_are_told():
    with pytest.warns(DvlWarning, match=r"missed rtol=0.001 for 2 of 3 .* after 30 steps"):
        solution = solve(np.diag([1.0, 0.01]), np.array([[1.0, 0.0], [0, 1], [1, 1]]), depth=30)
    assert not solution.converged
    assert solution.iterations == 30
    assert solution.residual[0] < 1e-3 < solution.residual[1]


def test_singular_curvature_is_told():
    with pytest.warns(DvlWarning, match="missed rtol"):
        assert not solve(np.diag([1.0, 0.0]), np.ones((1, 2)), depth=100).converged


def test_mini_batches_need_a_curvature_that_has_them():
    with pytest.raises(InvalidOptionError, match="MatrixOperator has no mini-batches"):
        solve(spd(3), np.ones((1, 3)), batch_size=5)


def test_right_hand_sides_are_checked():
    with pytest.raises(DataError, match="right-hand side 1 holds NaN"):
        solve(spd(2), np.array([[1.0, 2.0], [1.0, np.inf]]))
    for wrong in (np.ones(2), np.ones((1, 3))):
        with pytest.raises(DataError, match=r"\[m, 2\]"):
            solve(spd(2), wrong)
    with pytest.raises(DataError, match="int64"):
        solve(spd(2), np.ones((1, 2), dtype=np.int64))


@pytest.mark.parametrize(
    "options",
    [
        {"depth": 0},
        {"repeats": 0},
        {"batch_size": 0},
        {"averaged": 1.5},
        {"rtol": 0.0},
        {"scale": 0.0},
        {"power_iterations": 0},
    ],
)
def test_options_are_checked(options):
    with pytest.raises(InvalidOptionError, match=next(iter(options))):
        LissaApproximator(**options)


def test_torch_is_not_imported_for_numpy():
    code = (
        "import sys, numpy as np; from dvl_lissa import LissaApproximator as L;"
        "from dvl_core.testing.inverse_hessians import MatrixOperator as M;"
        "l = L(); l.solve(l.init(M(np.eye(2))), np.ones((1, 2))); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
