"""Where influences are computed does not change a bit of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from dvl_core import JoblibBackend
from dvl_core.errors import DataError
from dvl_influence import InfluenceModel, SequentialInfluenceCalculator
from dvl_influence.leverage import leave_one_out_changes
from dvl_influence.testing import DenseInverse, batches, classes, mlp

LOKY = JoblibBackend(2, "loky")
THREADS = JoblibBackend(2, "threading")


class Attention(nn.Module):
    """Mixes three numbers by self-attention, and puts out three."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.into = nn.Linear(1, 4)
            self.layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
            self.out = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.layer(self.into(x[..., None])).mean(dim=1))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def fitted(model=None) -> InfluenceModel:
    model = InfluenceModel(model or mlp(), cross_entropy, DenseInverse(), regularization=0.5)
    return model.fit(batches(*classes(12), 5))


def lazy_of(model, backend, mode="up"):
    calculator = SequentialInfluenceCalculator(model, backend=backend)
    return calculator.influences(batches(*classes(7, seed=3), 3), batches(*classes(12), 5), mode)


@pytest.mark.parametrize("mode", ["up", "perturbation"])
@pytest.mark.parametrize("backend", [LOKY, THREADS, "joblib"], ids=["loky", "threads", "name"])
def test_bits(backend, mode) -> None:
    model = fitted()
    expected = lazy_of(model, "serial", mode)
    assert torch.equal(lazy_of(model, backend, mode).compute(), expected.compute())


def test_bits_of_top_k() -> None:
    model = fitted()
    for here, there in zip(
        lazy_of(model, "serial").top_k(4), lazy_of(model, LOKY).top_k(4), strict=True
    ):
        assert torch.equal(here, there)


def test_attention_in_threads() -> None:
    """Its switches are those of the process: each thread must find and leave them as they were."""
    model = fitted(Attention().double().eval())
    fast = torch.backends.mha.get_fastpath_enabled()
    expected = lazy_of(model, "serial").compute()
    assert torch.equal(lazy_of(model, THREADS).compute(), expected)
    assert torch.backends.mha.get_fastpath_enabled() == fast
    assert torch.backends.cuda.flash_sdp_enabled()


@pytest.mark.parametrize("what", ["up", "perturbation", "leave-one-out"])
def test_a_model_used_by_many_threads_at_the_same_time(what) -> None:
    """Parameters are put into the modules while they run: threads must not meet there.

    Neither in forward differentiation, the levels of which are those of the process.
    """
    model = fitted()
    x, y = classes(12)

    def scores(_: int = 0) -> torch.Tensor:
        if what == "leave-one-out":
            return leave_one_out_changes(model, x, y, x, y)
        return model.influences(x, y, mode=what)

    expected = scores()
    with ThreadPoolExecutor(4) as pool:
        assert all(torch.equal(found, expected) for found in pool.map(scores, range(12)))


def test_a_loader_that_changes_under_a_backend(monkeypatch) -> None:
    monkeypatch.setattr("dvl_influence.streams.KEPT_BYTES", 0)
    pairs = batches(*classes(12), 2)
    calculator = SequentialInfluenceCalculator(fitted(), backend=LOKY)
    lazy = calculator.influences([classes(7, seed=3)], pairs)
    _ = lazy.shape
    pairs[-1] = classes(2, seed=9)
    with pytest.raises(DataError, match="another one than before"):
        lazy.compute()


def test_threads_of_torch_are_left_as_they_were() -> None:
    torch.set_num_threads(2)
    lazy_of(fitted(), THREADS).compute()
    assert torch.get_num_threads() == 2
