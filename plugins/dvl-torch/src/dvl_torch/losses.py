"""Losses of a batch of rows, and the gradients of many of them at once."""

from __future__ import annotations

import copy
from functools import partial
from typing import TYPE_CHECKING, Any

from dvl_core.errors import InvalidOptionError
from dvl_core.tensors import torch_module

if TYPE_CHECKING:
    from collections.abc import Callable

    from dvl_torch.base import TorchEstimator

    Loss = Callable[[Any, Any], Any]

__all__ = ["batch_loss", "stacked_gradient"]


def batch_loss(model: TorchEstimator) -> Loss:
    """Return the loss(output, target) of a batch, a mean over its rows.

    Raises
    ------
    InvalidOptionError
        If the model's loss is neither its name nor callable.
    """
    torch = torch_module()
    if model.loss == model.own_loss:
        functional = torch.nn.functional
        named: dict[str, Loss] = {
            "cross_entropy": functional.cross_entropy,
            "squared_error": functional.mse_loss,
        }
        return named[model.own_loss]
    if not callable(model.loss):
        raise InvalidOptionError(
            f"loss must be {model.own_loss!r} or a function of output and target, got "
            f"{model.loss!r}"
        )
    if isinstance(model.loss, torch.nn.Module):
        loss: Loss = copy.deepcopy(model.loss).to(
            device=model.device or "cpu", dtype=getattr(torch, model.dtype)
        )
        return loss
    return model.loss


def stacked_gradient(model: TorchEstimator) -> Callable[[Any, Any, Any], Any]:
    """Return the function that gives the gradients of the losses by the outputs.

    Its arguments are outputs [b, s, k] of a classifier or [b, s] of a regressor, targets [b, s] and
    the weights [b, s] of the rows in the mean of their coalition.
    """
    if model.loss != model.own_loss:
        return partial(_autograd_gradient, batch_loss(model))
    return {"cross_entropy": _cross_entropy, "squared_error": _squared_error}[model.own_loss]


def _cross_entropy(output: Any, target: Any, weights: Any) -> Any:
    slopes = torch_module().softmax(output, dim=-1)
    slopes.scatter_add_(
        -1, target[..., None], slopes.new_full((1, 1, 1), -1.0).expand(slopes.shape)
    )
    return slopes.mul_(weights[..., None])


def _squared_error(output: Any, target: Any, weights: Any) -> Any:
    return (output - target).mul_(2 * weights)


def _autograd_gradient(loss: Loss, output: Any, target: Any, weights: Any) -> Any:
    """Return the gradient of the weighted sum of what single rows lose."""
    torch = torch_module()

    def row_loss(one: Any, goal: Any) -> Any:
        return loss(one[None], goal[None])

    with torch.enable_grad():
        leaf = output.detach().requires_grad_()
        losses = torch.func.vmap(torch.func.vmap(row_loss))(leaf, target)
        return torch.autograd.grad((losses * weights).sum(), leaf)[0]
