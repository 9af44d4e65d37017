"""Influences of ridge and logistic regression against their closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from dvl_influence import InfluenceModel
from dvl_influence.errors import ConvergenceError
from dvl_lissa import LissaInfluence

LAMBDA = 0.1


def linear(weights, bias=True):
    model = torch.nn.Linear(len(weights) - bias, 1, bias=bias).double()
    with torch.no_grad():
        model.weight[0] = torch.from_numpy(weights[: model.in_features])
        if bias:
            model.bias[0] = float(weights[-1])
    return model


def batches(x, y, size=16):
    x, y = torch.from_numpy(x), torch.from_numpy(y)[:, None]
    return [(x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)]


def ridge(n=90, d=3):
    """Return x, y, the weights and the scores of ``mean (x t - y)^2 + LAMBDA / 2 |t|^2``."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, d))
    y = x @ rng.normal(size=d) + 0.5 + rng.normal(size=n)
    with_one = np.c_[x, np.ones(n)]
    hessian = 2 * with_one.T @ with_one / n + LAMBDA * np.eye(d + 1)
    weights = np.linalg.solve(hessian, 2 * with_one.T @ y / n)
    gradients = 2 * (with_one @ weights - y)[:, None] * with_one
    return x, y, weights, gradients @ np.linalg.solve(hessian, gradients.T)


@pytest.mark.parametrize("options", [{}, {"blocks": {"all": ["bias", "weight"]}}])
def test_ridge_regression(options):
    x, y, weights, scores = ridge()
    influence = LissaInfluence(
        linear(weights), mse_loss, regularization=LAMBDA, rtol=1e-7, **options
    )
    influence.fit(batches(x, y))
    columns = torch.from_numpy(x), torch.from_numpy(y)[:, None]
    found = influence.influences(columns[0][:7], columns[1][:7], *columns)
    np.testing.assert_allclose(found, scores[:7], atol=1e-5)
    (block,) = influence.report["blocks"].values()
    assert block["scale"] == pytest.approx(1.1 * (block["largest_eigenvalue"] + LAMBDA))


@pytest.mark.parametrize("curvature", ["hessian", "ggn"])
def test_logistic_regression(curvature):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(80, 3))
    weights = np.array([1.0, -0.5, 0.2])
    y = (rng.random(80) < 1 / (1 + np.exp(-x @ weights))).astype(float)
    p = 1 / (1 + np.exp(-x @ weights))
    hessian = x.T @ ((p * (1 - p))[:, None] * x) / len(x) + 0.05 * np.eye(3)
    gradients = (p - y)[:, None] * x
    influence = LissaInfluence(
        linear(weights, bias=False),
        binary_cross_entropy_with_logits,
        regularization=0.05,
        curvature=curvature,
        rtol=1e-7,
    ).fit(batches(x, y))
    columns = torch.from_numpy(x), torch.from_numpy(y)[:, None]
    expected = gradients @ np.linalg.solve(hessian, gradients.T)
    np.testing.assert_allclose(influence.influences(*columns), expected, atol=1e-5)


def test_mini_batches_of_the_training_points():
    x, y, weights, scores = ridge(400)
    influence = LissaInfluence(
        linear(weights),
        mse_loss,
        regularization=LAMBDA,
        batch_size=64,
        depth=150,
        repeats=2,
        rtol=0.2,
    ).fit(batches(x, y, 64))
    columns = torch.from_numpy(x), torch.from_numpy(y)[:, None]
    found = influence.influences(columns[0][:10], columns[1][:10], *columns).numpy()
    error = np.linalg.norm(found - scores[:10]) / np.linalg.norm(scores[:10])
    assert error < 0.1


def test_by_name_and_options():
    x, y, weights, scores = ridge()
    spec = {"name": "lissa", "rtol": 1e-7}
    influence = InfluenceModel(linear(weights), mse_loss, spec, regularization=LAMBDA)
    influence.fit(batches(x, y))
    columns = torch.from_numpy(x), torch.from_numpy(y)[:, None]
    np.testing.assert_allclose(influence.self_influences([columns]), np.diag(scores), atol=1e-5)


def test_an_indefinite_hessian_fails_loudly():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
    x, y = torch.randn(40, 2), 3 * torch.randn(40, 1)
    influence = LissaInfluence(net.double(), mse_loss, regularization=1e-4, depth=5000)
    influence.fit([(x.double(), y.double())])
    with pytest.raises(ConvergenceError, match="curvature='ggn'"):
        influence.influences(x.double(), y.double())
