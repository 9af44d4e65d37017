from __future__ import annotations

import numpy as np
import pytest
import torch
from curvlinops import EFLinearOperator, GGNLinearOperator, HessianLinearOperator
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from dvl_core.errors import InvalidOptionError
from dvl_influence.curvature import CURVATURE_KINDS, Curvature
from dvl_influence.data import Batch
from dvl_influence.errors import ModelError
from dvl_influence.objective import Objective
from dvl_influence.testing import batches, classes, mlp


def flat_loss(objective: Objective, x, y):
    return lambda vector: objective.mean_loss(vector, x, y)


def curvature(model, loss, pairs, kind, **options) -> Curvature:
    return Curvature(Objective(model, loss), [Batch(*pair) for pair in pairs], kind, **options)


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-9, atol=1e-11)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), n=st.integers(1, 12), size=st.integers(1, 13))
def test_a_hessian_is_that_of_the_mean_loss_whatever_the_batches(seed, n, size) -> None:
    model, (x, y) = mlp(seed), classes(n, seed=seed)
    operator = curvature(model, cross_entropy, batches(x, y, size), "hessian")
    exact = torch.func.hessian(flat_loss(operator.objective, x, y))(operator.like)
    assert close(operator.dense(), exact)
    vectors = torch.randn(3, operator.size, dtype=torch.float64)
    assert close(operator.matvec(vectors), vectors @ exact)


@pytest.mark.parametrize("size", [1, 7, 20, 50])
def test_b3_b4_0_3_a_gauss_newton_matrix_weighs_points_not_batches(size) -> None:
    model, (x, y) = mlp(), classes(20)
    operator = curvature(model, cross_entropy, batches(x, y, size), "ggn")
    objective = operator.objective
    exact = torch.zeros(operator.size, operator.size, dtype=torch.float64)
    for i in range(20):
        jacobian = torch.func.jacrev(lambda v, i=i: objective.output(v, x[i : i + 1])[0])(
            operator.like
        )
        p = torch.softmax(objective.output(operator.like, x[i : i + 1])[0], 0)
        exact += jacobian.T @ (torch.diag(p) - torch.outer(p, p)) @ jacobian / 20
    assert close(operator.dense(), exact)


class OverTime(nn.Module):
    """Two numbers at each of four times, with the points along the given axis."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 8)
        self.axis = axis

    def forward(self, x):
        return torch.tanh(self.inner(x)).view(len(x), 4, 2).movedim(0, self.axis)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_gauss_newton_product_is_the_same_with_few_vectors_and_with_many(axis) -> None:
    # As many points as times: only a closer look tells which axis is which.
    def over_time(output, target):
        sums = output.movedim(axis, 0).cumsum(dim=1)
        return (sums - target).pow(4).mean()

    torch.manual_seed(0)
    x, y = torch.randn(4, 3).double(), torch.randn(4, 4, 2).double()
    operator = curvature(OverTime(axis).double(), over_time, [(x, y)], "ggn")
    vectors = torch.randn(12, operator.size, dtype=torch.float64)
    one_by_one = torch.cat([operator.matvec(vector[None]) for vector in vectors])
    assert close(operator.matvec(vectors), one_by_one)


@pytest.mark.parametrize("size", [1, 7, 20])
def test_b2_an_empirical_fisher_matrix_is_the_mean_of_outer_products(size) -> None:
    model, (x, y) = mlp(), classes(20)
    operator = curvature(model, cross_entropy, batches(x, y, size), "empirical-fisher")
    single = [
        torch.func.grad(flat_loss(operator.objective, x[i : i + 1], y[i : i + 1]))(operator.like)
        for i in range(20)
    ]
    exact = sum(torch.outer(g, g) for g in single) / 20
    assert close(operator.dense(), exact)


@pytest.mark.parametrize("loss", ["cross-entropy", "mse"])
def test_all_kinds_agree_with_another_library(loss) -> None:
    model, (x, y) = mlp(), classes(20)
    function = nn.CrossEntropyLoss() if loss == "cross-entropy" else nn.MSELoss()
    target = y if loss == "cross-entropy" else torch.randn(20, 3, dtype=torch.float64)
    pairs = batches(x, target, 8)
    parameters = list(model.parameters())
    theirs = {
        "hessian": HessianLinearOperator,
        "ggn": GGNLinearOperator,
        "empirical-fisher": EFLinearOperator,
    }
    for kind in CURVATURE_KINDS:
        if (kind, loss) == ("empirical-fisher", "mse"):
            continue  # Theirs takes the elements of a target for points.
        operator = curvature(model, function, pairs, kind)
        other = theirs[kind](model, function, parameters, pairs, check_deterministic=False)
        identity = torch.eye(operator.size, dtype=torch.float64)
        assert close(operator.dense(), other @ identity), kind


def test_0_4_a_gauss_newton_matrix_is_no_empirical_fisher_matrix() -> None:
    # At a perfect fit the gradients vanish, the curvature does not.
    x = torch.randn(10, 3, dtype=torch.float64)
    model = nn.Linear(3, 1).double()
    y = model(x).detach()
    dense = {kind: curvature(model, mse_loss, [(x, y)], kind).dense() for kind in CURVATURE_KINDS}
    assert dense["empirical-fisher"].abs().max() < 1e-20
    assert close(dense["ggn"], dense["hessian"])
    assert dense["ggn"].diagonal().min() > 0.1


def test_a_linear_model_has_equal_hessian_and_gauss_newton_matrix() -> None:
    x, y = classes(30, d=4, k=3)
    model = nn.Linear(4, 3).double()
    hessian, ggn = (
        curvature(model, cross_entropy, batches(x, y, 11), kind).dense()
        for kind in ("hessian", "ggn")
    )
    assert close(hessian, ggn)


@pytest.mark.parametrize("kind", CURVATURE_KINDS)
def test_small_memory_changes_nothing_but_rounding(kind) -> None:
    model, (x, y) = mlp(), classes(20)
    vectors = torch.randn(5, Objective(model, cross_entropy).size, dtype=torch.float64)
    whole, tiny = (
        curvature(model, cross_entropy, [(x, y)], kind, memory_budget=budget).matvec(vectors)
        for budget in (2**30, 1)
    )
    assert close(whole, tiny)


@pytest.mark.parametrize("kind", CURVATURE_KINDS)
def test_no_vectors_give_no_products(kind) -> None:
    operator = curvature(mlp(), cross_entropy, [classes(5)], kind)
    assert operator.matvec(torch.zeros(0, operator.size, dtype=torch.float64)).shape == (
        0,
        operator.size,
    )


@pytest.mark.parametrize("kind", CURVATURE_KINDS)
def test_blocks_are_diagonal_blocks(kind) -> None:
    operator = curvature(mlp(), cross_entropy, [classes(9)], kind)
    names = ["2.bias", "0.weight"]
    where = operator.objective.positions(names)
    assert close(operator.restricted(names).dense(), operator.dense()[where][:, where])


def test_random_points_estimate_the_curvature() -> None:
    x, y = classes(40)
    operator = curvature(mlp(), cross_entropy, batches(x, y, 10), "ggn")
    rng = np.random.default_rng(0)
    mean = sum(operator.sampled(rng, 5).dense() for _ in range(400)) / 400
    exact = operator.dense()
    assert (mean - exact).norm() < 0.1 * exact.norm()


def test_an_embedding_and_a_convolution_have_a_curvature() -> None:
    torch.manual_seed(0)
    text = nn.Sequential(nn.Embedding(7, 3), nn.Flatten(), nn.Linear(6, 2)).double()
    image = nn.Sequential(
        nn.Conv2d(1, 2, 2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2, 2)
    ).double()
    y = torch.tensor([0, 1, 1])
    inputs = {text: torch.tensor([[1, 2], [3, 3], [0, 6]]), image: torch.randn(3, 1, 4, 4).double()}
    for model, x in inputs.items():
        operator = curvature(model, cross_entropy, batches(x, y, 2), "hessian")
        exact = torch.func.hessian(flat_loss(operator.objective, x, y))(operator.like)
        assert close(operator.dense(), exact)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match="'fisher': it must be one of"):
        curvature(mlp(), cross_entropy, [classes(5)], "fisher")


def test_infinite_second_derivatives_are_named() -> None:
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.zeros_(model.weight)
    operator = curvature(
        model,
        lambda out, y: out.abs().pow(1.5).mean(),
        [(torch.ones(2, 1).double(),) * 2],
        "hessian",
    )
    with pytest.raises(ModelError, match="NaN or infinite"):
        operator.dense()
