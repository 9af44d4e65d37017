"""Inner products and cosines of gradients, and influences relative to those on themselves."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from dvl_core.errors import DataError, InvalidOptionError, NotFittedError
from dvl_influence import InfluenceModel
from dvl_influence.calculators import SequentialInfluenceCalculator
from dvl_influence.errors import IndefiniteCurvatureError
from dvl_influence.relative import RelativeInfluence, relative_influences
from dvl_influence.similarity import GradientCosineInfluence, GradientDotInfluence
from dvl_influence.testing import DenseInverse, batches, classes, half_squares, mlp, ridge
from dvl_influence.tracin import TracInInfluence
from dvl_influence.trak import TrakInfluence


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-9, atol=1e-11)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), n=st.integers(1, 12), size=st.integers(1, 13))
def test_dot_and_cosine_are_those_of_the_gradients(seed, n, size) -> None:
    model, x, y, _ = problem = ridge(n, 3, 0.1, seed)
    g = problem.gradients
    unit = g / g.norm(dim=1, keepdim=True)
    for make, vectors in ((GradientDotInfluence, g), (GradientCosineInfluence, unit)):
        influence = make(model, half_squares).fit(batches(x, y, size))
        exact = vectors @ vectors.T
        assert close(influence.influences(x, y), exact)
        assert close(influence.self_influences(batches(x, y, 5)), exact.diagonal())
        means = influence.mean_influences(batches(x, y, 2), batches(x, y, 3))
        assert close(means, exact.mean(dim=0))
        factors = influence.influence_factors(x, y)
        assert close(influence.influences_from_factors(factors, x[:1], y[:1]), exact[:, :1])
        assert sum(influence.influences_by_block(x, y).values()).equal(influence.influences(x, y))


def test_the_dot_product_is_the_limit_of_large_regularization() -> None:
    model, x, y, _ = ridge(20, 3)
    dot = GradientDotInfluence(model, half_squares).fit([(x, y)])
    damped = InfluenceModel(model, half_squares, DenseInverse(), regularization=1e9).fit([(x, y)])
    assert torch.allclose(1e9 * damped.influences(x, y), dot.influences(x, y), rtol=1e-7)


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_cosines_of_zero_tiny_and_huge_gradients(scale) -> None:
    x = scale * torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    model = torch.nn.Linear(2, 1, bias=False).double()
    influence = GradientCosineInfluence(model, lambda output, target: output.mean())
    scores = influence.fit([(x, x[:, 0])]).influences(x, x[:, 0])
    half = 0.5**0.5
    expected = torch.tensor([[1, half, 0], [half, 1, 0], [0, 0, 0]], dtype=torch.float64)
    assert close(scores, expected)
    assert close(influence.self_influences([(x, x[:, 0])]), expected.diagonal())


def test_cosines_have_no_perturbation_but_dot_products_do() -> None:
    model, (x, y) = mlp(), classes(4)
    with pytest.raises(InvalidOptionError, match="GradientCosineInfluence"):
        GradientCosineInfluence(model, cross_entropy).fit([(x, y)]).influences(
            x, y, mode="perturbation"
        )
    dot = GradientDotInfluence(model, cross_entropy).fit([(x, y)])
    found = dot.influences(x[:2], y[:2], x, y, mode="perturbation")
    step = torch.zeros_like(x)
    step[:, 2] = 1e-6
    up, down = (dot.influences(x[:2], y[:2], x + s, y) for s in (step, -step))
    assert torch.allclose(found[:, :, 2], (up - down) / 2e-6, atol=1e-6)


def test_what_takes_part_and_what_is_told() -> None:
    model, (x, y) = mlp(), classes(6)
    last = GradientDotInfluence(model, cross_entropy, blocks={"last": ["2.weight", "2.bias"]})
    last.fit([(x, y)])
    assert last.influence_factors(x, y).shape == (6, 15)
    assert last.report == {
        "method": "GradientDotInfluence",
        "n_train": 6,
        "n_parameters": 15,
        "precision": "torch.float64",
    }
    with pytest.raises(NotFittedError, match="fit"):
        GradientCosineInfluence(model, cross_entropy).influences(x, y)
    with pytest.raises(DataError, match="no batch"):
        last.mean_influences([], [(x, y)])


@pytest.mark.parametrize("size", [1, 4, 20])
def test_relative_influences_by_dense_algebra(size) -> None:
    model, x, y, hessian = problem = ridge(20, 3, 0.1)
    influence = InfluenceModel(model, half_squares, DenseInverse(), regularization=0.1)
    relative = RelativeInfluence(influence).fit(batches(x, y, size))
    scores = problem.scores
    exact = scores / scores.diagonal().sqrt()
    assert close(relative.influences(x, y), exact)
    assert close(relative.self_influences(batches(x, y, size)), scores.diagonal().sqrt())
    assert close(relative.mean_influences([(x, y)], batches(x, y, size)), exact.mean(dim=0))
    by_hand = relative_influences(influence.influences(x, y), influence.self_influences([(x, y)]))
    assert close(by_hand, exact)
    # No point has more of it on another than Cauchy and Schwarz allow.
    assert (exact.abs() <= exact.diagonal()[:, None] + 1e-12).all()
    lengths = torch.linalg.solve(hessian, problem.gradients.T).norm(dim=0)
    to_parameters = RelativeInfluence(influence, relative_to="parameters")
    assert close(to_parameters.influences(x, y), scores / lengths)
    assert to_parameters.report == {**influence.report, "relative_to": "parameters"}


def test_without_influence_there_is_no_relative_one() -> None:
    x = torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    model = torch.nn.Linear(2, 1, bias=False).double()
    dot = GradientDotInfluence(model, lambda output, target: output.mean())
    for relative_to in ("loss", "parameters"):
        relative = RelativeInfluence(dot, relative_to=relative_to).fit([(x, x)])
        assert relative.influences(x, x).tolist() == [[1.0, 0.0], [0.0, 0.0]]
    assert relative_influences(np.eye(2), np.array([1.0, 0.0])).tolist() == [[1.0, 0.0], [0.0, 0.0]]


def test_relative_to_negative_influences_is_refused() -> None:
    model, x, y, _ = ridge(5, 2)
    influence = InfluenceModel(model, half_squares, DenseInverse(), regularization=0.0)
    relative = RelativeInfluence(influence).fit([(x, y)])
    influence.solved = lambda vectors: -vectors
    with pytest.raises(IndefiniteCurvatureError, match="5 of 5 training points"):
        relative.influences(x, y)
    with pytest.raises(IndefiniteCurvatureError, match="1 of 2 training points"):
        relative_influences(np.ones((2, 2)), np.array([1.0, -1.0]))
    with pytest.raises(DataError, match="one column"):
        relative_influences(np.ones((2, 3)), np.ones(2))
    with pytest.raises(InvalidOptionError, match="'gradient'"):
        RelativeInfluence(influence, relative_to="gradient")


def test_relative_influences_have_no_perturbation() -> None:
    model, x, y, _ = ridge(5, 2)
    dot = GradientDotInfluence(model, half_squares)
    with pytest.raises(InvalidOptionError, match="RelativeInfluence"):
        RelativeInfluence(dot).fit([(x, y)]).influences(x, y, mode="perturbation")


def methods(model, x, y):
    states = [mlp(seed).state_dict() for seed in (1, 2)]
    dot = GradientDotInfluence(model, cross_entropy)
    yield dot
    yield GradientCosineInfluence(model, cross_entropy)
    yield RelativeInfluence(dot)
    yield TracInInfluence(model, cross_entropy, checkpoints=states, learning_rates=[0.1, 0.2])
    trak = TrakInfluence(model, cross_entropy, checkpoints=states, dim=4)
    yield trak
    yield RelativeInfluence(trak)


def test_calculators_take_all_methods_and_batches_do_not_matter() -> None:
    model, (x, y) = mlp(), classes(11)
    for method in methods(model, x, y):
        method.fit(batches(x, y, 5))
        scores = method.influences(x[:4], y[:4], x, y)
        lazy = SequentialInfluenceCalculator(method).influences(
            batches(x[:4], y[:4], 3), batches(x, y, 4)
        )
        assert close(lazy.compute(), scores), method
        assert json.loads(json.dumps(method.report)) == method.report


def test_methods_travel_to_other_processes_and_leave_the_model_alone() -> None:
    model, (x, y) = mlp().train(), classes(7)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for method in methods(model, x, y):
        scores = method.fit([(x, y)]).influences(x, y)
        again = pickle.loads(pickle.dumps(method))  # noqa: S301
        assert torch.equal(again.influences(x, y), scores), method
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(before[name], now) for name, now in model.state_dict().items())
