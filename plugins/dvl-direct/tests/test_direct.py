"""Direct solves against dense algebra, and what is done with matrices that have no inverse."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import dvl_direct.matrices
from dvl_core.errors import DataError, DvlWarning, InvalidOptionError
from dvl_core.testing.inverse_hessians import MatrixOperator
from dvl_direct import DirectApproximator
from dvl_influence import DampedOperator
from dvl_influence.errors import IndefiniteCurvatureError, InfluenceError


class TorchOperator:
    """A symmetric torch matrix as a linear operator."""

    def __init__(self, matrix: torch.Tensor) -> None:
        self.matrix = matrix

    @property
    def size(self) -> int:
        return len(self.matrix)

    @property
    def like(self) -> torch.Tensor:
        return self.matrix[0]

    def matvec(self, vectors: torch.Tensor) -> torch.Tensor:
        return vectors @ self.matrix

    def dense(self) -> torch.Tensor:
        return self.matrix.clone()


class CountingOperator(MatrixOperator):
    """Counts how often its matrix is asked for."""

    asked = 0

    def dense(self) -> np.ndarray:
        self.asked += 1
        return super().dense()


def symmetric(eigenvalues: object, seed: int = 0) -> np.ndarray:
    """Return a matrix with these eigenvalues."""
    values = np.asarray(eigenvalues, dtype=float)
    basis, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(values), len(values))))
    matrix = (basis * values) @ basis.T
    return (matrix + matrix.T) / 2


def solved(direct: DirectApproximator, matrix: np.ndarray, damping: float, rhs: object) -> object:
    return direct.solve(direct.init(DampedOperator(MatrixOperator(matrix), damping)), rhs)


@given(
    size=st.integers(1, 9),
    count=st.integers(0, 27),
    damping=st.sampled_from([0.0, 1e-4, 0.3]),
    condition=st.floats(1.0, 1e5),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_agrees_with_dense_algebra(size, count, damping, condition, scale, seed):
    """Peers 0.1, B1: every row is solved, however many there are; B25: small regularization."""
    matrix = symmetric(scale * np.geomspace(1.0, condition, size), seed)
    rhs = np.random.default_rng(seed).normal(size=(count, size))
    solution = solved(DirectApproximator(), matrix, damping, rhs)
    exact = np.linalg.solve(matrix + damping * np.eye(size), rhs.T).T
    assert solution.value.shape == (count, size)
    assert np.abs(solution.value - exact).max(initial=0) <= 1e-9 * np.abs(exact).max(initial=0)
    assert solution.residual.shape == (count,)
    assert (solution.residual < 1e-9).all()
    assert solution.converged
    assert solution.iterations == 0


@pytest.mark.parametrize("options", [{}, {"indefinite": "clip"}, {"singular": "pseudo-inverse"}])
def test_duplicate_and_zero_rows(options):
    matrix = symmetric([1.0, 2.0, 3.0, 4.0])
    rhs = np.random.default_rng(0).normal(size=(12, 4))
    rhs[5], rhs[7] = 0.0, rhs[1]
    solution = solved(DirectApproximator(**options), matrix, 0.1, rhs)
    assert not solution.value[5].any()
    assert solution.residual[5] == 0.0
    np.testing.assert_allclose(solution.value[7], solution.value[1], rtol=1e-12)
    exact = np.linalg.solve(matrix + 0.1 * np.eye(4), rhs.T).T
    np.testing.assert_allclose(solution.value, exact, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"indefinite": "absolute"}])
def test_torch_agrees_with_numpy(options):
    matrix = symmetric(np.geomspace(0.01, 10.0, 8))
    rhs = np.random.default_rng(1).normal(size=(20, 8))
    expected = solved(DirectApproximator(**options), matrix, 0.05, rhs)
    direct = DirectApproximator(**options)
    operator = DampedOperator(TorchOperator(torch.from_numpy(matrix)), 0.05)
    found = direct.solve(direct.init(operator), torch.from_numpy(rhs))
    assert found.value.dtype == torch.float64
    np.testing.assert_allclose(found.value.numpy(), expected.value, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.residual.numpy(), 0.0, atol=1e-10)


def test_single_precision_is_solved_in_double():
    matrix = symmetric(np.geomspace(1e-4, 1.0, 10)).astype(np.float32)
    rhs = np.random.default_rng(1).normal(size=(3, 10)).astype(np.float32)
    exact = np.linalg.solve(matrix.astype(float) + 1e-3 * np.eye(10), rhs.astype(float).T).T
    direct = DirectApproximator()
    for operator, vectors in (
        (MatrixOperator(matrix), rhs),
        (TorchOperator(torch.from_numpy(matrix)), torch.from_numpy(rhs)),
    ):
        value = direct.solve(direct.init(DampedOperator(operator, 1e-3)), vectors).value
        assert value.dtype == vectors.dtype
        error = np.linalg.norm(np.asarray(value, dtype=float) - exact) / np.linalg.norm(exact)
        assert error < 1e-6


def test_an_array_library_without_triangular_solves(monkeypatch):
    """numpy stands in for it: only what the array API has is used then."""
    monkeypatch.setattr(dvl_direct.matrices, "is_numpy_array", lambda array: False)
    matrix = symmetric([1.0, 2.0, 3.0])
    rhs = np.random.default_rng(0).normal(size=(5, 3))
    solution = solved(DirectApproximator(), matrix, 0.0, rhs)
    np.testing.assert_allclose(solution.value, np.linalg.solve(matrix, rhs.T).T, rtol=1e-9)
    with pytest.raises(IndefiniteCurvatureError, match="1 negative eigenvalues of 2"):
        solved(DirectApproximator(), symmetric([-1.0, 2.0]), 0.0, rhs[:, :2])


@pytest.mark.parametrize("options", [{}, {"indefinite": "clip"}])
def test_condition_and_eigenvalues_are_reported(options):
    eigenvalues = np.geomspace(1e-3, 50.0, 60)
    direct = DirectApproximator(**options)
    details = direct.init(DampedOperator(MatrixOperator(symmetric(eigenvalues)), 0.5)).details
    assert details["condition"] == pytest.approx(50.5 / 0.501, rel=1e-3)
    assert details["smallest_eigenvalue"] == pytest.approx(0.501, rel=1e-3)
    assert details["largest_eigenvalue"] == pytest.approx(50.5, rel=1e-3)
    assert details["smallest_curvature_eigenvalue"] == pytest.approx(1e-3, abs=5e-4)


def test_indefinite_is_refused_with_number_size_and_way_out():
    matrix = symmetric([-2.0, -0.5, 1.0, 3.0, 5.0])
    with pytest.raises(IndefiniteCurvatureError) as caught:
        solved(DirectApproximator(), matrix, 0.25, np.ones((1, 5)))
    message = str(caught.value)
    assert "2 negative eigenvalues of 5" in message
    assert "smallest is -1.75" in message
    assert "above 2 makes it positive definite" in message
    assert "8 or more" in message
    enough = solved(DirectApproximator(), matrix, 2.01, np.ones((1, 5)))
    np.testing.assert_allclose(
        enough.value, np.linalg.solve(matrix + 2.01 * np.eye(5), np.ones((5, 1))).T, rtol=1e-9
    )


@pytest.mark.parametrize(
    ("indefinite", "changed"),
    [("clip", [0.0, 0.0, 1.0, 3.0, 5.0]), ("absolute", [2.0, 0.5, 1.0, 3.0, 5.0])],
)
@pytest.mark.parametrize("damping", [0.25, 10.0])
def test_negative_eigenvalues_are_changed_on_request(indefinite, changed, damping):
    """The same matrix whether or not lambda would have made it positive definite."""
    matrix = symmetric([-2.0, -0.5, 1.0, 3.0, 5.0])
    rhs = np.random.default_rng(0).normal(size=(4, 5))
    with pytest.warns(DvlWarning, match="2 negative eigenvalues of 5.*smallest -2") as caught:
        solution = solved(DirectApproximator(indefinite=indefinite), matrix, damping, rhs)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    exact = np.linalg.solve(symmetric(changed) + damping * np.eye(5), rhs.T).T
    np.testing.assert_allclose(solution.value, exact, rtol=1e-9)
    assert not solution.converged
    assert solution.details["negative_curvature_eigenvalues"] == 2
    assert solution.details["smallest_curvature_eigenvalue"] == pytest.approx(-2.0)
    true = rhs - solution.value @ (matrix + damping * np.eye(5))
    relative = np.linalg.norm(true, axis=1) / np.linalg.norm(rhs, axis=1)
    np.testing.assert_allclose(solution.residual, relative, rtol=1e-9)


def test_rounding_errors_below_zero_are_clipped_too():
    matrix = symmetric([-2.0, -1e-16, 3.0])
    direct = DirectApproximator(indefinite="clip")
    with pytest.warns(DvlWarning, match="1 negative eigenvalues of 3"):
        state = direct.init(DampedOperator(MatrixOperator(matrix), 1e-14))
    assert state.details["smallest_eigenvalue"] >= 1e-14


@pytest.mark.parametrize("indefinite", ["clip", "absolute"])
def test_positive_definite_needs_no_change(indefinite):
    matrix = symmetric([1.0, 2.0, 3.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solution = solved(DirectApproximator(indefinite=indefinite), matrix, 0.0, np.ones((1, 3)))
    np.testing.assert_allclose(solution.value[0], np.linalg.solve(matrix, np.ones(3)), rtol=1e-9)
    assert solution.converged


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_singular_without_damping_is_refused(dtype):
    factor = np.random.default_rng(0).normal(size=(3, 8)).astype(dtype)
    matrix = factor.T @ factor
    with pytest.raises(IndefiniteCurvatureError, match=r"singular: 5 of 8 eigenvalues are zero"):
        solved(DirectApproximator(), matrix, 0.0, np.ones((1, 8), dtype))
    damped = solved(DirectApproximator(), matrix, 1e-3, np.ones((1, 8), dtype)).value
    exact = np.linalg.solve(matrix.astype(float) + 1e-3 * np.eye(8), np.ones(8))
    np.testing.assert_allclose(damped[0], exact, rtol=1e-3)


def test_pseudo_inverse_on_request():
    factor = np.random.default_rng(0).normal(size=(3, 8))
    matrix = factor.T @ factor
    rhs = np.random.default_rng(1).normal(size=(4, 3)) @ factor
    direct = DirectApproximator(singular="pseudo-inverse")
    solution = solved(direct, matrix, 0.0, rhs)
    exact = rhs @ np.linalg.pinv(matrix, hermitian=True)
    np.testing.assert_allclose(solution.value, exact, rtol=1e-9, atol=1e-12)
    assert solution.details["zero_eigenvalues"] == 5
    assert not solution.converged
    assert (solution.residual < 1e-9).all()
    with pytest.raises(IndefiniteCurvatureError, match="negative eigenvalues"):
        solved(direct, symmetric([-1.0, 0.0, 1.0]), 0.0, np.ones((1, 3)))


def test_a_curvature_of_zero_is_refused_without_regularization():
    rhs = np.ones((1, 3))
    for options in ({}, {"singular": "pseudo-inverse"}, {"indefinite": "clip"}):
        with pytest.raises(IndefiniteCurvatureError, match="no positive eigenvalue"):
            solved(DirectApproximator(**options), np.zeros((3, 3)), 0.0, rhs)
        damped = solved(DirectApproximator(**options), np.zeros((3, 3)), 0.5, rhs)
        np.testing.assert_allclose(damped.value, 2.0 * rhs, rtol=1e-12)


@pytest.mark.parametrize("indefinite", ["refuse", "clip"])
def test_b24_another_regularization_needs_no_new_matrix(indefinite):
    """Peers B24, 0.12: it takes effect, and does not add up."""
    operator = CountingOperator(symmetric([1.0, 2.0, 5.0]))
    direct = DirectApproximator(indefinite=indefinite)
    first = direct.init(DampedOperator(operator, 0.5))
    rhs = np.ones((1, 3))
    before = direct.solve(first, rhs).value
    for damping in (0.0, 0.1, 3.0):
        again = direct.solve(direct.with_damping(first, damping), rhs)
        fresh = solved(direct, operator.matrix, damping, rhs)
        np.testing.assert_allclose(again.value, fresh.value, rtol=1e-12)
        np.testing.assert_allclose(again.residual, 0.0, atol=1e-12)
    np.testing.assert_array_equal(direct.solve(first, rhs).value, before)
    assert operator.asked == 1
    with pytest.raises(InvalidOptionError, match="regularization is -1"):
        direct.with_damping(first, -1)


@pytest.mark.parametrize("indefinite", ["refuse", "absolute"])
def test_states_survive_arrays_and_pickles(indefinite):
    matrix = torch.from_numpy(symmetric([1.0, 2.0, 5.0]))
    rhs = torch.ones(1, 3, dtype=torch.float64)
    direct = DirectApproximator(indefinite=indefinite)
    operator = DampedOperator(TorchOperator(matrix), 0.5)
    state = direct.init(operator)
    back = direct.from_arrays(direct.to_arrays(state), operator)
    torch.testing.assert_close(direct.solve(back, rhs).value, direct.solve(state, rhs).value)
    assert back.details == pytest.approx(state.details)
    copied = pickle.loads(pickle.dumps(state))  # noqa: S301
    torch.testing.assert_close(direct.solve(copied, rhs).value, direct.solve(state, rhs).value)


def test_too_many_parameters_are_refused_before_the_matrix_is_formed():
    operator = CountingOperator(np.eye(5))
    with pytest.raises(InvalidOptionError, match=r"4, and .*GB: use conjugate gradients"):
        DirectApproximator(max_parameters=4).init(operator)
    assert operator.asked == 0


def test_numbers_that_are_none_do_not_travel():
    matrix = np.eye(2)
    matrix[0, 1] = np.nan
    with pytest.raises(InfluenceError, match="NaN or infinity"):
        DirectApproximator().init(MatrixOperator(matrix))
    for rhs, match in ((np.full((1, 2), np.inf), "side 0 holds NaN"), (np.ones(2), "the rows of")):
        with pytest.raises(DataError, match=match):
            solved(DirectApproximator(), np.eye(2), 0.0, rhs)


@pytest.mark.parametrize(
    "options", [{"indefinite": "ignore"}, {"singular": "ignore"}, {"max_parameters": 0}]
)
def test_options_are_checked(options):
    with pytest.raises(InvalidOptionError, match=next(iter(options))):
        DirectApproximator(**options)


def test_arrays_of_numpy_need_no_torch():
    code = (
        "import sys, numpy as np\n"
        "from dvl_core.testing.inverse_hessians import MatrixOperator\n"
        "from dvl_direct import DirectApproximator\n"
        "approximator = DirectApproximator()\n"
        "state = approximator.init(MatrixOperator(np.eye(3)))\n"
        "approximator.solve(state, np.ones((1, 3))).residual\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
