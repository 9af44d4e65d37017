"""How many points and vectors to take at a time, from a budget of memory."""

from __future__ import annotations

from typing import Any

import torch

from dvl_influence.objective import FORWARD, Objective, explained
from dvl_influence.trees import leaves, rows

__all__ = ["DEFAULT_BUDGET", "activations_per_point", "share"]

DEFAULT_BUDGET = 2**26
"""Bytes that intermediate results may take at a time, beside model, data and results."""


def activations_per_point(objective: Objective, x: Any) -> int:
    """Return how many numbers the modules without children put out for one point of `x`."""
    shapes = tuple(tuple(tensor.shape[1:]) for tensor in leaves(x))
    if shapes in objective.activations:
        return objective.activations[shapes]
    counted = 0

    def count(module: torch.nn.Module, inputs: Any, output: Any) -> None:
        nonlocal counted
        if isinstance(output, torch.Tensor):
            counted += output.numel()

    modules = [m for m in objective.model.modules() if not list(m.children())]
    with FORWARD:
        hooks = [module.register_forward_hook(count) for module in modules]
        try:
            with torch.no_grad(), explained("a pass of the model over one training point"):
                objective.output(objective.vector, rows(x, slice(0, 1)))
        finally:
            for hook in hooks:
                hook.remove()
    objective.activations[shapes] = max(counted, 1)
    return objective.activations[shapes]


def share(budget: int, bytes_each: int) -> int:
    """Return how many pieces of `bytes_each` fit into `budget`, at least one."""
    return max(1, budget // max(1, bytes_each))
