"""Whether the loss is what influence functions take it for: a scalar, the mean over points."""

from __future__ import annotations

from typing import Any

import torch

from dvl_influence.data import Batch
from dvl_influence.errors import ModelError
from dvl_influence.objective import Objective, explained
from dvl_influence.trees import rows

__all__ = ["check_loss"]

CHECKED_POINTS = 8


def check_loss(objective: Objective, batch: Batch) -> None:
    """Compare the loss of a few points together with the mean of their losses.

    Raises
    ------
    ModelError
        If the loss is no scalar, not finite, or no mean over the points.
    """
    x, y = (rows(tree, slice(0, CHECKED_POINTS)) for tree in batch)
    vector = objective.vector
    n = min(CHECKED_POINTS, batch.n_points)
    with torch.no_grad(), explained("the loss of a few training points"):
        together = _scalar(objective.mean_loss(vector, x, y))
        single = [
            _scalar(objective.mean_loss(vector, rows(x, slice(i, i + 1)), rows(y, slice(i, i + 1))))
            for i in range(n)
        ]
    mean = sum(single) / n
    tolerance = 1e-3 * (max(map(abs, single)) + abs(mean)) + 1e-12
    if abs(together - mean) <= tolerance:
        return
    if abs(together - sum(single)) <= n * tolerance:
        raise ModelError(
            f"the loss is the sum over the points, not their mean: {n} points together have "
            f"{together:.6g}, {n} times their mean; use reduction='mean'"
        )
    raise ModelError(
        f"the loss of {n} points is {together:.6g}, but the mean of their losses is {mean:.6g}: "
        "influence functions need loss(output, target) to be the mean over the points; class "
        "weights, ignored targets, or a model in which points see each other break that"
    )


def _scalar(loss: Any) -> float:
    if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
        what = tuple(loss.shape) if isinstance(loss, torch.Tensor) else type(loss).__name__
        raise ModelError(
            f"loss(output, target) must return one number, the mean over the batch, not {what}: "
            "use reduction='mean'"
        )
    value = float(loss)
    if value != value or value in (float("inf"), float("-inf")):
        raise ModelError(f"the loss of a training point is {value}: its gradients mean nothing")
    return value
