"""Leaving out with leverage is leaving out."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.datasets import load_breast_cancer, load_digits
from torch import nn
from torch.nn.functional import cross_entropy

from dvl_influence import InfluenceModel
from dvl_influence.errors import IndefiniteCurvatureError
from dvl_influence.leverage import leave_one_out_changes
from dvl_influence.testing import DenseInverse, half_squares, ridge


def trained(x, y, k: int, decay: float, weights=None) -> nn.Linear:
    """Return softmax regression at its minimum, found by L-BFGS."""
    model = nn.Linear(x.shape[1], k).double()
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    optimizer = torch.optim.LBFGS(
        model.parameters(),
        max_iter=1000,
        history_size=30,
        tolerance_grad=1e-9,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )
    weights = torch.full((len(x),), 1 / len(x), dtype=x.dtype) if weights is None else weights

    def closure():
        optimizer.zero_grad()
        losses = cross_entropy(model(x), y, reduction="none")
        penalty = sum((p**2).sum() for p in model.parameters())
        loss = weights @ losses + decay / 2 * penalty
        loss.backward()
        return loss

    optimizer.step(closure)
    return model


def retrained_changes(x, y, k, decay, model, left_out, x_test, y_test) -> torch.Tensor:
    """Return how much the losses of test points grow without each point [n_test, n_left_out]."""
    before = cross_entropy(model(x_test), y_test, reduction="none")
    changes = []
    for i in left_out:
        weights = torch.full((len(x),), 1 / len(x), dtype=x.dtype)
        weights[i] = 0.0
        other = trained(x, y, k, decay, weights)
        changes.append(cross_entropy(other(x_test), y_test, reduction="none") - before)
    return torch.stack(changes, dim=1).detach()


def slope(true: torch.Tensor, predicted: torch.Tensor) -> float:
    return float((true * predicted).sum() / (predicted**2).sum())


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), n=st.integers(3, 12))
def test_it_is_exact_for_ridge_regression(seed, n) -> None:
    problem = ridge(n, 3, 0.1, seed)
    model, x, y, hessian = problem
    influence = InfluenceModel(model, half_squares, DenseInverse(), regularization=0.1)
    found = leave_one_out_changes(influence.fit([(x, y)]), x, y, x, y)
    # The change of the parameters is exact; the change of the loss is its first order.
    leverage = (x * torch.linalg.solve(hessian, x.T).T).sum(dim=1) / n
    assert torch.allclose(found, problem.scores / n / (1 - leverage), rtol=1e-9, atol=1e-12)
    for i in range(n):
        left = hessian - torch.outer(x[i], x[i]) / n
        weight = torch.linalg.solve(left, (x.T @ y)[:, 0] / n - x[i] * y[i] / n)
        moved = weight - model.weight.detach()[0]
        assert torch.allclose(found[:, i], problem.gradients @ moved, rtol=1e-8, atol=1e-10)


def test_a_point_that_alone_determines_a_parameter_is_named() -> None:
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]]).double()
    y = torch.tensor([[1.0], [1.0], [0.0]]).double()
    model = nn.Linear(2, 1, bias=False).double()
    influence = InfluenceModel(model, half_squares, DenseInverse(), regularization=0.0)
    with pytest.raises(IndefiniteCurvatureError, match="1 training points have a leverage of 1"):
        leave_one_out_changes(influence.fit([(x, y)]), x, y, x, y)


def test_scores_over_n_are_what_removal_changes_where_n_is_large() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2000, 5, generator=generator, dtype=torch.float64)
    y = (x[:, 0] + torch.randn(2000, generator=generator, dtype=torch.float64) > 0).long()
    decay = 1e-3
    model = trained(x, y, 2, decay)
    influence = InfluenceModel(model, cross_entropy, DenseInverse(), regularization=decay)
    influence.fit([(x, y)])
    left_out = range(0, 2000, 50)
    true = retrained_changes(x, y, 2, decay, model, left_out, x[:20], y[:20])
    scores = influence.influences(x[:20], y[:20], x[::50], y[::50]) / 2000
    assert 0.95 < slope(true, scores) < 1.05
    assert spearmanr(true.flatten(), scores.flatten()).statistic > 0.99


@pytest.mark.parametrize("name", ["breast-cancer", "digits"])
def test_on_small_sets_leverage_makes_the_slope_one(name) -> None:
    loader = load_breast_cancer if name == "breast-cancer" else load_digits
    x, y = loader(return_X_y=True)
    x, y = torch.from_numpy((x - x.mean(0)) / (x.std(0) + 1e-9)), torch.from_numpy(y).long()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, test = order[:300], order[300:340]
    x, y, x_test, y_test = x[train], y[train], x[test], y[test]
    k, decay = int(y.max()) + 1, 1e-2
    model = trained(x, y, k, decay)
    influence = InfluenceModel(model, cross_entropy, DenseInverse(), regularization=decay)
    influence.fit([(x, y)])
    left_out = torch.arange(0, 300, 10)
    true = retrained_changes(x, y, k, decay, model, left_out, x_test, y_test)
    found = leave_one_out_changes(influence, x_test, y_test, x[left_out], y[left_out])
    assert 0.95 < slope(true, found) < 1.05
    # Losses summed over test points: what a removal does to the model as a whole.
    assert spearmanr(true.sum(0), found.sum(0)).statistic > 0.99
