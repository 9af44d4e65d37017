"""Optimizers: torch's own for one net, and the same formulae for a stack of nets."""

from __future__ import annotations

from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Protocol

from dvl_core.errors import InvalidOptionError
from dvl_core.tensors import torch_module

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dvl_torch.base import TorchEstimator

__all__ = ["StackedOptimizer", "check_training", "stacked_optimizer", "torch_optimizer"]

OPTIMIZERS = ("sgd", "adam", "adamw")


def check_training(model: TorchEstimator) -> None:
    """Raise `InvalidOptionError` if an option of the training is not what it must be."""
    if model.optimizer not in OPTIMIZERS:
        raise InvalidOptionError(
            f"optimizer must be one of {', '.join(OPTIMIZERS)}, got {model.optimizer!r}"
        )
    for name, least in (("epochs", 1), ("n_batches", 1)):
        value = getattr(model, name)
        if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
            raise InvalidOptionError(f"{name} must be a whole number above zero, got {value!r}")
    for name, zero in (
        ("learning_rate", False),
        ("momentum", True),
        ("weight_decay", True),
        ("epsilon", False),
    ):
        value = getattr(model, name)
        fine = isinstance(value, Real) and 0 <= float(value) < float("inf")
        if not fine or (value == 0 and not zero):
            raise InvalidOptionError(f"{name} must be a positive number, got {value!r}")
    if len(model.betas) != 2 or not all(0 <= beta < 1 for beta in model.betas):
        raise InvalidOptionError(f"betas must be two numbers from 0 to below 1, got {model.betas}")
    if model.optimizer != "sgd" and (model.momentum or model.nesterov):
        raise InvalidOptionError(
            f"momentum and nesterov are options of sgd, not of {model.optimizer}: set betas"
        )
    if model.nesterov and not model.momentum:
        raise InvalidOptionError("nesterov=True needs momentum above zero")
    if model.dtype not in ("float64", "float32"):
        raise InvalidOptionError(f"dtype must be 'float64' or 'float32', got {model.dtype!r}")


def torch_optimizer(model: TorchEstimator, parameters: Iterable[Any]) -> Any:
    """Return the ``torch.optim`` optimizer of one net."""
    optim = torch_module().optim
    common = {"lr": model.learning_rate, "weight_decay": model.weight_decay}
    if model.optimizer == "sgd":
        return optim.SGD(parameters, momentum=model.momentum, nesterov=model.nesterov, **common)
    kind = optim.Adam if model.optimizer == "adam" else optim.AdamW
    return kind(parameters, betas=tuple(model.betas), eps=model.epsilon, **common)


class StackedOptimizer(Protocol):
    """Moves the parameters of many nets, each of which has a state of its own."""

    def step(self, values: Any, slopes: Any, moved: Any | None) -> Any:
        """Return the parameters after a step.

        Parameters
        ----------
        values, slopes : tensor [b, p]
            Parameters and their gradients.
        moved : bool tensor [b, 1] or None
            Nets that take the step; the others, their states included, stay. None: all.
        """


def stacked_optimizer(model: TorchEstimator) -> StackedOptimizer:
    """Return a new optimizer of a stack of nets, with the update of `torch_optimizer`."""
    return _StackedSGD(model) if model.optimizer == "sgd" else _StackedAdam(model)


class _StackedSGD:
    def __init__(self, model: TorchEstimator) -> None:
        self._model = model
        self._velocity: Any = None

    def step(self, values: Any, slopes: Any, moved: Any | None) -> Any:
        model = self._model
        if model.weight_decay:
            slopes = slopes.add(values, alpha=model.weight_decay)
        if model.momentum:
            before = self._velocity
            velocity = slopes if before is None else slopes.add(before, alpha=model.momentum)
            if moved is not None:
                velocity = _kept(moved, velocity, before)
            self._velocity = velocity
            slopes = slopes.add(velocity, alpha=model.momentum) if model.nesterov else velocity
        return _kept(moved, values.sub(slopes, alpha=model.learning_rate), values)


class _StackedAdam:
    def __init__(self, model: TorchEstimator) -> None:
        self._model = model
        self._means: Any = None
        self._squares: Any = None
        self._steps: Any = None

    def step(self, values: Any, slopes: Any, moved: Any | None) -> Any:
        torch, model = torch_module(), self._model
        beta1, beta2 = model.betas
        if self._means is None:
            self._means, self._squares = torch.zeros_like(values), torch.zeros_like(values)
            self._steps = torch.zeros_like(values[:, :1])
        start = values
        if model.optimizer == "adamw":
            values = values.mul(1 - model.learning_rate * model.weight_decay)
        elif model.weight_decay:
            slopes = slopes.add(values, alpha=model.weight_decay)
        self._steps = self._steps + (1 if moved is None else moved)
        means = self._means.lerp(slopes, 1 - beta1)
        squares = self._squares.mul(beta2).addcmul_(slopes, slopes, value=1 - beta2)
        rate = model.learning_rate / (1 - beta1**self._steps)
        scale = squares.sqrt().div_((1 - beta2**self._steps).sqrt()).add_(model.epsilon)
        self._means = _kept(moved, means, self._means)
        self._squares = _kept(moved, squares, self._squares)
        return _kept(moved, values - rate * means / scale, start)


def _kept(moved: Any | None, new: Any, old: Any | None) -> Any:
    """Return `new` [b, p] where the net moves, else `old`, of which None stands for zeros."""
    if moved is None:
        return new
    return new.where(moved, new.new_zeros(()) if old is None else old)
