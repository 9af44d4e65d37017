"""Gradients by layer: composed of inputs and output gradients, they are the true ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from dvl_core.errors import DataError
from dvl_influence.data import Batch
from dvl_influence.errors import ModelError
from dvl_influence.gradients import per_point_gradients
from dvl_influence.layer_factors import DenseFactors, gram
from dvl_influence.layers import Tape, find_layers, layer_factors
from dvl_influence.objective import Objective
from dvl_influence.testing import half_squares


def seeded(*modules: nn.Module) -> nn.Module:
    """Return modules in a row, with random parameters in double precision."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(*modules).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def squares(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return a loss of outputs of any shape."""
    return half_squares(output.flatten(1), target[:, None])


def images() -> torch.Tensor:
    return numbers(5, 2, 7, 6)


class Twice(nn.Module):
    """One layer, called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.own = nn.Linear(3, 3)
        self.norm = nn.LayerNorm(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.own(self.norm(torch.tanh(self.own(x)))))


class Tied(nn.Module):
    """Two layers that share weight and bias."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight, self.second.bias = self.first.weight, self.first.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.tanh(self.first(x)))


IMAGES, FLAT, SERIES = images(), numbers(5, 3), numbers(5, 4, 3)
TOKENS = torch.randint(0, 6, (5, 4), generator=torch.Generator().manual_seed(2))
MODELS = {
    "linear": (seeded(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2)), FLAT),
    "no bias": (seeded(nn.Linear(3, 4, bias=False), nn.Tanh(), nn.Linear(4, 1, bias=False)), FLAT),
    "3-D input": (seeded(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), SERIES),
    "layer norm": (seeded(nn.LayerNorm(3), nn.Linear(3, 2), nn.LayerNorm(2, bias=False)), SERIES),
    "layer norm over two axes": (seeded(nn.LayerNorm((4, 3)), nn.Linear(3, 2)), SERIES),
    "batch norm": (seeded(nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3), nn.Flatten()), IMAGES),
    "conv": (seeded(nn.Conv2d(2, 3, (3, 2), stride=2, padding=1, dilation=(1, 2))), IMAGES),
    "conv same": (seeded(nn.Conv2d(2, 2, 3, padding="same", bias=False)), IMAGES),
    "conv reflect": (seeded(nn.Conv2d(2, 2, 3, padding=2, padding_mode="reflect")), IMAGES),
    "conv circular": (seeded(nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular")), IMAGES),
    "conv 1-D": (seeded(nn.Conv1d(4, 3, 2, padding=1, stride=2), nn.Flatten()), SERIES),
    "embedding": (seeded(nn.Embedding(6, 3), nn.Linear(3, 2)), TOKENS),
    "embedding, padded": (seeded(nn.Embedding(6, 3, padding_idx=int(TOKENS[0, 0]))), TOKENS),
    "called twice": (seeded(Twice()), FLAT),
    "tied": (seeded(Tied()), FLAT),
}


def problem(name: str) -> tuple[Objective, Batch]:
    model, x = MODELS[name]
    return Objective(model, squares), Batch(x, torch.arange(5).double())


@pytest.mark.parametrize("name", MODELS)
def test_0_6_and_0_11_gradients_by_layer_are_the_true_ones(name):
    """Peers 0.6: layers without bias; 0.11: inputs with more than two axes; B7: both."""
    objective, batch = problem(name)
    found = find_layers(objective, batch)
    assert not found.unsupported
    factors = layer_factors(found, batch)
    truth = per_point_gradients(objective, batch)
    composed = torch.zeros_like(truth)
    for layer in found.layers:
        gradients = factors[layer.name].gradients()
        assert gradients.shape == (5, *layer.shape)
        composed[:, found.positions(layer)] = layer.to_vectors(gradients)
        again = layer.to_matrices(layer.to_vectors(gradients))
        assert torch.equal(again, gradients)
    torch.testing.assert_close(composed, truth, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(gram(factors, factors), truth @ truth.T, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("positions", "d"), [(1, 4), (2, 4), (6, 3), (3, 1)])
def test_inner_products_with_and_without_gradients(positions, d):
    """On both sides of the rule that decides whether gradients are formed."""
    one = {"": DenseFactors(numbers(4, positions, d), numbers(4, positions, d) + 1)}
    two = {"": DenseFactors(numbers(3, positions, d), numbers(3, positions, d) - 1)}
    exact = one[""].gradients().flatten(1) @ two[""].gradients().flatten(1).T
    torch.testing.assert_close(gram(one, two), exact)
    with pytest.raises(DataError, match="same layers"):
        gram(one, {"other": two[""]})


@pytest.mark.parametrize("frozen", ["weight", "bias"])
@pytest.mark.parametrize("name", ["linear", "conv", "layer norm"])
def test_half_frozen_layers(name, frozen):
    """Only one of weight and bias is free."""
    model, batch = MODELS[name][0], problem(name)[1]
    names = [n for n, _ in model.named_parameters() if n.endswith(frozen)]
    objective = Objective(model, squares).restricted(names)
    found = find_layers(objective, batch)
    truth = per_point_gradients(objective, batch)
    factors = layer_factors(found, batch)
    for layer in found.layers:
        own = layer.to_vectors(factors[layer.name].gradients())
        torch.testing.assert_close(own, truth[:, found.positions(layer)])
    assert sum(layer.size for layer in found.layers) == objective.size


def test_what_cannot_be_taken_is_named():
    """Unknown modules, groups, tables that change, tied weights in different roles."""

    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(4, 2)
            self.head = nn.Linear(2, 4, bias=False)
            self.head.weight = self.table.weight
            self.groups = nn.Conv1d(4, 2, 1, groups=2)
            self.slope = nn.PReLU()
            self.unused = nn.Linear(2, 2)
            self.limited = nn.Embedding(4, 2, scale_grad_by_freq=True)
            self.free = nn.Parameter(torch.ones(1))
            self.last = nn.Linear(1, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            tokens = self.head(self.table(x) + self.limited(x))
            return self.last(self.slope(self.groups(tokens.mT)).mean((1, 2))[:, None] * self.free)

    objective = Objective(Shared().double(), squares)
    batch = Batch(torch.tensor([[0, 1, 1], [2, 3, 0]]), torch.ones(2).double())
    found = find_layers(objective, batch)
    assert [layer.name for layer in found.layers] == ["last"]
    reasons = found.unsupported
    assert "different roles" in reasons["table.weight"]
    assert "2 groups" in reasons["groups.weight"]
    assert "PReLU" in reasons["slope.weight"]
    assert "not called" in reasons["unused.bias"]
    assert "scale_grad_by_freq" in reasons["limited.weight"]
    assert "Shared" in reasons["free"]


def test_a_shared_bias_leaves_the_weights_their_layers():
    """Only the parameter that plays two roles is named; the rest is still exact."""
    model = seeded(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))
    model[2].bias = model[0].bias
    objective, batch = Objective(model, squares), Batch(FLAT, torch.ones(5).double())
    found = find_layers(objective, batch)
    assert list(found.unsupported) == ["0.bias"]
    truth = per_point_gradients(objective, batch)
    factors = layer_factors(found, batch)
    assert [layer.names for layer in found.layers] == [("0.weight",), ("2.weight",)]
    for layer in found.layers:
        own = layer.to_vectors(factors[layer.name].gradients())
        torch.testing.assert_close(own, truth[:, found.positions(layer)])


def test_attention_that_is_not_called_as_a_module_is_named():
    model = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).double().eval()
    batch = Batch(numbers(5, 3, 4), torch.ones(5).double())
    found = find_layers(Objective(model, squares), batch)
    assert [layer.name for layer in found.layers] == ["linear1", "linear2", "norm1", "norm2"]
    assert "MultiheadAttention" in found.unsupported["self_attn.in_proj_weight"]
    assert "not called" in found.unsupported["self_attn.out_proj.weight"]


def test_weights_used_outside_their_layer_are_refused():
    class Leaky(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.own = nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return functional.linear(torch.tanh(self.own(x)), self.own.weight)

    with pytest.raises(ModelError, match=r"own'.*outside the layer"):
        find_layers(Objective(seeded(Leaky()), squares), Batch(FLAT, torch.ones(5).double()))


@pytest.mark.parametrize("steps", [3, 4, 5])
def test_points_along_another_axis_are_refused(steps):
    """Time before points, also when there are as many of both."""

    class TimeFirst(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.own = nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.own(x.transpose(0, 1)).transpose(0, 1)

    batch = Batch(numbers(5, steps, 3), torch.ones(5).double())
    with pytest.raises(ModelError, match="first axis"):
        find_layers(Objective(seeded(TimeFirst()), squares), batch)


def test_inputs_changed_in_place_are_refused():
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.own = nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x + 1
            y = self.own(x)
            x += 1
            return y * x

    with pytest.raises(ModelError, match="in place"):
        find_layers(Objective(seeded(InPlace()), squares), Batch(FLAT, torch.ones(5).double()))


def test_b7_the_model_is_left_as_it_is():
    """Neither hooks nor gradients remain, also when the pass fails."""
    model, x = MODELS["linear"]
    objective, batch = problem("linear")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = find_layers(objective, batch)
    layer_factors(found, batch)
    with pytest.raises(ModelError, match="pass of the model"):
        Tape(found, x[:, :1], 5)
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_parameters_are_those_of_the_objective():
    """The model may go on training after the objective was made; its buffers too."""
    model = seeded(nn.Linear(3, 3), nn.BatchNorm1d(3))
    objective, batch = Objective(model, squares), Batch(FLAT, torch.ones(5).double())
    truth = per_point_gradients(objective, batch)
    with torch.no_grad():
        model[0].weight += 1
        model[1].running_mean += 1
    found = find_layers(objective, batch)
    factors = layer_factors(found, batch)
    for layer in found.layers:
        own = layer.to_vectors(factors[layer.name].gradients())
        torch.testing.assert_close(own, truth[:, found.positions(layer)])


def test_pieces_hold_all_points_in_their_order():
    objective, batch = problem("3-D input")
    found = find_layers(objective, batch)
    parts = list(found.pieces(batch, memory_budget=1))
    assert len(parts) == 5
    assert torch.equal(torch.cat([part.x for part in parts]), batch.x)
