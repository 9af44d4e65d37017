"""The same matrices as curvlinops, another implementation, where that is installed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dvl_ekfac import EkfacApproximator
from dvl_influence import Curvature, DampedOperator, Objective
from dvl_influence.data import Batch

curvlinops = pytest.importorskip("curvlinops")


def numbers(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def seeded(*modules: nn.Module) -> nn.Sequential:
    model = nn.Sequential(*modules).double().eval()
    with torch.no_grad():
        for k, parameter in enumerate(model.parameters()):
            parameter.copy_(numbers(*parameter.shape, seed=k))
    return model


CURVLINOPS_NETS = {
    "linear": (lambda: seeded(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)), numbers(10, 3)),
    "conv": (
        lambda: seeded(nn.Conv2d(1, 2, 2, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(24, 3)),
        numbers(10, 1, 3, 2),
    ),
}


@pytest.mark.parametrize("factors", ["kfac", "ekfac"])
@pytest.mark.parametrize("kind", ["ce", "mse"])
@pytest.mark.parametrize("name", CURVLINOPS_NETS)
def test_curvlinops_has_the_same(name, kind, factors):
    """Another implementation, with weight and bias of a layer taken together."""
    make, x = CURVLINOPS_NETS[name]
    model = make()
    y = torch.arange(10) % 3 if kind == "ce" else numbers(10, 3)
    loss = nn.CrossEntropyLoss() if kind == "ce" else nn.MSELoss()
    curvature = DampedOperator(Curvature(Objective(model, loss), [Batch(x, y)], "ggn"), 0.1)
    ekfac = EkfacApproximator(factors=factors)
    found = ekfac.dense(ekfac.init(curvature))
    kinds = {"kfac": curvlinops.KFACLinearOperator, "ekfac": curvlinops.EKFACLinearOperator}
    theirs = kinds[factors](
        model,
        loss,
        list(model.parameters()),
        [(x[:6], y[:6]), (x[6:], y[6:])],
        fisher_type="type-2",
        separate_weight_and_bias=False,
        check_deterministic=False,
    )
    dense = theirs @ torch.eye(found.shape[0], dtype=torch.float64)
    torch.testing.assert_close(found, dense, rtol=1e-7, atol=1e-9)
