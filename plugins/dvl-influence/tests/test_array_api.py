"""What needs only a linear operator: spectra, damping, residuals; for numpy and torch alike."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dvl_core.errors import InvalidOptionError
from dvl_core.testing.inverse_hessians import MatrixOperator
from dvl_influence.operators import DampedOperator, split_damping
from dvl_influence.solutions import LinearSolution, relative_residuals
from dvl_influence.spectrum import extreme_eigenvalues, mean_eigenvalue


class TorchOperator:
    def __init__(self, matrix: torch.Tensor) -> None:
        self.matrix, self.size, self.like = matrix, len(matrix), matrix[0]

    def matvec(self, vectors):
        return vectors @ self.matrix

    def dense(self):
        return self.matrix


def symmetric(p: int, seed: int) -> np.ndarray:
    matrix = np.random.default_rng(seed).normal(size=(p, p))
    return matrix + matrix.T


@settings(max_examples=30, deadline=None)
@given(p=st.integers(1, 9), seed=st.integers(0, 1000))
def test_extreme_eigenvalues_are_exact_after_as_many_steps_as_dimensions(p, seed) -> None:
    matrix = symmetric(p, seed)
    exact = np.linalg.eigvalsh(matrix)[[0, -1]]
    for operator in (MatrixOperator(matrix), TorchOperator(torch.from_numpy(matrix))):
        assert np.allclose(extreme_eigenvalues(operator, seed=seed), exact, atol=1e-8)


def test_extreme_eigenvalues_of_many_dimensions_lie_inside_and_near_the_ends() -> None:
    values = np.concatenate([[-3.0], np.linspace(0, 1, 198), [10.0]])
    low, high = extreme_eigenvalues(MatrixOperator(np.diag(values)), steps=40)
    assert -3.0 - 1e-9 <= low < -2.999
    assert 9.999 < high <= 10.0 + 1e-9


def test_a_zero_operator_has_zero_eigenvalues() -> None:
    assert extreme_eigenvalues(MatrixOperator(np.zeros((4, 4)))) == (0.0, 0.0)


def test_the_mean_eigenvalue_is_unbiased() -> None:
    matrix = symmetric(12, 0)
    found = [mean_eigenvalue(MatrixOperator(matrix), probes=8, seed=s) for s in range(300)]
    error = np.std(found) / np.sqrt(300)
    assert abs(np.mean(found) - np.trace(matrix) / 12) < 4 * error


@pytest.mark.parametrize("damping", [-1.0, float("nan"), float("inf")])
def test_damping_is_a_number_of_at_least_zero(damping) -> None:
    with pytest.raises(InvalidOptionError, match="regularization"):
        DampedOperator(MatrixOperator(np.eye(2)), damping)


def test_damping_adds_to_the_diagonal() -> None:
    matrix = symmetric(4, 0)
    for operator in (MatrixOperator(matrix), TorchOperator(torch.from_numpy(matrix))):
        damped = DampedOperator(operator, 0.5)
        dense = np.asarray(damped.dense())
        assert np.allclose(dense, matrix + 0.5 * np.eye(4))
        identity = np.eye(4) if damped.like is None else torch.eye(4, dtype=torch.float64)
        assert np.allclose(np.asarray(damped.matvec(identity)), dense)
        assert split_damping(damped) == (operator, 0.5)
        assert split_damping(operator) == (operator, 0.0)


def test_residuals_are_computed_when_asked_for_and_are_zero_for_nothing() -> None:
    operator = MatrixOperator(np.diag([1.0, 2.0]))
    rhs = np.array([[1.0, 2.0], [0.0, 0.0], [0.0, 0.0], [3.0, 4.0]])
    value = np.array([[1.0, 1.0], [0.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    assert relative_residuals(operator, rhs, value).tolist() == [0.0, 0.0, 1.0, 1.0]
    assert LinearSolution(operator, rhs, value, converged=False).residual.tolist() == [0, 0, 1, 1]
    known = LinearSolution(operator, rhs, value, converged=False, residual=np.arange(4))
    assert known.residual.tolist() == [0, 1, 2, 3]


def test_what_needs_no_torch_imports_none() -> None:
    script = (
        "import sys, dvl_influence, dvl_influence.operators, dvl_influence.solutions, "
        "dvl_influence.spectrum, dvl_influence.errors; "
        "dvl_influence.IdentityApproximator; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
