"""Sums over checkpoints against explicit ones."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy

from dvl_core.errors import DataError, InvalidOptionError, NotFittedError
from dvl_influence.similarity import GradientDotInfluence
from dvl_influence.testing import batches, classes, half_squares, mlp, ridge
from dvl_influence.tracin import TracInInfluence


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-9, atol=1e-11)


def states(count):
    return [mlp(seed).state_dict() for seed in range(count)]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), count=st.integers(1, 4), size=st.integers(1, 9))
def test_scores_are_the_sum_over_checkpoints(seed, count, size) -> None:
    model, x, y, _ = ridge(8, 3, 0.1, seed)
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    rates = (torch.rand(count, generator=generator) + 0.1).tolist()
    checkpoints = [{"weight": w[None]} for w in weights]
    tracin = TracInInfluence(
        model, half_squares, checkpoints=checkpoints, learning_rates=rates
    ).fit(batches(x, y, size))
    gradients = [(x @ w[:, None] - y) * x for w in weights]
    exact = sum(rate * g @ g.T for rate, g in zip(rates, gradients, strict=True))
    assert close(tracin.influences(x, y), exact)
    assert close(tracin.influences(x[:2], y[:2], x, y), exact[:2])
    assert close(tracin.self_influences(batches(x, y, size)), exact.diagonal())
    assert close(tracin.mean_influences(batches(x, y, 3), [(x, y)]), exact.mean(dim=0))


@pytest.mark.parametrize("memory_budget", [1, 2**13, 2**26])
def test_one_checkpoint_is_the_dot_product(memory_budget) -> None:
    model, (x, y) = mlp(), classes(9)
    tracin = TracInInfluence(
        mlp(5),
        cross_entropy,
        checkpoints=[model.state_dict()],
        learning_rates=0.3,
        memory_budget=memory_budget,
    ).fit(batches(x, y, 4))
    dot = GradientDotInfluence(model, cross_entropy).fit([(x, y)])
    assert close(tracin.influences(x, y), 0.3 * dot.influences(x, y))


def test_perturbation_is_the_gradient_of_the_scores_by_the_inputs() -> None:
    x, y = classes(5)
    tracin = TracInInfluence(
        mlp(), cross_entropy, checkpoints=states(2), learning_rates=[0.1, 0.2]
    ).fit([(x, y)])
    found = tracin.influences(x[:2], y[:2], x, y, mode="perturbation")
    step = torch.zeros_like(x)
    step[:, 1] = 1e-6
    up, down = (tracin.influences(x[:2], y[:2], x + s, y) for s in (step, -step))
    assert torch.allclose(found[:, :, 1], (up - down) / 2e-6, atol=1e-7)


def test_files_are_as_good_as_dictionaries_and_buffers_belong_to_checkpoints(tmp_path) -> None:
    x, y = classes(6)
    nets = [torch.nn.Sequential(torch.nn.BatchNorm1d(3), mlp(seed)).double() for seed in (0, 1)]
    nets[1][0].running_mean += 1.0
    paths = []
    for k, net in enumerate(nets):
        net.eval()
        paths.append(tmp_path / f"{k}.safetensors")
        save_file(net.state_dict(), paths[-1])
    before = {name: tensor.clone() for name, tensor in nets[0].state_dict().items()}
    options = {"learning_rates": [1.0, 2.0]}
    read = TracInInfluence(nets[0], cross_entropy, checkpoints=paths, **options).fit([(x, y)])
    given_ = TracInInfluence(
        nets[0], cross_entropy, checkpoints=[net.state_dict() for net in nets], **options
    ).fit([(x, y)])
    dots = [GradientDotInfluence(net, cross_entropy).fit([(x, y)]).influences(x, y) for net in nets]
    assert torch.equal(read.influences(x, y), given_.influences(x, y))
    assert close(read.influences(x, y), dots[0] + 2 * dots[1])
    assert all(torch.equal(before[name], now) for name, now in nets[0].state_dict().items())
    assert read.report["learning_rates"] == [1.0, 2.0]
    assert read.report["checkpoints"] == given_.report["checkpoints"]
    assert len(set(read.report["checkpoints"])) == 2


def test_checkpoints_are_copied() -> None:
    x, y = classes(6)
    state = mlp().state_dict()
    tracin = TracInInfluence(mlp(1), cross_entropy, checkpoints=[state], learning_rates=1)
    before = tracin.fit([(x, y)]).influences(x, y)
    state["0.weight"].zero_()
    assert torch.equal(before, tracin.influences(x, y))


def without(state, key):
    return {name: tensor for name, tensor in state.items() if name != key}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: without(state, "0.bias"), "lacks '0.bias'"),
        (lambda state: {**state, "3.bias": torch.zeros(1)}, "has '3.bias'"),
        (lambda state: {**state, "0.bias": torch.zeros(9)}, "shape"),
        (lambda state: {**state, "0.bias": torch.full((4,), torch.nan)}, "NaN"),
    ],
)
def test_checkpoints_of_another_model_are_refused(change, message) -> None:
    checkpoints = [mlp().state_dict(), change(mlp().state_dict())]
    with pytest.raises(DataError, match=f"checkpoint 1.*{message}"):
        TracInInfluence(mlp(), cross_entropy, checkpoints=checkpoints, learning_rates=1.0)


def test_files_that_are_none_are_refused(tmp_path) -> None:
    (tmp_path / "bad").write_bytes(b"\x80\x04K.")
    for name, message in (("bad", "no safetensors file"), ("missing", "does not exist")):
        with pytest.raises(DataError, match=message):
            TracInInfluence(mlp(), cross_entropy, checkpoints=[tmp_path / name], learning_rates=1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"checkpoints": [], "learning_rates": 1.0}, "at least one"),
        ({"checkpoints": "a.safetensors", "learning_rates": 1.0}, "list"),
        ({"checkpoints": states(2), "learning_rates": [1.0]}, "1 learning_rates for 2"),
        ({"checkpoints": states(1), "learning_rates": 0.0}, "0.0"),
        ({"checkpoints": states(1), "learning_rates": [float("nan")]}, "nan"),
        ({"checkpoints": states(1), "learning_rates": True}, "True"),
    ],
)
def test_bad_options_are_refused(options, message) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        TracInInfluence(mlp(), cross_entropy, **options)


def test_before_fit_there_is_nothing() -> None:
    tracin = TracInInfluence(mlp(), cross_entropy, checkpoints=states(1), learning_rates=1.0)
    with pytest.raises(NotFittedError, match="fit"):
        tracin.influences(*classes(3))
