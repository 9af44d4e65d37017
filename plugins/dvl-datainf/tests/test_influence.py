"""The scores of models against dense algebra."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from dvl_core.errors import InvalidOptionError
from dvl_datainf import DataInfApproximator, DataInfInfluence
from dvl_datainf.layer_products import LayerProducts, layer_products
from dvl_influence import InfluenceModel
from dvl_influence.testing import batches, classes, half_squares, mlp, ridge


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-9, atol=1e-11)


def gradients_of(influence, x, y):
    objective = influence.objective
    rows = [
        torch.func.grad(objective.point_loss)(objective.vector, *z) for z in zip(x, y, strict=True)
    ]
    return torch.stack(rows)


def exact(gradients, damping):
    """Scores of points with these gradients on each other, by inverses of dense matrices."""
    identity = damping * torch.eye(gradients.shape[1], dtype=gradients.dtype)
    inverse = torch.stack([torch.linalg.inv(torch.outer(g, g) + identity) for g in gradients])
    return gradients @ inverse.mean(dim=0) @ gradients.T


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), n=st.integers(1, 15), size=st.integers(1, 16))
def test_b2_scores_of_ridge_whatever_the_batches(seed, n, size) -> None:
    # One batch, one point a batch, a smaller last batch: every point has the weight 1 / n.
    model, x, y, _ = problem = ridge(n, 3, 0.1, seed)
    influence = DataInfInfluence(model, half_squares, regularization=0.3).fit(batches(x, y, size))
    scores = exact(problem.gradients, 0.3)
    assert close(influence.influences(x, y), scores)
    assert close(influence.self_influences(batches(x, y, 4)), scores.diagonal())
    assert close(influence.mean_influences(batches(x, y, 2), [(x, y)]), scores.mean(dim=0))


@pytest.mark.parametrize("memory_budget", [1, 2**14, 2**26])
@pytest.mark.parametrize("blocks", ["layer", "full", "parameter", {"last": ["2.weight"]}])
def test_scores_of_a_net_add_up_over_blocks(blocks, memory_budget) -> None:
    model, (x, y) = mlp(), classes(12)
    influence = DataInfInfluence(
        model, cross_entropy, blocks=blocks, memory_budget=memory_budget
    ).fit(batches(x, y, 5))
    gradients = gradients_of(influence, x, y)
    total = 0
    for name, block in influence.fitted.items():
        own = gradients[:, block.positions]
        damping = 0.1 * own.square().mean().item()
        assert influence.report["blocks"][name]["regularization"] == pytest.approx(damping)
        total = total + exact(own, damping)
    assert close(influence.influences(x, y), total)
    assert not any(s.converged for s in influence.solve(gradients).values())


def nets():
    """Nets of dense layers, convolutions, embeddings and normalisation, with inputs for them."""
    x, y = classes(12)
    yield "dense", mlp(), x, y
    yield "no bias", torch.nn.Linear(3, 3, bias=False).double(), x, y
    image = torch.randn(12, 2, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    convolution = torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.Tanh()
    last = torch.nn.Flatten(), torch.nn.Linear(12, 3)
    yield "images", torch.nn.Sequential(*convolution, *last).double().eval(), image, y
    tokens = torch.randint(0, 5, (12, 4), generator=torch.Generator().manual_seed(0))
    table = torch.nn.Embedding(5, 6), torch.nn.LayerNorm(6), torch.nn.Linear(6, 2)
    heads = torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(8, 3)
    yield "tokens", torch.nn.Sequential(*table, *heads).double(), tokens, y


@pytest.mark.parametrize("blocks", ["layer", "full"])
@pytest.mark.parametrize(("model", "x", "y"), [pytest.param(*n[1:], id=n[0]) for n in nets()])
def test_inner_products_by_layer_give_the_same_scores(model, x, y, blocks, monkeypatch) -> None:
    influence = DataInfInfluence(model, cross_entropy, blocks=blocks).fit(batches(x, y, 5))
    gradients = gradients_of(influence, x, y)
    total = 0
    for block in influence.fitted.values():
        total = total + exact(gradients[:, block.positions], block.damping.value)
    by_vectors = influence.influences_from_factors(influence.influence_factors(x, y), x, y)
    assert close(by_vectors, total)
    products = layer_products(influence.fitted)
    train, test = (influence.batch(x[s], y[s], "points") for s in (slice(12), slice(5)))
    assert close(products.scores(test, train), total[:5])
    assert close(products.self_scores(train), total.diagonal())
    for pays in (True, False):
        monkeypatch.setattr(LayerProducts, "pays", lambda *args, pays=pays: pays)
        assert close(influence.influences(x[:5], y[:5], x, y), total[:5])
        assert close(influence.influences(x, y), total)
        assert close(influence.self_influences(batches(x, y, 7)), total.diagonal())


def test_inner_products_are_used_where_they_take_less_work() -> None:
    x, y = torch.randn(40, 100).double(), torch.randint(0, 10, (40,))
    wide = DataInfInfluence(torch.nn.Linear(100, 10).double(), cross_entropy).fit([(x, y)])
    small = DataInfInfluence(torch.nn.Linear(4, 2).double(), cross_entropy).fit([(x[:, :4], y % 2)])
    assert layer_products(wide.fitted).pays(40, 40)
    assert not layer_products(small.fitted).pays(400, 400)
    tight = DataInfInfluence(wide.model, cross_entropy, memory_budget=1000).fit([(x, y)])
    assert not layer_products(tight.fitted).pays(40, 40)


def test_blocks_that_are_no_layers_take_gradients() -> None:
    model, (x, y) = mlp(), classes(12)
    parts = DataInfInfluence(model, cross_entropy, blocks="parameter").fit([(x, y)])
    assert layer_products(parts.fitted) is None

    class Scaled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = mlp()
            self.scale = torch.nn.Parameter(torch.ones(3).double())

        def forward(self, x):
            return self.inner(x) * self.scale + x @ self.inner[0].weight[:3].T

    for model in (Scaled(), torch.nn.Sequential(mlp(), torch.nn.PReLU().double())):
        influence = DataInfInfluence(model, cross_entropy).fit([(x, y)])
        assert layer_products(influence.fitted) is None
        gradients = gradients_of(influence, x, y)
        blocks = influence.fitted.values()
        total = sum(exact(gradients[:, b.positions], b.damping.value) for b in blocks)
        assert close(influence.influences(x, y), total)
        assert close(influence.self_influences([(x, y)]), total.diagonal())


def test_by_name_in_an_influence_model() -> None:
    model, (x, y) = mlp(), classes(12)
    named = InfluenceModel(model, cross_entropy, "datainf", blocks="layer").fit([(x, y)])
    own = DataInfInfluence(model, cross_entropy).fit([(x, y)])
    assert named.curvature == "empirical-fisher"
    assert close(named.influences(x, y), own.influences(x, y))
    assert named.report == own.report


def test_residuals_are_those_of_the_damped_fisher_matrix() -> None:
    model, (x, y) = mlp(), classes(12)
    influence = DataInfInfluence(model, cross_entropy).fit([(x, y)])
    gradients = gradients_of(influence, x, y)
    for name, solution in influence.solve(gradients).items():
        block = influence.fitted[name]
        own = gradients[:, block.positions]
        left = own - solution.value @ block.operator.dense()
        relative = left.norm(dim=1) / own.norm(dim=1)
        assert close(solution.residual, relative)
        assert relative.min() > 1e-3


def test_another_regularization_without_another_fit(tmp_path) -> None:
    model, (x, y) = mlp(), classes(12)
    once = DataInfInfluence(model, cross_entropy).fit([(x, y)]).with_regularization(0.7)
    fresh = DataInfInfluence(model, cross_entropy, regularization=0.7).fit([(x, y)])
    assert close(once.influences(x, y), fresh.influences(x, y))
    fresh.save(tmp_path)
    again = DataInfInfluence(model, cross_entropy).load(tmp_path, [(x, y)])
    assert torch.equal(again.influences(x, y), fresh.influences(x, y))


def test_perturbation_is_the_gradient_of_the_scores_by_the_inputs() -> None:
    model, (x, y) = mlp(), classes(6)
    influence = DataInfInfluence(model, cross_entropy).fit([(x, y)])
    found = influence.influences(x[:2], y[:2], x, y, mode="perturbation")
    step = torch.zeros_like(x)
    step[:, 1] = 1e-6
    up, down = (influence.influences(x[:2], y[:2], x + s, y) for s in (step, -step))
    assert torch.allclose(found[:, :, 1], (up - down) / 2e-6, atol=1e-5)


def test_other_curvatures_are_refused() -> None:
    for make in (DataInfInfluence, lambda *a, **k: InfluenceModel(*a, DataInfApproximator(), **k)):
        with pytest.raises(InvalidOptionError, match="'hessian'"):
            make(mlp(), cross_entropy, curvature="hessian")
    with pytest.raises(InvalidOptionError, match="positive"):
        DataInfInfluence(mlp(), cross_entropy, regularization=0).fit([classes(5)])
