"""Lanczos and the inverse built on it against dense algebra."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dvl_arnoldi import ArnoldiApproximator
from dvl_arnoldi.lanczos import ritz_pairs
from dvl_core.errors import DataError, DvlWarning, InvalidOptionError
from dvl_core.testing.inverse_hessians import MatrixOperator
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
    """Counts its products."""

    products = 0

    def matvec(self, vectors: np.ndarray) -> np.ndarray:
        self.products += len(vectors)
        return super().matvec(vectors)


def symmetric(eigenvalues: object, seed: int = 0) -> np.ndarray:
    """Return a matrix with these eigenvalues."""
    values = np.asarray(eigenvalues, dtype=float)
    basis, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(values), len(values))))
    matrix = (basis * values) @ basis.T
    return (matrix + matrix.T) / 2


def solved(arnoldi: ArnoldiApproximator, matrix: np.ndarray, damping: float, rhs: object):
    return arnoldi.solve(arnoldi.init(DampedOperator(MatrixOperator(matrix), damping)), rhs)


@given(
    size=st.integers(1, 9),
    beyond=st.integers(0, 5),
    count=st.integers(0, 27),
    damping=st.sampled_from([0.0, 1e-4, 0.3]),
    condition=st.floats(1.0, 1e5),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
    complement=st.booleans(),
    eigenvalues=st.sampled_from(["positive", "magnitude"]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=80, deadline=None)
def test_full_rank_is_exact(
    size, beyond, count, damping, condition, scale, complement, eigenvalues, seed
):
    """Peers 0.1, B1: every row is solved, however many there are."""
    matrix = symmetric(scale * np.geomspace(1.0, condition, size), seed)
    rhs = np.random.default_rng(seed).normal(size=(count, size))
    arnoldi = ArnoldiApproximator(
        rank=size + beyond, complement=complement, eigenvalues=eigenvalues, seed=seed
    )
    solution = solved(arnoldi, matrix, damping, rhs)
    exact = np.linalg.solve(matrix + damping * np.eye(size), rhs.T).T
    assert np.abs(solution.value - exact).max(initial=0) <= 1e-6 * np.abs(exact).max(initial=0)
    assert solution.converged
    assert solution.residual.shape == (count,)


@given(
    eigenvalues=st.lists(st.sampled_from([-3.0, 0.0, 1.0, 1.0, 4.0]), min_size=1, max_size=9),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_a_full_krylov_space_has_all_eigenpairs(eigenvalues, seed):
    """Repeated eigenvalues exhaust the space early: new random vectors go on."""
    matrix = symmetric(eigenvalues, seed)
    size = len(eigenvalues)
    pairs = ritz_pairs(MatrixOperator(matrix), size, seed)
    np.testing.assert_allclose(pairs.values, np.sort(eigenvalues), atol=1e-9)
    vectors = pairs.vectors(np.arange(size))
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(size), atol=1e-10)
    np.testing.assert_allclose(vectors @ matrix, pairs.values[:, None] * vectors, atol=1e-8)
    np.testing.assert_allclose(pairs.residuals, 0.0, atol=1e-8)


@pytest.mark.parametrize("dimension", [1, 4, 11])
def test_residuals_of_ritz_pairs_are_the_true_ones(dimension):
    matrix = symmetric(np.geomspace(0.1, 10.0, 12))
    pairs = ritz_pairs(MatrixOperator(matrix), dimension, 0)
    vectors = pairs.vectors(np.arange(dimension))
    true = np.linalg.norm(vectors @ matrix - pairs.values[:, None] * vectors, axis=1)
    np.testing.assert_allclose(pairs.residuals, true, atol=1e-12)
    assert pairs.residuals.max() > 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_basis_stays_orthogonal(dtype):
    """A spectrum that makes Lanczos without re-orthogonalisation find ghosts."""
    matrix = torch.tensor(symmetric([*np.geomspace(1e-6, 1.0, 198), 50.0, 100.0]), dtype=dtype)
    pairs = ritz_pairs(TorchOperator(matrix), 120, 0)
    error = (pairs.basis @ pairs.basis.T - torch.eye(120, dtype=dtype)).abs().max()
    assert error < 100 * torch.finfo(dtype).eps
    assert pairs.values[-2:] == pytest.approx([50.0, 100.0], rel=1e-5)
    assert pairs.values[-3] < 1.001


@pytest.mark.parametrize("complement", [True, False])
def test_0_9_leading_pairs_with_and_without_the_complement(complement):
    """Peers 0.9: without it, and it is not the default, the inverse loses nearly everything."""
    eigenvalues = np.array([0.01, 0.02, 0.03, 20.0, 30.0])
    basis, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))
    rhs = np.random.default_rng(1).normal(size=(15, 5))
    arnoldi = ArnoldiApproximator(rank=2, complement=complement)
    solution = solved(arnoldi, (basis * eigenvalues) @ basis.T, 0.1, rhs)
    outside = 1.0 / 0.1 if complement else 0.0
    inverse = np.array([outside, outside, outside, 1.0 / 20.1, 1.0 / 30.1])
    expected = rhs @ (basis * inverse) @ basis.T
    np.testing.assert_allclose(solution.value, expected, rtol=1e-8, atol=1e-10)
    assert not solution.converged
    exact = rhs @ (basis / (eigenvalues + 0.1)) @ basis.T
    error = np.linalg.norm(solution.value - exact) / np.linalg.norm(exact)
    assert error < 0.25 if complement else error > 0.9
    assert ArnoldiApproximator().complement


def test_0_9_negative_eigenvalues_are_dropped_and_counted():
    """Peers 0.9: chosen by magnitude, a negative one takes the place of a positive one."""
    matrix = symmetric([-9.0, -0.01, 1.0, 4.0, 8.0])
    rhs = np.random.default_rng(0).normal(size=(4, 5))
    with pytest.warns(DvlWarning, match="smallest seen -9.*flat.*36 or more") as caught:
        positive = solved(ArnoldiApproximator(rank=2, krylov_dimension=5), matrix, 0.5, rhs)
    assert len(caught) == 1
    kept = symmetric([0.0, 0.0, 0.0, 4.0, 8.0]) + 0.5 * np.eye(5)
    np.testing.assert_allclose(positive.value, np.linalg.solve(kept, rhs.T).T, rtol=1e-8)
    assert positive.details["negative_dropped"] == 2
    assert positive.details["smallest_eigenvalue"] == pytest.approx(-9.0)
    with pytest.warns(DvlWarning, match="kept with their sign"):
        magnitude = solved(
            ArnoldiApproximator(rank=2, krylov_dimension=5, eigenvalues="magnitude"),
            matrix,
            0.5,
            rhs,
        )
    kept = symmetric([-9.0, 0.0, 0.0, 0.0, 8.0]) + 0.5 * np.eye(5)
    np.testing.assert_allclose(magnitude.value, np.linalg.solve(kept, rhs.T).T, rtol=1e-8)
    assert magnitude.details["negative_dropped"] == 1


def test_regularization_that_makes_up_for_negative_eigenvalues_needs_no_warning():
    """DvlWarning is an error here. By magnitude, full rank is exact for such matrices."""
    matrix = symmetric([-0.5, 1.0, 4.0])
    rhs = np.ones((1, 3))
    assert solved(ArnoldiApproximator(), matrix, 0.6, rhs).details["negative_dropped"] == 1
    solution = solved(ArnoldiApproximator(eigenvalues="magnitude"), matrix, 0.6, rhs)
    exact = np.linalg.solve(matrix + 0.6 * np.eye(3), rhs.T).T
    np.testing.assert_allclose(solution.value, exact, rtol=1e-9)
    assert solution.converged


def test_minus_the_regularization_is_no_eigenvalue_to_invert():
    matrix = symmetric([-0.5, 1.0, 4.0])
    with pytest.raises(IndefiniteCurvatureError, match="is minus the regularization"):
        solved(ArnoldiApproximator(eigenvalues="magnitude"), matrix, 0.5, np.ones((1, 3)))


def test_rank_of_the_matrix_is_enough():
    matrix = symmetric([*np.geomspace(1.0, 100.0, 4), *np.zeros(8)])
    rhs = np.random.default_rng(0).normal(size=(30, 12))
    exact = np.linalg.solve(matrix + 0.1 * np.eye(12), rhs.T).T
    for options in ({"rank": 4}, {"rank": 12}):
        solution = solved(ArnoldiApproximator(**options), matrix, 0.1, rhs)
        np.testing.assert_allclose(solution.value, exact, atol=1e-6 * np.abs(exact).max())
        assert solution.converged
        assert solution.details["rank"] == 4


def test_unconverged_pairs_are_told():
    matrix = symmetric(np.linspace(1.0, 2.0, 40))
    arnoldi = ArnoldiApproximator(rank=10, krylov_dimension=10)
    details = solved(arnoldi, matrix, 0.1, np.ones((1, 40))).details
    assert details["krylov_dimension"] == 10
    assert details["pairs_not_converged"] == 10
    assert 1e-3 < details["worst_pair_residual"] < 1.0
    separated = symmetric([*np.linspace(0.0, 0.1, 35), 1.0, 2.0, 4.0, 8.0, 16.0])
    details = solved(ArnoldiApproximator(rank=5), separated, 0.1, np.ones((1, 40))).details
    assert details["pairs_not_converged"] == 0
    assert details["krylov_dimension"] == 30


def test_products_are_as_many_as_dimensions():
    operator = CountingOperator(symmetric(np.arange(1.0, 31.0)))
    arnoldi = ArnoldiApproximator(rank=3)
    state = arnoldi.init(DampedOperator(operator, 0.1))
    arnoldi.solve(arnoldi.with_damping(state, 1.0), np.ones((9, 30)))
    assert operator.products == 26


def test_zero_and_duplicate_rows():
    rhs = np.random.default_rng(0).normal(size=(12, 4))
    rhs[5], rhs[7] = 0.0, rhs[1]
    solution = solved(ArnoldiApproximator(rank=2), symmetric([1.0, 2.0, 3.0, 4.0]), 0.1, rhs)
    assert not solution.value[5].any()
    assert solution.residual[5] == 0.0
    np.testing.assert_allclose(solution.value[7], solution.value[1], rtol=1e-12)


@pytest.mark.parametrize("rank", [2, 8])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-3)])
def test_torch_agrees_with_numpy(rank, dtype, tolerance):
    matrix = symmetric(np.geomspace(0.01, 10.0, 8))
    rhs = np.random.default_rng(1).normal(size=(20, 8))
    expected = solved(ArnoldiApproximator(rank=rank), matrix, 0.05, rhs)
    arnoldi = ArnoldiApproximator(rank=rank)
    operator = DampedOperator(TorchOperator(torch.tensor(matrix, dtype=dtype)), 0.05)
    found = arnoldi.solve(arnoldi.init(operator), torch.tensor(rhs, dtype=dtype))
    assert found.value.dtype == dtype
    scale = np.abs(expected.value).max()
    np.testing.assert_allclose(found.value.numpy(), expected.value, atol=tolerance * scale)
    np.testing.assert_allclose(found.residual.numpy(), expected.residual, atol=20 * tolerance)


def test_the_complement_needs_regularization():
    with pytest.raises(InvalidOptionError, match="3 eigenpairs of 8 need regularization"):
        solved(ArnoldiApproximator(rank=3), symmetric(np.arange(1.0, 9.0)), 0.0, np.ones((1, 8)))
    singular = symmetric([0.0, 1.0, 2.0])
    with pytest.raises(InvalidOptionError, match="2 eigenpairs of 3 need regularization"):
        solved(ArnoldiApproximator(), singular, 0.0, np.ones((1, 3)))
    rhs = np.ones((1, 3)) @ singular
    solution = solved(ArnoldiApproximator(complement=False), singular, 0.0, rhs)
    np.testing.assert_allclose(solution.value @ singular, rhs, rtol=1e-9)


def test_a_curvature_without_positive_eigenvalues():
    rhs = np.random.default_rng(0).normal(size=(2, 5))
    solution = solved(ArnoldiApproximator(rank=2), np.zeros((5, 5)), 0.5, rhs)
    np.testing.assert_allclose(solution.value, 2.0 * rhs, rtol=1e-12)
    for matrix in (np.zeros((5, 5)), -np.eye(5)):
        with pytest.raises(IndefiniteCurvatureError, match="all influences would be zero"):
            solved(ArnoldiApproximator(complement=False), matrix, 0.5, rhs)


@pytest.mark.parametrize("options", [{}, {"rank": 2}, {"rank": 2, "complement": False}])
def test_b24_another_regularization_is_that_of_a_fresh_fit(options):
    """Peers B24, 0.12: it takes effect, and does not add up."""
    matrix = symmetric([0.5, 1.0, 2.0, 3.0, 5.0])
    rhs = np.random.default_rng(0).normal(size=(4, 5))
    arnoldi = ArnoldiApproximator(**options)
    first = arnoldi.init(DampedOperator(MatrixOperator(matrix), 0.5))
    before = arnoldi.solve(first, rhs).value
    for damping in (0.01, 0.1, 3.0):
        again = arnoldi.solve(arnoldi.with_damping(first, damping), rhs)
        fresh = solved(arnoldi, matrix, damping, rhs)
        np.testing.assert_array_equal(again.value, fresh.value)
        np.testing.assert_array_equal(again.residual, fresh.residual)
    np.testing.assert_array_equal(arnoldi.solve(first, rhs).value, before)


def test_states_survive_arrays_and_pickles():
    matrix = torch.from_numpy(symmetric([1.0, 2.0, 5.0]))
    rhs = torch.ones(1, 3, dtype=torch.float64)
    arnoldi = ArnoldiApproximator(rank=2)
    operator = DampedOperator(TorchOperator(matrix), 0.5)
    state = arnoldi.init(operator)
    back = arnoldi.from_arrays(arnoldi.to_arrays(state), operator)
    copied = pickle.loads(pickle.dumps(state))  # noqa: S301
    for other in (back, copied):
        torch.testing.assert_close(arnoldi.solve(other, rhs).value, arnoldi.solve(state, rhs).value)
        assert other.details == state.details
        assert other.exact == state.exact


def test_numbers_that_are_none_do_not_travel():
    with pytest.raises(InfluenceError, match="NaN or infinite"):
        ArnoldiApproximator().init(MatrixOperator(np.full((2, 2), np.nan)))
    for rhs, match in ((np.full((1, 2), np.nan), "side 0 holds NaN"), (np.ones(2), "the rows of")):
        with pytest.raises(DataError, match=match):
            solved(ArnoldiApproximator(), np.eye(2), 0.1, rhs)


@pytest.mark.parametrize(
    "options", [{"rank": 0}, {"krylov_dimension": 49}, {"eigenvalues": "negative"}]
)
def test_options_are_checked(options):
    with pytest.raises(InvalidOptionError, match=next(iter(options))):
        ArnoldiApproximator(**options)


def test_arrays_of_numpy_need_no_torch():
    code = (
        "import sys, numpy as np\n"
        "from dvl_core.testing.inverse_hessians import MatrixOperator\n"
        "from dvl_arnoldi import ArnoldiApproximator\n"
        "approximator = ArnoldiApproximator()\n"
        "state = approximator.init(MatrixOperator(np.eye(3)))\n"
        "approximator.solve(state, np.ones((1, 3))).residual\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
