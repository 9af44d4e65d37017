"""Derivatives of outputs by the parameters, and of losses by the outputs, point by point."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch.func import grad, hessian, jacrev, vmap

from dvl_influence.data import Batch
from dvl_influence.errors import ModelError
from dvl_influence.memory import DEFAULT_BUDGET, share
from dvl_influence.objective import FORWARD, Objective, explained
from dvl_influence.trees import map_tree, rows

__all__ = ["OutputDerivatives", "output_derivatives", "outputs_per_point"]


class OutputDerivatives(NamedTuple):
    """For b points, c outputs each and p parameters.

    The gradient of the loss of point i is ``jacobian[i].T @ slope[i]``, its generalised
    Gauss-Newton matrix ``jacobian[i].T @ inner[i] @ jacobian[i]``.
    """

    jacobian: torch.Tensor
    """Derivatives of the outputs by the parameters [b, c, p]."""
    slope: torch.Tensor
    """First derivatives of the loss by the outputs [b, c]."""
    inner: torch.Tensor
    """Second derivatives of the loss by the outputs [b, c, c]."""


def outputs_per_point(objective: Objective, batch: Batch) -> int | None:
    """Return how many numbers the model returns for a point.

    None if not as one tensor with points along the first axis.
    """
    output = _first_output(objective, batch)
    if not isinstance(output, torch.Tensor) or output.ndim == 0 or len(output) != 1:
        return None
    return output.numel()


def output_derivatives(
    objective: Objective, batch: Batch, *, memory_budget: int = DEFAULT_BUDGET
) -> Iterator[OutputDerivatives]:
    """Yield the derivatives of the points of a batch, in pieces of as many as fit the budget.

    Raises
    ------
    ModelError
        If the output of the model is not one tensor, or cannot be differentiated.
    """
    output = _first_output(objective, batch)
    if not isinstance(output, torch.Tensor):
        raise ModelError(
            f"the model returns a {type(output).__name__}; derivatives of outputs need one tensor: "
            "wrap the model so that it returns the one that the loss takes"
        )
    shape = output.shape

    def flat(vector: torch.Tensor, x: object) -> torch.Tensor:
        return objective.point_output(vector, x).reshape(-1)

    def loss(out: torch.Tensor, y: object) -> torch.Tensor:
        return objective.loss(out.view(shape), map_tree(lambda t: t.unsqueeze(0), y))

    each = 3 * output.element_size() * output.numel() * (objective.size + output.numel())
    step = share(memory_budget, each)
    for start in range(0, batch.n_points, step):
        x, y = (rows(tree, slice(start, start + step)) for tree in batch)
        with explained("the derivatives of the outputs of single points"):
            out = vmap(flat, (None, 0))(objective.vector, x)
            jacobian = vmap(jacrev(flat), (None, 0))(objective.vector, x)
            slope = vmap(grad(loss))(out, y)
            with FORWARD:
                inner = vmap(hessian(loss))(out, y)
        yield OutputDerivatives(jacobian.detach(), slope.detach(), inner.detach())


def _first_output(objective: Objective, batch: Batch) -> object:
    """Return the output of the model for the first point of a batch."""
    with torch.no_grad(), explained("a pass of the model over one training point"):
        return objective.output(objective.vector, rows(batch.x, slice(0, 1)))
