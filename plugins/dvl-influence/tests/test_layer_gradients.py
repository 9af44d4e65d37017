"""Gradients put together from layers, and when that is not possible."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from dvl_core.errors import DataError
from dvl_influence.data import Batch
from dvl_influence.gradient_rows import gradient_pieces
from dvl_influence.gradients import per_point_gradients
from dvl_influence.layer_gradients import layers_of_all
from dvl_influence.objective import Objective
from dvl_influence.testing import classes, mlp


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 4)
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 3, bias=False)

    def forward(self, x):
        return self.head(self.norm(self.table(x))).mean(dim=1)


class Scaled(nn.Module):
    """Has a parameter that belongs to no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3)
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        return self.scale * self.inner(x)


def images() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(18, 3))


def bias_only() -> nn.Module:
    model = mlp()
    next(model.parameters()).requires_grad_(False)
    return model


def problem(make, x):
    torch.manual_seed(0)
    objective = Objective(make().double(), cross_entropy)
    return objective, Batch(x, torch.arange(len(x)) % 3)


@pytest.mark.parametrize(
    ("make", "x", "complete"),
    [
        (mlp, torch.randn(9, 3).double(), True),
        (bias_only, torch.randn(9, 3).double(), True),
        (images, torch.randn(5, 1, 5, 5).double(), True),
        (Tokens, torch.arange(24).view(6, 4) % 7, True),
        (Scaled, torch.randn(4, 3).double(), False),
    ],
)
@pytest.mark.parametrize("budget", [1, 500, 2**26])
def test_gradients_are_those_of_single_points(make, x, complete, budget) -> None:
    objective, batch = problem(make, x)
    exact = per_point_gradients(objective, batch)
    pieces = list(gradient_pieces(objective, batch, memory_budget=budget))
    torch.testing.assert_close(torch.cat(pieces), exact, rtol=1e-10, atol=1e-13)
    assert (layers_of_all(objective, batch) is not None) == complete
    assert (len(pieces) == 1) == (budget == 2**26)


def test_parameters_that_are_used_outside_their_layer_are_differentiated_point_by_point() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(3, 3)

        def forward(self, x):
            return self.inner(x) @ self.inner.weight

    objective, batch = problem(Tied, torch.randn(4, 3).double())
    assert layers_of_all(objective, batch) is None
    found = torch.cat(list(gradient_pieces(objective, batch)))
    assert torch.equal(found, per_point_gradients(objective, batch))


def test_some_of_the_parameters_have_layers_of_their_own() -> None:
    objective, batch = problem(Scaled, torch.randn(4, 3).double())
    whole = torch.cat(list(gradient_pieces(objective, batch)))
    part = objective.restricted(["inner.weight", "inner.bias"])
    assert layers_of_all(part, batch) is not None
    found = torch.cat(list(gradient_pieces(part, batch)))
    torch.testing.assert_close(found, whole[:, objective.positions(part.names)])


def test_the_model_is_left_as_it_is() -> None:
    x, y = classes(5)
    model = mlp()
    before = [p.clone() for p in model.parameters()]
    list(gradient_pieces(Objective(model, cross_entropy), Batch(x, y)))
    assert all(torch.equal(p, q) for p, q in zip(before, model.parameters(), strict=True))
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_a_gradient_that_is_not_finite_is_refused() -> None:
    def root(output, target):
        return (output - target).abs().sqrt().mean()

    model = nn.Linear(1, 1, bias=False).double()
    nn.init.ones_(model.weight)
    x = torch.arange(1.0, 6.0).double()[:, None]
    y = torch.zeros(5, 1).double()
    y[4] = x[4]
    with pytest.raises(DataError, match="the gradient of 1 of 5 points is NaN or infinite"):
        list(gradient_pieces(Objective(model, root), Batch(x, y)))


def test_one_output_and_a_mean_of_squares() -> None:
    x = torch.randn(6, 2).double()
    objective = Objective(nn.Linear(2, 1).double(), mse_loss)
    batch = Batch(x, x[:, :1] ** 2)
    found = torch.cat(list(gradient_pieces(objective, batch)))
    torch.testing.assert_close(found, per_point_gradients(objective, batch))
