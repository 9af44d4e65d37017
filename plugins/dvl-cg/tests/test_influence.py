"""Influences of ridge and logistic regression against their closed forms: sign, scale and 1/n."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

from dvl_cg import CgInfluence
from dvl_core.errors import DvlWarning
from dvl_influence import InfluenceModel
from dvl_influence.data import Batch
from dvl_influence.errors import IndefiniteCurvatureError
from dvl_influence.gradients import per_point_gradients

LAMBDA = 0.1


def linear(weights, bias=True):
    model = torch.nn.Linear(len(weights) - bias, 1, bias=bias).double()
    with torch.no_grad():
        model.weight[0] = torch.from_numpy(weights[: model.in_features])
        if bias:
            model.bias[0] = float(weights[-1])
    return model


def columns(x, y):
    return torch.from_numpy(x), torch.from_numpy(y)[:, None]


def batches(x, y, size=16):
    x, y = columns(x, y)
    return [(x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)]


class Ridge:
    """``mean (x t - y)^2 + LAMBDA / 2 |t|^2``, solved exactly."""

    def __init__(self, n=90, d=3):
        rng = np.random.default_rng(0)
        self.x = rng.normal(size=(n, d))
        self.y = self.x @ rng.normal(size=d) + 0.5 + rng.normal(size=n)
        self.with_one = np.c_[self.x, np.ones(n)]
        self.weights = self.fitted(np.ones(n))
        self.hessian = 2 * self.with_one.T @ self.with_one / n + LAMBDA * np.eye(d + 1)
        self.gradients = 2 * (self.with_one @ self.weights - self.y)[:, None] * self.with_one

    def fitted(self, weight):
        """Return the solution where point i has `weight` [n] / n in the mean."""
        weighted = self.with_one * weight[:, None] / len(self.y)
        matrix = 2 * weighted.T @ self.with_one + LAMBDA * np.eye(self.with_one.shape[1])
        return np.linalg.solve(matrix, 2 * weighted.T @ self.y)

    def losses(self, weights):
        return (self.with_one @ weights - self.y) ** 2


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"curvature": "ggn"},
        {"preconditioner": "jacobi"},
        {"preconditioner": {"name": "nystroem", "rank": 2}},
        {"block_size": 7},
        {"blocks": {"all": ["weight", "bias"]}},
    ],
)
@pytest.mark.parametrize("size", [1, 16, 90, 1000])
def test_ridge_regression(options, size):
    ridge = Ridge()
    influence = CgInfluence(linear(ridge.weights), mse_loss, regularization=LAMBDA, **options)
    influence.fit(batches(ridge.x, ridge.y, size))
    found = influence.influences(*columns(ridge.x, ridge.y))
    expected = ridge.gradients @ np.linalg.solve(ridge.hessian, ridge.gradients.T)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_0_1_more_test_points_than_parameters():
    """0.1: test points beyond the number of parameters had influences of zero."""
    ridge = Ridge()
    influence = CgInfluence(linear(ridge.weights), mse_loss, regularization=LAMBDA)
    factors = influence.fit(batches(ridge.x, ridge.y)).influence_factors(*columns(ridge.x, ridge.y))
    expected = np.linalg.solve(ridge.hessian, ridge.gradients.T).T
    np.testing.assert_allclose(factors, expected, atol=1e-7)
    assert (abs(factors.numpy()).max(axis=1) > 0).all()


def test_removing_a_point_changes_a_loss_by_the_influence_over_n():
    ridge = Ridge(n=500)
    influence = CgInfluence(linear(ridge.weights), mse_loss, regularization=LAMBDA)
    influence.fit(batches(ridge.x, ridge.y))
    scores = influence.influences(*columns(ridge.x[:20], ridge.y[:20]), *columns(ridge.x, ridge.y))
    change = np.zeros((20, 100))
    before = ridge.losses(ridge.weights)
    for i in range(100):
        weight = np.ones(500)
        weight[i] = 0.0
        change[:, i] = (ridge.losses(ridge.fitted(weight)) - before)[:20]
    predicted = scores.numpy()[:, :100] / 500
    slope = (change * predicted).sum() / (predicted**2).sum()
    assert 0.95 < slope < 1.05
    assert np.corrcoef(change.ravel(), predicted.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("curvature", ["hessian", "ggn"])
def test_logistic_regression(curvature):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(80, 3))
    weights = np.array([1.0, -0.5, 0.2])
    p = 1 / (1 + np.exp(-x @ weights))
    y = (rng.random(80) < p).astype(float)
    hessian = x.T @ ((p * (1 - p))[:, None] * x) / len(x) + 0.01 * np.eye(3)
    gradients = (p - y)[:, None] * x
    influence = CgInfluence(
        linear(weights, bias=False),
        binary_cross_entropy_with_logits,
        regularization=0.01,
        curvature=curvature,
    ).fit(batches(x, y, 33))
    expected = gradients @ np.linalg.solve(hessian, gradients.T)
    np.testing.assert_allclose(influence.influences(*columns(x, y)), expected, atol=1e-6)


def net_and_data(dtype=torch.float64):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))
    x = torch.randn(60, 4, dtype=dtype)
    return net.to(dtype), x, torch.randint(0, 3, (60,))


@pytest.mark.parametrize("blocks", ["full", "layer", "parameter"])
def test_a_net_with_every_kind_of_blocks(blocks):
    net, x, y = net_and_data()
    influence = CgInfluence(
        net, cross_entropy, regularization=0.01, curvature="ggn", blocks=blocks
    ).fit([(x, y)])
    factors = influence.influence_factors(x, y)
    gradients = per_point_gradients(influence.objective, Batch(x, y))
    for block in influence.fitted.values():
        dense = block.operator.dense()
        found = factors[:, block.positions] @ dense
        torch.testing.assert_close(found, gradients[:, block.positions], atol=1e-7, rtol=1e-6)


def test_by_name_and_options():
    ridge = Ridge()
    spec = {"name": "cg", "rtol": 1e-10, "preconditioner": "jacobi"}
    influence = InfluenceModel(linear(ridge.weights), mse_loss, spec, regularization=LAMBDA)
    influence.fit(batches(ridge.x, ridge.y))
    found = influence.self_influences([columns(ridge.x, ridge.y)])
    expected = ridge.gradients @ np.linalg.solve(ridge.hessian, ridge.gradients.T)
    np.testing.assert_allclose(found, np.diag(expected), atol=1e-8)
    assert "JacobiPreconditioner" in influence.report["blocks"]["full"]["preconditioner"]


def test_an_indefinite_hessian_is_refused_and_auto_regularization_is_enough():
    net, x, y = net_and_data()
    with pytest.raises(IndefiniteCurvatureError, match="at least"):
        CgInfluence(net, cross_entropy, regularization=1e-4).fit([(x, y)]).influences(x, y)
    stopped = CgInfluence(net, cross_entropy, regularization=1e-4, indefinite="stop").fit([(x, y)])
    with pytest.warns(DvlWarning, match="not positive definite"):
        assert torch.isfinite(stopped.influences(x, y)).all()
    assert torch.isfinite(CgInfluence(net, cross_entropy).fit([(x, y)]).influences(x, y)).all()


def test_single_precision_is_near_double():
    found = []
    for dtype in (torch.float32, torch.float64):
        net, x, y = net_and_data()
        influence = CgInfluence(net, cross_entropy, regularization=1.0, dtype=dtype)
        found.append(influence.fit([(x, y)]).influences(x, y).double())
    torch.testing.assert_close(*found, atol=2e-3 * float(found[1].abs().max()), rtol=0)


def test_saved_and_loaded(tmp_path):
    ridge = Ridge()
    model, loader = linear(ridge.weights), batches(ridge.x, ridge.y)
    options = {"regularization": LAMBDA, "preconditioner": "nystroem"}
    influence = CgInfluence(model, mse_loss, **options).fit(loader)
    influence.save(tmp_path / "state")
    again = CgInfluence(model, mse_loss, **options).load(tmp_path / "state", loader)
    points = columns(ridge.x, ridge.y)
    torch.testing.assert_close(again.influences(*points), influence.influences(*points))
