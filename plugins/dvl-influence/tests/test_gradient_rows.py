"""Gradients of all points, kept or not, and columns of them."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from dvl_influence import Curvature, Objective
from dvl_influence.data import Batch
from dvl_influence.gradient_rows import PointGradients
from dvl_influence.gradients import per_point_gradients
from dvl_influence.testing import batches, classes, mlp


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-9, atol=1e-11)


class Counted(torch.nn.Module):
    """Counts how often the net is called."""

    def __init__(self) -> None:
        super().__init__()
        self.net = mlp()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return self.net(x)


def problem(budget):
    x, y = classes(11)
    objective = Objective(Counted(), cross_entropy)
    points = [Batch(*pair) for pair in batches(x, y, 4)]
    exact = per_point_gradients(objective, Batch(x, y))
    # Calls go to a twin of the model.
    twin = objective.model
    twin.calls = 0
    return twin, PointGradients(objective, points, memory_budget=budget), exact


@pytest.mark.parametrize(("budget", "kept"), [(2**26, True), (11 * 31 * 8, True), (100, False)])
def test_all_rows_in_order_computed_once_if_they_fit(budget, kept) -> None:
    model, gradients, exact = problem(budget)
    assert gradients.fits == kept
    for _ in range(3):
        assert close(torch.cat(list(gradients)), exact)
    once = model.calls
    assert close(torch.cat(list(gradients)), exact)
    assert (model.calls == once) == kept


def test_a_pass_that_is_cut_off_keeps_nothing() -> None:
    _, gradients, exact = problem(2**26)
    next(iter(gradients))
    assert close(torch.cat(list(gradients)), exact)


@pytest.mark.parametrize("budget", [2**26, 100])
def test_columns_are_those_of_the_whole(budget) -> None:
    model, gradients, exact = problem(budget)
    names = gradients.objective.names[2:]
    where = gradients.objective.positions(names)
    part = gradients.restricted(names)
    inner = part.restricted(names[:1])
    assert part.whole is inner.whole is gradients
    assert close(torch.cat(list(part)), exact[:, where])
    assert close(torch.cat(list(inner)), exact[:, gradients.objective.positions(names[:1])])
    assert close(part.mean_squares, exact[:, where].square().mean(dim=0))
    calls = model.calls
    assert close(inner.mean_squares, part.mean_squares[: len(inner.mean_squares)])
    assert model.calls == calls


@pytest.mark.parametrize("budget", [2**26, 100])
def test_the_empirical_fisher_matrix_is_made_of_them(budget) -> None:
    model, gradients, exact = problem(budget)
    fisher = Curvature(
        gradients.objective, gradients.points, "empirical-fisher", memory_budget=budget
    )
    assert close(fisher.dense(), exact.T @ exact / 11)
    calls = model.calls
    block = fisher.restricted(gradients.objective.names[:2])
    assert close(block.dense(), exact[:, :16].T @ exact[:, :16] / 11)
    assert (model.calls == calls) == (budget > 100)
