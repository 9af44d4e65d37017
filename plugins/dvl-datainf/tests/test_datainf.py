"""The approximator against its formula, and the cases in which it is exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dvl_core.errors import DataError, InvalidOptionError
from dvl_core.testing.inverse_hessians import MatrixOperator
from dvl_datainf import DataInfApproximator, EmpiricalFisher
from dvl_influence.operators import DampedOperator


def solve(gradients, damping, rhs):
    datainf = DataInfApproximator()
    operator = DampedOperator(EmpiricalFisher(gradients), damping)
    return datainf.solve(datainf.init(operator), rhs)


def formula(gradients, damping, rhs):
    """The mean of the inverses, each by dense algebra."""
    p = gradients.shape[1]
    inverses = [np.linalg.inv(np.outer(g, g) + damping * np.eye(p)) for g in gradients]
    return rhs @ np.mean(inverses, axis=0)


sizes = {"seed": st.integers(0, 10_000), "n": st.integers(1, 8), "p": st.integers(1, 7)}


def draw(seed, n, p, m=4):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, p)), float(rng.uniform(0.05, 3.0)), rng.normal(size=(m, p))


@settings(max_examples=60, deadline=None)
@given(**sizes, m=st.sampled_from([0, 1, 5, 21]))
def test_it_is_the_mean_of_the_inverses(seed, n, p, m) -> None:
    gradients, damping, rhs = draw(seed, n, p, m)
    solution = solve(gradients, damping, rhs)
    np.testing.assert_allclose(
        solution.value, formula(gradients, damping, rhs), rtol=1e-9, atol=1e-9
    )
    assert solution.converged == (n == 1)
    assert solution.residual.shape == (m,)


@settings(max_examples=40, deadline=None)
@given(**sizes)
def test_one_point_is_exact(seed, n, p) -> None:
    gradients, damping, rhs = draw(seed, 1, p)
    exact = np.linalg.solve(np.outer(gradients, gradients) + damping * np.eye(p), rhs.T).T
    solution = solve(gradients, damping, rhs)
    np.testing.assert_allclose(solution.value, exact, rtol=1e-9, atol=1e-9)
    assert solution.residual.max() < 1e-9


@settings(max_examples=40, deadline=None)
@given(**sizes)
def test_equal_gradients_are_exact(seed, n, p) -> None:
    gradients, damping, rhs = draw(seed, 1, p)
    gradients = np.repeat(gradients, n, axis=0)
    exact = np.linalg.solve(gradients.T @ gradients / n + damping * np.eye(p), rhs.T).T
    np.testing.assert_allclose(solve(gradients, damping, rhs).value, exact, rtol=1e-9, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(**sizes)
def test_no_point_has_less_influence_on_itself_than_is_exact(seed, n, p) -> None:
    gradients, damping, _ = draw(seed, n, p)
    fisher = gradients.T @ gradients / n + damping * np.eye(p)
    exact = np.sum(gradients * np.linalg.solve(fisher, gradients.T).T, axis=1)
    found = np.sum(gradients * solve(gradients, damping, gradients).value, axis=1)
    assert (found >= exact - 1e-9).all()


def test_orthogonal_gradients_in_closed_form() -> None:
    # The first vector meets one gradient of four: 1/4 (1/(1+2) + 3 / 2); the exact 1/(1/4 + 2).
    solution = solve(np.eye(4), 2.0, np.eye(4)[:1])
    np.testing.assert_allclose(solution.value, [[(1 / 3 + 3 / 2) / 4, 0, 0, 0]])
    np.testing.assert_allclose(solution.residual, [(1 / 3 + 3 / 2) / 4 * 2.25 - 1])


def test_a_large_regularization_leaves_the_gradients() -> None:
    gradients, _, rhs = draw(0, 5, 4)
    np.testing.assert_allclose(1e9 * solve(gradients, 1e9, rhs).value, rhs, rtol=1e-7)


def test_zero_gradients_and_zero_vectors() -> None:
    rhs = np.array([[1.0, 2.0], [0.0, 0.0]])
    solution = solve(np.zeros((3, 2)), 0.5, rhs)
    np.testing.assert_array_equal(solution.value, 2 * rhs)
    assert not solution.residual.any()
    assert not solve(np.ones((3, 2)), 0.5, rhs).value[1].any()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_torch_gives_what_numpy_gives(dtype, tolerance) -> None:
    gradients, damping, rhs = draw(3, 6, 5)
    numbers = [torch.tensor(array, dtype=dtype) for array in (gradients, rhs)]
    found = solve(numbers[0], damping, numbers[1]).value
    assert found.dtype == dtype
    np.testing.assert_allclose(found, solve(gradients, damping, rhs).value, atol=tolerance)


def test_automatic_regularization_is_a_tenth_of_the_mean_eigenvalue() -> None:
    gradients, _, _ = draw(1, 6, 5)
    fisher = EmpiricalFisher(gradients)
    mean = np.linalg.eigvalsh(fisher.dense()).mean()
    assert DataInfApproximator().auto_damping(fisher) == pytest.approx(0.1 * mean, rel=1e-12)


def test_without_regularization_it_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match="positive"):
        DataInfApproximator().init(EmpiricalFisher(np.ones((2, 2))))


def test_a_curvature_without_gradients_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match="MatrixOperator"):
        DataInfApproximator().init(DampedOperator(MatrixOperator(np.eye(2)), 1.0))
    with pytest.raises(InvalidOptionError, match="empirical-fisher"):
        DataInfApproximator().auto_damping(MatrixOperator(np.eye(2)))


def test_bad_arrays_are_refused() -> None:
    for gradients in (np.ones(3), np.ones((0, 3)), np.ones((3, 0)), np.full((2, 2), np.nan)):
        with pytest.raises(DataError, match="gradients"):
            EmpiricalFisher(gradients)
    for rhs in (np.ones(2), np.ones((1, 3)), np.array([[np.inf, 0.0]])):
        with pytest.raises(DataError, match="right-hand side"):
            solve(np.ones((2, 2)), 1.0, rhs)


def test_the_fisher_matrix_multiplies_as_its_dense_form() -> None:
    gradients, _, rhs = draw(5, 6, 4)
    fisher = EmpiricalFisher(gradients)
    assert fisher.size == len(fisher.like) == 4
    np.testing.assert_allclose(fisher.matvec(rhs), rhs @ fisher.dense(), rtol=1e-12)
