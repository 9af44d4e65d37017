"""Direct influences of torch models against closed forms, refits and dense algebra."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from dvl_core import create
from dvl_core.errors import DvlWarning, InvalidOptionError
from dvl_direct import DirectApproximator, DirectInfluence
from dvl_influence import InfluenceModel
from dvl_influence.errors import IndefiniteCurvatureError
from dvl_influence.testing import batches, classes, half_squares, mlp, ridge

DECAY = 1e-3


def logistic(n: int, d: int, seed: int = 0):
    """Return inputs [n, d], targets [n, 1] of a logistic model."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    odds = x @ torch.randn(d, 1, generator=generator, dtype=torch.float64)
    uniform = torch.rand(n, 1, generator=generator, dtype=torch.float64)
    return x, (uniform < torch.sigmoid(odds)).double()


def minimised(x: torch.Tensor, y: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the parameters [d] of the weighted logistic loss plus penalty, by Newton's method."""
    theta = torch.zeros(x.shape[1], dtype=torch.float64)
    for _ in range(30):
        p = torch.sigmoid(x @ theta)
        gradient = x.T @ (weights * (p - y[:, 0])) + DECAY * theta
        hessian = (x.T * (weights * p * (1 - p))) @ x + DECAY * torch.eye(len(theta))
        theta = theta - torch.linalg.solve(hessian, gradient)
    return theta


def linear(theta: torch.Tensor) -> torch.nn.Module:
    model = torch.nn.Linear(len(theta), 1, bias=False).double()
    with torch.no_grad():
        model.weight[:] = theta
    return model


@given(seed=st.integers(0, 1000), n=st.integers(2, 20), size=st.integers(1, 21))
@settings(max_examples=15, deadline=None)
def test_b4_ridge_is_the_closed_form_in_whatever_batches(seed, n, size):
    """Peers B4: ragged last batches; B25: small regularization, which hides nothing."""
    problem = ridge(n, 3, DECAY, seed)
    influence = DirectInfluence(problem.model, half_squares, regularization=DECAY)
    influence.fit(batches(problem.x, problem.y, size))
    found = influence.influences(problem.x, problem.y)
    error = (found - problem.scores).abs().max()
    assert error <= 1e-9 * problem.scores.abs().max()


@pytest.mark.parametrize("curvature", ["hessian", "ggn"])
@pytest.mark.parametrize("size", [7, 40, 100])
def test_b3_logistic_is_the_closed_form(curvature, size):
    """Peers 0.3, 0.4, B2, B3: the Gauss-Newton matrix of one batch, and of unequal ones."""
    x, y = logistic(40, 4)
    theta = minimised(x, y, torch.full((40,), 1 / 40))
    influence = DirectInfluence(
        linear(theta),
        binary_cross_entropy_with_logits,
        regularization=DECAY,
        curvature=curvature,
    ).fit(batches(x, y, size))
    p = torch.sigmoid(x @ theta)
    gradients = (p - y[:, 0])[:, None] * x
    hessian = (x.T * (p * (1 - p))) @ x / 40 + DECAY * torch.eye(4)
    exact = gradients @ torch.linalg.solve(hessian, gradients.T)
    found = influence.influences(x, y)
    assert (found - exact).abs().max() <= 1e-9 * exact.abs().max()


def test_sign_and_unit_are_those_of_removal_and_refit():
    """L_q changes by s / n where i is left out: the slope is one, not the correlation alone."""
    n = 2000
    x, y = logistic(n + 20, 5)
    weights = torch.full((n,), 1 / n)
    theta = minimised(x[:n], y[:n], weights)
    loss = binary_cross_entropy_with_logits
    influence = DirectInfluence(linear(theta), loss, regularization=DECAY)
    influence.fit(batches(x[:n], y[:n], 256))
    scores = influence.influences(x[n:], y[n:], x[:n], y[:n])
    before = loss(x[n:] @ theta[:, None], y[n:], reduction="none")
    chosen = np.random.default_rng(0).permutation(n)[:20]
    changes = []
    for i in chosen:
        left = weights.clone()
        left[i] = 0.0
        without = minimised(x[:n], y[:n], left)
        changes.append(loss(x[n:] @ without[:, None], y[n:], reduction="none") - before)
    true = torch.cat(changes, dim=1)
    predicted = scores[:, torch.as_tensor(chosen)] / n
    slope = float((true * predicted).sum() / (predicted**2).sum())
    assert 0.95 < slope < 1.05
    assert torch.corrcoef(torch.stack([true.ravel(), predicted.ravel()]))[0, 1] > 0.999


def test_indefinite_nets_are_refused_or_changed_as_asked():
    model, (x, y) = mlp(3, hidden=8), classes(30)
    refusing = DirectInfluence(model, cross_entropy, regularization=1e-4)
    with pytest.raises(IndefiniteCurvatureError, match=r"negative eigenvalues of 59.*above"):
        refusing.fit([(x, y)])
    clipping = DirectInfluence(model, cross_entropy, regularization=0.01, indefinite="clip")
    with pytest.warns(DvlWarning, match="negative eigenvalues of 59"):
        clipping.fit([(x, y)])
    block = clipping.fitted["full"]
    values, vectors = torch.linalg.eigh(block.operator.undamped.dense())
    inverse = (vectors / (values.clip(min=0) + 0.01)) @ vectors.T
    factors = clipping.influence_factors(x, y)
    gradients = torch.linalg.solve(inverse, factors.T).T
    expected = gradients @ inverse @ gradients.T
    torch.testing.assert_close(clipping.influences(x, y), expected, rtol=1e-6, atol=1e-8)
    told = clipping.report["blocks"]["full"]
    assert told["negative_curvature_eigenvalues"] == int((values < -1e-12).sum())
    json.dumps(clipping.report)


def test_automatic_regularization_is_enough():
    model, (x, y) = mlp(3, hidden=8), classes(30)
    told = DirectInfluence(model, cross_entropy).fit([(x, y)]).report["blocks"]["full"]
    assert told["smallest_curvature_eigenvalue"] < 0 < told["smallest_eigenvalue"]
    assert told["condition"] == told["largest_eigenvalue"] / told["smallest_eigenvalue"]


@pytest.mark.parametrize("indefinite", ["refuse", "absolute"])
@pytest.mark.filterwarnings("ignore::dvl_core.errors.DvlWarning")
def test_a_sweep_forms_one_matrix(indefinite, monkeypatch):
    model, (x, y) = mlp(), classes(15)
    influence = DirectInfluence(model, cross_entropy, regularization=1.0, indefinite=indefinite)
    influence.fit([(x, y)])
    products = []
    matvec = type(influence.fitted["full"].operator.undamped).matvec
    monkeypatch.setattr(
        type(influence.fitted["full"].operator.undamped),
        "matvec",
        lambda self, vectors: products.append(1) or matvec(self, vectors),
    )
    for regularization in (0.5, 2.0):
        swept = influence.with_regularization(regularization)
        assert not products
        fresh = DirectInfluence(
            model, cross_entropy, regularization=regularization, indefinite=indefinite
        ).fit([(x, y)])
        products.clear()
        torch.testing.assert_close(swept.influences(x, y), fresh.influences(x, y))


def test_blocks_single_precision_and_saved_states(tmp_path):
    model, (x, y) = mlp(), classes(15)
    model, x = model.float(), x.float()
    options = {"regularization": {"0": 0.5, "2": 1.0}, "blocks": "layer"}
    influence = DirectInfluence(model, cross_entropy, **options).fit([(x, y)])
    scores = influence.influences(x, y)
    assert scores.dtype == torch.float32
    double = DirectInfluence(model, cross_entropy, dtype=torch.float64, **options).fit([(x, y)])
    torch.testing.assert_close(scores.double(), double.influences(x, y), rtol=1e-4, atol=1e-5)
    influence.save(tmp_path / "saved")
    loaded = DirectInfluence(model, cross_entropy, **options).load(tmp_path / "saved")
    torch.testing.assert_close(loaded.influences(x, y), scores)
    gradients = loaded.influence_factors(x, y)
    assert all((s.residual < 1e-5).all() for s in loaded.solve(gradients).values())


def test_by_name_and_with_too_many_parameters():
    problem = ridge()
    options = {"name": "direct", "max_parameters": 3}
    assert isinstance(create("inverse-hessian", "direct"), DirectApproximator)
    influence = InfluenceModel(problem.model, half_squares, options, regularization=0.1)
    influence.fit([(problem.x, problem.y)])
    torch.testing.assert_close(influence.influences(problem.x, problem.y), problem.scores)
    with pytest.raises(InvalidOptionError, match="3 parameters, above max_parameters=2"):
        DirectInfluence(problem.model, half_squares, max_parameters=2, regularization=0.1).fit(
            [(problem.x, problem.y)]
        )
