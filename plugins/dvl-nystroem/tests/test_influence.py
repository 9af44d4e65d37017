"""Influences of torch models against closed forms and dense algebra."""

from __future__ import annotations

import json

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from dvl_core import create
from dvl_core.errors import DvlWarning
from dvl_influence import InfluenceModel
from dvl_influence.testing import batches, classes, half_squares, mlp, ridge
from dvl_nystroem import NystroemApproximator, NystroemSketchInfluence

DECAY = 0.01


@pytest.mark.parametrize("size", [1, 7, 30, 100])
def test_b4_ridge_is_the_closed_form_in_whatever_batches(size):
    """Peers B2, B4: ragged last batches and single ones; B25: small regularization."""
    problem = ridge(30, 4, DECAY)
    influence = NystroemSketchInfluence(problem.model, half_squares, regularization=DECAY)
    influence.fit(batches(problem.x, problem.y, size))
    found = influence.influences(problem.x, problem.y)
    assert (found - problem.scores).abs().max() <= 1e-6 * problem.scores.abs().max()


@pytest.mark.parametrize("curvature", ["hessian", "ggn"])
def test_logistic_is_the_closed_form(curvature):
    """Of parameters that need not be at the minimum."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 4, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 2, (40, 1), generator=generator).double()
    model = torch.nn.Linear(4, 1, bias=False).double()
    with torch.no_grad():
        model.weight[:] = torch.tensor([0.5, -1.0, 0.2, 0.0])
    influence = NystroemSketchInfluence(
        model, binary_cross_entropy_with_logits, regularization=DECAY, curvature=curvature
    ).fit(batches(x, y, 16))
    p = torch.sigmoid(model(x)).detach()[:, 0]
    gradients = (p - y[:, 0])[:, None] * x
    hessian = (x.T * (p * (1 - p))) @ x / 40 + DECAY * torch.eye(4)
    exact = gradients @ torch.linalg.solve(hessian, gradients.T)
    assert (influence.influences(x, y) - exact).abs().max() <= 1e-6 * exact.abs().max()


def test_sign_and_unit_are_those_of_removal():
    """L_q changes by about s / n where i is left out and all other weights stay 1 / n."""
    n = 2000
    model, x, y, hessian = ridge(n, 3, DECAY)
    influence = NystroemSketchInfluence(model, half_squares, regularization=DECAY).fit([(x, y)])
    scores = influence.influences(x[:5], y[:5], x, y)
    for i in (0, 7, 100):
        left = hessian - torch.outer(x[i], x[i]) / n
        weight = torch.linalg.solve(left, (x.T @ y)[:, 0] / n - x[i] * y[i] / n)
        change = ((x[:5] @ weight - y[:5, 0]) ** 2 - (model(x[:5]) - y[:5])[:, 0] ** 2) / 2
        torch.testing.assert_close(change.detach(), scores[:, i] / n, rtol=2e-2, atol=1e-8)


def test_full_rank_is_dense_algebra_for_a_net():
    model, (x, y) = mlp(), classes(20)
    options = {"regularization": 0.1, "curvature": "ggn"}
    influence = NystroemSketchInfluence(model, cross_entropy, **options).fit(batches(x, y, 6))
    operator = influence.fitted["full"].operator
    factors = influence.influence_factors(x, y)
    gradients = factors @ operator.dense()
    exact = gradients @ torch.linalg.solve(operator.dense(), gradients.T)
    torch.testing.assert_close(influence.influences(x, y), exact, rtol=1e-6, atol=1e-8)
    low = NystroemSketchInfluence(model, cross_entropy, rank=10, **options).fit([(x, y)])
    solution = low.solve(gradients)["full"]
    assert not solution.converged
    torch.testing.assert_close(
        solution.residual,
        (gradients - operator.matvec(solution.value)).norm(dim=1) / gradients.norm(dim=1),
    )
    json.dumps(low.report)


def test_the_gauss_newton_matrix_is_the_default_and_a_hessian_is_warned_of():
    model, (x, y) = mlp(3, hidden=8), classes(30)
    assert NystroemSketchInfluence(model, cross_entropy).curvature == "ggn"
    told = NystroemSketchInfluence(model, cross_entropy).fit([(x, y)]).report["blocks"]["full"]
    assert told["regularization"] > 0
    hessian = NystroemSketchInfluence(
        model, cross_entropy, curvature="hessian", regularization=0.1, rank=100
    )
    with pytest.warns(DvlWarning, match="negative eigenvalues, such as -"):
        hessian.fit([(x, y)])
    assert hessian.report["blocks"]["full"]["smallest_seen_eigenvalue"] < -1e-3


def test_a_sweep_needs_no_new_products(monkeypatch):
    model, (x, y) = mlp(), classes(15)
    influence = NystroemSketchInfluence(model, cross_entropy, regularization=1.0, rank=5).fit(
        [(x, y)]
    )
    operator = type(influence.fitted["full"].operator.undamped)
    monkeypatch.setattr(operator, "matvec", lambda self, vectors: pytest.fail("a product"))
    swept = influence.with_regularization(0.5)
    scores = swept.influences(x, y)
    monkeypatch.undo()
    fresh = NystroemSketchInfluence(model, cross_entropy, regularization=0.5, rank=5).fit([(x, y)])
    torch.testing.assert_close(scores, fresh.influences(x, y))
    assert (scores - influence.influences(x, y)).abs().max() > 1e-3


def test_blocks_single_precision_and_saved_states(tmp_path):
    model, (x, y) = mlp(), classes(15)
    model, x = model.float(), x.float()
    options = {"regularization": {"0": 0.5, "2": 1.0}, "blocks": "layer", "rank": 8}
    influence = NystroemSketchInfluence(model, cross_entropy, **options).fit([(x, y)])
    scores = influence.influences(x, y)
    assert scores.dtype == torch.float32
    double = NystroemSketchInfluence(model, cross_entropy, dtype=torch.float64, **options).fit(
        [(x, y)]
    )
    torch.testing.assert_close(scores.double(), double.influences(x, y), rtol=1e-3, atol=1e-4)
    influence.save(tmp_path / "saved")
    loaded = NystroemSketchInfluence(model, cross_entropy, **options).load(tmp_path / "saved")
    torch.testing.assert_close(loaded.influences(x, y), scores)
    assert loaded.report == influence.report


def test_by_name():
    problem = ridge()
    assert isinstance(create("inverse-hessian", "nystroem"), NystroemApproximator)
    options = {"name": "nystroem", "rank": 3}
    influence = InfluenceModel(problem.model, half_squares, options, regularization=0.1)
    influence.fit([(problem.x, problem.y)])
    torch.testing.assert_close(influence.influences(problem.x, problem.y), problem.scores)
