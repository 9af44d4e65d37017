"""Nystroem sketches against dense algebra, at full rank, below it, and where they do not exist."""

from __future__ import annotations

import pickle
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
from dvl_influence.errors import IndefiniteCurvatureError, InfluenceError
from dvl_nystroem import NystroemApproximator


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
    """Remembers how many vectors it was multiplied with, each time."""

    def __init__(self, matrix: np.ndarray) -> None:
        super().__init__(matrix)
        self.calls: list[int] = []

    def matvec(self, vectors: np.ndarray) -> np.ndarray:
        self.calls.append(len(vectors))
        return super().matvec(vectors)


def symmetric(eigenvalues: object, seed: int = 0) -> np.ndarray:
    """Return a matrix with these eigenvalues."""
    values = np.asarray(eigenvalues, dtype=float)
    basis, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(values), len(values))))
    matrix = (basis * values) @ basis.T
    return (matrix + matrix.T) / 2


def solved(nystroem: NystroemApproximator, matrix: np.ndarray, damping: float, rhs: object):
    return nystroem.solve(nystroem.init(DampedOperator(MatrixOperator(matrix), damping)), rhs)


def sketched(matrix: np.ndarray, rank: int, seed: int = 0) -> np.ndarray:
    """Return the matrix that stands for `matrix`."""
    nystroem = NystroemApproximator(rank=rank, seed=seed)
    state = nystroem.init(DampedOperator(MatrixOperator(matrix), 1.0))
    return (state.vectors * state.values) @ state.vectors.T


@given(
    size=st.integers(1, 9),
    beyond=st.integers(0, 5),
    count=st.integers(0, 27),
    damping=st.sampled_from([0.0, 1e-4, 0.3]),
    condition=st.floats(1.0, 1e5),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_full_rank_is_exact(size, beyond, count, damping, condition, scale, seed):
    """Peers 0.1, B1: every row is solved, however many there are."""
    matrix = symmetric(scale * np.geomspace(1.0, condition, size), seed)
    rhs = np.random.default_rng(seed).normal(size=(count, size))
    solution = solved(NystroemApproximator(rank=size + beyond, seed=seed), matrix, damping, rhs)
    exact = np.linalg.solve(matrix + damping * np.eye(size), rhs.T).T
    assert np.abs(solution.value - exact).max(initial=0) <= 1e-6 * np.abs(exact).max(initial=0)
    assert solution.converged
    assert solution.residual.shape == (count,)


@given(size=st.integers(2, 12), data=st.data(), seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_rank_of_the_matrix_is_enough(size, data, seed):
    rank = data.draw(st.integers(1, size))
    matrix = symmetric([*np.geomspace(1.0, 100.0, rank), *np.zeros(size - rank)], seed)
    rhs = np.random.default_rng(seed).normal(size=(3, size))
    solution = solved(NystroemApproximator(rank=rank), matrix, 0.1, rhs)
    exact = np.linalg.solve(matrix + 0.1 * np.eye(size), rhs.T).T
    np.testing.assert_allclose(solution.value, exact, atol=1e-6 * np.abs(exact).max())


@pytest.mark.parametrize("eigenvalues", [np.geomspace(1e-3, 10, 20), np.ones(20)])
def test_never_above_the_matrix_and_monotone_in_rank(eigenvalues):
    """With the same seed a sketch holds the smaller ones, in exact arithmetic."""
    matrix = symmetric(eigenvalues)
    before = np.zeros_like(matrix)
    for rank in range(1, 21):
        sketch = sketched(matrix, rank)
        assert np.linalg.eigvalsh(matrix - sketch).min() > -1e-12
        assert np.linalg.eigvalsh(sketch - before).min() > -1e-12
        before = sketch
    np.testing.assert_allclose(before, matrix, atol=1e-12)


@pytest.mark.parametrize("rank", [1, 3, 7])
def test_0_10_the_inverse_is_that_of_the_sketch_plus_lambda(rank):
    """Peers 0.10: a published formula lacks the inverse of the inner matrix."""
    matrix = symmetric(np.geomspace(0.1, 10.0, 8))
    rhs = np.random.default_rng(0).normal(size=(24, 8))
    solution = solved(NystroemApproximator(rank=rank), matrix, 0.2, rhs)
    exact = np.linalg.solve(sketched(matrix, rank) + 0.2 * np.eye(8), rhs.T).T
    np.testing.assert_allclose(solution.value, exact, rtol=1e-9, atol=1e-12)
    assert not solution.converged
    true = rhs - solution.value @ (matrix + 0.2 * np.eye(8))
    relative = np.linalg.norm(true, axis=1) / np.linalg.norm(rhs, axis=1)
    np.testing.assert_allclose(solution.residual, relative)


def test_textbook_formula_with_the_same_vectors():
    """A Q (Q' A Q)^-1 Q' A, with Q from the documented stream of random numbers."""
    matrix = symmetric(np.geomspace(0.1, 10.0, 8))
    basis, _ = np.linalg.qr(np.random.default_rng(3).standard_normal((4, 8)).T)
    core = np.linalg.inv(basis.T @ matrix @ basis)
    textbook = matrix @ basis @ core @ basis.T @ matrix
    np.testing.assert_allclose(sketched(matrix, 4, seed=3), textbook, atol=1e-12)


def test_one_product_with_all_vectors_at_once():
    operator = CountingOperator(symmetric(np.arange(1.0, 31.0)))
    nystroem = NystroemApproximator(rank=5)
    state = nystroem.init(DampedOperator(operator, 0.1))
    nystroem.solve(nystroem.with_damping(state, 1.0), np.ones((9, 30)))
    assert operator.calls == [5]


def test_the_effective_dimension_is_that_of_the_sketch():
    matrix = symmetric([0.0, 1.0, 3.0])
    nystroem = NystroemApproximator(rank=3)
    state = nystroem.init(DampedOperator(MatrixOperator(matrix), 1.0))
    assert state.details["effective_dimension"] == pytest.approx(1 / 2 + 3 / 4)
    assert nystroem.with_damping(state, 3.0).details["effective_dimension"] == pytest.approx(0.75)


def test_zero_and_duplicate_rows():
    rhs = np.random.default_rng(0).normal(size=(12, 4))
    rhs[5], rhs[7] = 0.0, rhs[1]
    solution = solved(NystroemApproximator(rank=2), symmetric([1.0, 2.0, 3.0, 4.0]), 0.1, rhs)
    assert not solution.value[5].any()
    assert solution.residual[5] == 0.0
    np.testing.assert_allclose(solution.value[7], solution.value[1], rtol=1e-12)


@pytest.mark.parametrize("rank", [3, 8])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-3)])
def test_torch_agrees_with_numpy(rank, dtype, tolerance):
    matrix = symmetric(np.geomspace(0.01, 10.0, 8))
    rhs = np.random.default_rng(1).normal(size=(20, 8))
    expected = solved(NystroemApproximator(rank=rank), matrix, 0.05, rhs)
    nystroem = NystroemApproximator(rank=rank)
    operator = DampedOperator(TorchOperator(torch.tensor(matrix, dtype=dtype)), 0.05)
    found = nystroem.solve(nystroem.init(operator), torch.tensor(rhs, dtype=dtype))
    assert found.value.dtype == dtype
    scale = np.abs(expected.value).max()
    np.testing.assert_allclose(found.value.numpy(), expected.value, atol=tolerance * scale)
    np.testing.assert_allclose(found.residual.numpy(), expected.residual, atol=20 * tolerance)


def test_a_singular_curvature_needs_regularization():
    factor = np.random.default_rng(0).normal(size=(3, 8))
    matrix = factor.T @ factor
    with pytest.raises(IndefiniteCurvatureError, match="singular"):
        solved(NystroemApproximator(rank=8), matrix, 0.0, np.ones((1, 8)))
    with pytest.raises(InvalidOptionError, match="rank 3 needs regularization: outside of its 3 o"):
        solved(NystroemApproximator(rank=3), np.eye(8), 0.0, np.ones((1, 8)))
    nystroem = NystroemApproximator(rank=3)
    state = nystroem.init(DampedOperator(MatrixOperator(matrix), 0.1))
    with pytest.raises(InvalidOptionError, match="needs regularization"):
        nystroem.with_damping(state, 0.0)


def test_a_curvature_of_zero_leaves_the_regularization():
    rhs = np.random.default_rng(0).normal(size=(2, 5))
    for rank in (2, 5):
        solution = solved(NystroemApproximator(rank=rank), np.zeros((5, 5)), 0.5, rhs)
        np.testing.assert_allclose(solution.value, 2.0 * rhs, rtol=1e-12)


def test_an_indefinite_curvature_is_named_and_taken_for_flat():
    matrix = symmetric([-2.0, -0.5, 1.0, 3.0, 5.0])
    rhs = np.random.default_rng(0).normal(size=(4, 5))
    with pytest.warns(DvlWarning, match="negative eigenvalues, such as -2.*ggn") as caught:
        solution = solved(NystroemApproximator(rank=5), matrix, 0.3, rhs)
    assert len(caught) == 1
    clipped = symmetric([0.0, 0.0, 1.0, 3.0, 5.0]) + 0.3 * np.eye(5)
    np.testing.assert_allclose(solution.value, np.linalg.solve(clipped, rhs.T).T, rtol=1e-9)
    assert not solution.converged
    assert solution.details["smallest_seen_eigenvalue"] == pytest.approx(-2.0)
    with pytest.warns(DvlWarning, match="negative eigenvalues"):
        rough = solved(NystroemApproximator(rank=3), matrix, 0.3, rhs)
    assert np.isfinite(rough.value).all()


def test_rounding_is_not_taken_for_negative_curvature():
    """DvlWarning is an error here."""
    factor = np.random.default_rng(0).normal(size=(3, 200)).astype(np.float32)
    matrix = torch.from_numpy(factor.T @ factor)
    nystroem = NystroemApproximator(rank=100)
    state = nystroem.init(DampedOperator(TorchOperator(matrix), 0.1))
    assert abs(state.details["smallest_seen_eigenvalue"]) < 1e-3
    assert state.details["smallest_kept_eigenvalue"] < 1e-3


@pytest.mark.parametrize("rank", [2, 5])
def test_b24_another_regularization_is_that_of_a_fresh_fit(rank):
    """Peers B24, 0.12: it takes effect, and does not add up."""
    matrix = symmetric([0.5, 1.0, 2.0, 3.0, 5.0])
    rhs = np.random.default_rng(0).normal(size=(4, 5))
    nystroem = NystroemApproximator(rank=rank)
    first = nystroem.init(DampedOperator(MatrixOperator(matrix), 0.5))
    before = nystroem.solve(first, rhs).value
    for damping in (0.01, 0.1, 3.0):
        again = nystroem.solve(nystroem.with_damping(first, damping), rhs)
        fresh = solved(nystroem, matrix, damping, rhs)
        np.testing.assert_array_equal(again.value, fresh.value)
        np.testing.assert_array_equal(again.residual, fresh.residual)
    np.testing.assert_array_equal(nystroem.solve(first, rhs).value, before)


def test_states_survive_arrays_and_pickles():
    matrix = torch.from_numpy(symmetric([1.0, 2.0, 5.0]))
    rhs = torch.ones(1, 3, dtype=torch.float64)
    nystroem = NystroemApproximator(rank=2)
    operator = DampedOperator(TorchOperator(matrix), 0.5)
    state = nystroem.init(operator)
    back = nystroem.from_arrays(nystroem.to_arrays(state), operator)
    copied = pickle.loads(pickle.dumps(state))  # noqa: S301
    for other in (back, copied):
        torch.testing.assert_close(
            nystroem.solve(other, rhs).value, nystroem.solve(state, rhs).value
        )
        assert other.details == state.details


def test_seeds_decide():
    matrix = symmetric(np.geomspace(0.1, 10.0, 8))
    np.testing.assert_array_equal(sketched(matrix, 3), sketched(matrix, 3))
    assert np.abs(sketched(matrix, 3) - sketched(matrix, 3, seed=1)).max() > 1e-3


def test_numbers_that_are_none_do_not_travel():
    with pytest.raises(InfluenceError, match="NaN or infinity"):
        NystroemApproximator().init(MatrixOperator(np.full((2, 2), np.nan)))
    for rhs, match in ((np.full((1, 2), np.nan), "side 0 holds NaN"), (np.ones(2), "the rows of")):
        with pytest.raises(DataError, match=match):
            solved(NystroemApproximator(), np.eye(2), 0.1, rhs)
    with pytest.raises(InvalidOptionError, match="rank is 0"):
        NystroemApproximator(rank=0)


def test_arrays_of_numpy_need_no_torch():
    code = (
        "import sys, numpy as np\n"
        "from dvl_core.testing.inverse_hessians import MatrixOperator\n"
        "from dvl_nystroem import NystroemApproximator\n"
        "approximator = NystroemApproximator()\n"
        "state = approximator.init(MatrixOperator(np.eye(3)))\n"
        "approximator.solve(state, np.ones((1, 3))).residual\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
