"""The stacked optimizers against torch's own, step by step."""

from __future__ import annotations

import pytest
import torch

from dvl_core.errors import InvalidOptionError
from dvl_torch import TorchClassifier
from dvl_torch.optimizers import check_training, stacked_optimizer, torch_optimizer

NET = torch.nn.Linear(2, 2)
OPTIONS = [
    {"optimizer": "sgd"},
    {"optimizer": "sgd", "weight_decay": 0.1},
    {"optimizer": "sgd", "momentum": 0.9},
    {"optimizer": "sgd", "momentum": 0.8, "nesterov": True, "weight_decay": 0.01},
    {"optimizer": "adam"},
    {"optimizer": "adam", "weight_decay": 0.1, "betas": (0.5, 0.9), "epsilon": 1e-4},
    {"optimizer": "adamw", "weight_decay": 0.1},
]


def model(**options):
    return TorchClassifier(NET, learning_rate=0.05, **options)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_step_is_that_of_torch(options):
    """Each net pauses in steps of its own, as it does at mini-batches in which it has no row."""
    generator = torch.Generator().manual_seed(0)
    b, p, steps = 4, 5, 12
    start = torch.randn(b, p, generator=generator, dtype=torch.float64)
    moves = torch.rand(steps, b, 1, generator=generator) < 0.6
    moves[0] = torch.tensor([[False], [True], [True], [False]])
    moves[5] = True
    parameters = [torch.nn.Parameter(row.clone()) for row in start]
    optimizers = [torch_optimizer(model(**options), [parameter]) for parameter in parameters]
    stack, values = stacked_optimizer(model(**options)), start
    for moved in moves:
        slopes = torch.randn(b, p, generator=generator, dtype=torch.float64)
        values = stack.step(values, slopes, None if moved.all() else moved)
        for i in range(b):
            if moved[i]:
                parameters[i].grad = slopes[i].clone()
                optimizers[i].step()
        expected = torch.stack([parameter.detach() for parameter in parameters])
        torch.testing.assert_close(values, expected, rtol=1e-13, atol=1e-14)
    assert not torch.equal(values, start)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "lbfgs"}, "optimizer must be one of sgd, adam, adamw, got 'lbfgs'"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate": float("inf")}, "learning_rate"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"epochs": 0}, "epochs"),
        ({"n_batches": 1.5}, "n_batches"),
        ({"optimizer": "adam", "momentum": 0.9}, "options of sgd"),
        ({"optimizer": "sgd", "nesterov": True}, "needs momentum"),
        ({"dtype": "float16"}, "dtype"),
        ({"betas": (0.9, 1.0)}, "betas"),
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(InvalidOptionError, match=message):
        check_training(TorchClassifier(NET, **options))
