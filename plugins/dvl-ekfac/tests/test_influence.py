"""`EkfacInfluence` and the name "ekfac": scores, layers, regularization, files."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from dvl_core.errors import DataError
from dvl_ekfac import EkfacInfluence
from dvl_influence import InfluenceModel
from dvl_influence.gradients import per_point_gradients
from dvl_influence.testing import batches, classes, half_squares, mlp, ridge

DECAY = 0.01


def test_b7_ridge_is_the_closed_form():
    """Peers B7: a layer without bias; linear models with squared errors are exact."""
    problem = ridge(30, 4, DECAY)
    influence = EkfacInfluence(problem.model, half_squares, regularization=DECAY)
    influence.fit(batches(problem.x, problem.y, 7))
    found = influence.influences(problem.x, problem.y)
    torch.testing.assert_close(found, problem.scores, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("n_test", [2, 20, 40])
def test_b6_scores_by_layer_add_up(n_test):
    """Peers B6: fewer, as many and more test points than training points; and per point."""
    model, (x, y) = mlp(), classes(20)
    x_test, y_test = classes(n_test, seed=5)
    influence = EkfacInfluence(model, cross_entropy).fit(batches(x, y, 8))
    whole = influence.influences(x_test, y_test, x, y)
    layers = influence.influences_by_layer(x_test, y_test, x, y)
    assert list(layers) == ["0", "2"]
    assert all(part.shape == (n_test, 20) and part.abs().sum() > 0 for part in layers.values())
    torch.testing.assert_close(sum(layers.values()), whole)
    one = influence.influences_by_layer(x_test[:1], y_test[:1], x[3:4], y[3:4])["2"]
    torch.testing.assert_close(layers["2"][:1, 3:4], one)


def test_scores_are_those_of_the_dense_approximation():
    model, (x, y) = mlp(), classes(20)
    influence = EkfacInfluence(model, cross_entropy).fit(batches(x, y, 8))
    (block,) = influence.fitted.values()
    dense = influence.approximator.dense(block.state)
    gradients = per_point_gradients(influence.objective, influence.batch(x, y, "points"))
    damped = dense + block.damping.value * torch.eye(len(dense)).double()
    exact = gradients @ torch.linalg.solve(damped, gradients.T)
    torch.testing.assert_close(influence.influences(x, y), exact)
    torch.testing.assert_close(influence.self_influences([(x, y)]), exact.diagonal())


def test_0_12_regularization_sweep_fits_once(monkeypatch):
    """Peers 0.12: no state adds up; no pass over the data for another lambda."""
    model, (x, y) = mlp(), classes(20)
    influence = EkfacInfluence(model, cross_entropy, regularization=0.1).fit([(x, y)])
    fresh = EkfacInfluence(model, cross_entropy, regularization=1.0).fit([(x, y)])
    before = influence.influences(x, y)
    monkeypatch.setattr(type(influence.approximator), "init", None)
    swept = influence.with_regularization(1.0)
    assert torch.equal(swept.influences(x, y), fresh.influences(x, y))
    assert torch.equal(influence.influences(x, y), before)


def test_blocks_by_layer_have_their_own_regularization():
    """Layers are blocks in any case; "auto" is then a tenth of each one's mean eigenvalue."""
    model, (x, y) = mlp(), classes(20)
    whole = EkfacInfluence(model, cross_entropy, regularization=0.05).fit([(x, y)])
    split = EkfacInfluence(model, cross_entropy, regularization=0.05, blocks="layer").fit([(x, y)])
    torch.testing.assert_close(split.influences(x, y), whole.influences(x, y))
    auto = EkfacInfluence(model, cross_entropy, blocks="layer").fit([(x, y)])
    one = EkfacInfluence(model, cross_entropy, damping="per-layer").fit([(x, y)])
    torch.testing.assert_close(auto.influences(x, y), one.influences(x, y))
    assert auto.report["blocks"]["0"]["regularization"] != pytest.approx(
        auto.report["blocks"]["2"]["regularization"]
    )


@pytest.mark.parametrize("blocks", ["full", "layer", "parameter"])
def test_saved_and_loaded_without_the_data(tmp_path, blocks):
    (x, y), model = classes(20), nn.Sequential(nn.LayerNorm(3), *mlp())
    model = model.double()
    influence = EkfacInfluence(model, cross_entropy, blocks=blocks).fit([(x, y)])
    influence.save(tmp_path / "state")
    again = EkfacInfluence(model, cross_entropy, blocks=blocks).load(tmp_path / "state")
    assert torch.equal(again.influences(x, y), influence.influences(x, y))
    assert again.report == influence.report
    json.dumps(again.report)
    with torch.no_grad():
        model[1].weight += 1
    with pytest.raises(DataError, match="another"):
        EkfacInfluence(model, cross_entropy, blocks=blocks).load(tmp_path / "state")


def test_single_precision_agrees_with_double():
    model, (x, y) = mlp(), classes(20)
    double = EkfacInfluence(model, cross_entropy).fit([(x, y)]).influences(x, y)
    single = EkfacInfluence(model.float(), cross_entropy).fit([(x.float(), y)])
    found = single.influences(x.float(), y)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), double, rtol=1e-3, atol=1e-3)


def test_b7_the_model_is_left_as_it_is():
    """Peers B7: no gradients, no hooks, the same mode and numbers."""
    model, (x, y) = mlp().train(), classes(20)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    EkfacInfluence(model, cross_entropy).fit([(x, y)]).influences(x, y)
    assert all(p.grad is None for p in model.parameters())
    assert all(not m._forward_hooks for m in model.modules())
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_it_has_a_name_and_preconditions_conjugate_gradients():
    """The solutions of conjugate gradients are the same with it."""
    model, (x, y) = mlp(), classes(20)
    named = InfluenceModel(model, cross_entropy, "ekfac").fit([(x, y)])
    own = EkfacInfluence(model, cross_entropy).fit([(x, y)])
    assert torch.equal(named.influences(x, y), own.influences(x, y))
    options = {"regularization": 0.01, "curvature": "ggn"}
    rhs = torch.randn(1, 31, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plain = {"name": "cg", "dense_up_to": 0}
    helped = {**plain, "preconditioner": "ekfac"}
    first, second = (
        InfluenceModel(model, cross_entropy, cg, **options).fit([(x, y)]).solve(rhs)["full"]
        for cg in (plain, helped)
    )
    torch.testing.assert_close(first.value, second.value, rtol=1e-5, atol=1e-6)
    assert second.converged
