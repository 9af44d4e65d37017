"""A model and its loss as functions of one flat vector of parameters."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import RLock
from typing import Any

import torch
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from dvl_core.errors import DvlError, InvalidOptionError
from dvl_influence.errors import ModelError
from dvl_influence.trees import Tree, map_tree

__all__ = ["Loss", "Objective", "explained"]

Loss = Callable[[Any, Any], torch.Tensor]
"""loss(output, target) -> scalar, the mean over the points of the batch."""

FORWARD = RLock()
"""Held while a model runs, and while torch differentiates in forward mode: `functional_call` puts
tensors into modules, attention is switched for the whole process, and so are levels of forward
derivatives; another thread would compute with the numbers of this one."""


class Objective:
    """The loss of a model as a function of its free parameters.

    Parameters and buffers are those of the model at the time of construction: the model may go on
    training. The model itself is never changed: neither mode, gradients nor hooks.

    Parameters
    ----------
    model : torch.nn.Module
        In eval mode if it holds dropout or batch normalisation.
    loss : callable
        ``loss(output, target)``, a scalar, the mean over the batch.
    names : sequence of str, optional
        The parameters to differentiate by; None: all that require gradients.
    dtype : torch.dtype, optional
        ``torch.float32`` or ``torch.float64``, for all computations; None: that of the model.

    Raises
    ------
    ModelError
        If no parameter requires gradients, parameters have half precision or lie on several
        devices, hold NaN, or dropout or batch normalisation are in train mode.
    InvalidOptionError
        If a name is no free parameter, or `dtype` is another one.

    Examples
    --------
    >>> model = torch.nn.Linear(2, 1)
    >>> objective = Objective(model, torch.nn.functional.mse_loss)
    >>> objective.size, objective.names
    (3, ('weight', 'bias'))
    """

    def __init__(
        self,
        model: torch.nn.Module,
        loss: Loss,
        *,
        names: Sequence[str] | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        free = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if not free:
            raise ModelError(
                "no parameter of the model requires gradients: unfreeze those whose influence "
                "matters with requires_grad_(True)"
            )
        chosen = tuple(free) if names is None else tuple(names)
        for name in chosen:
            if name not in free:
                raise InvalidOptionError(
                    f"{name!r} is no free parameter of the model; those are {', '.join(free)}"
                )
        _check_parameters(model, dtype)
        _check_mode(model)
        self.dtype = _working_dtype(model, dtype)
        # Calls put other tensors in the place of parameters: those of a twin, so that a thread that
        # sends the model to another process meanwhile finds it as it is.
        self._original = model
        self.model = _twin(model)
        self.loss = loss
        self.names = chosen
        self.shapes = tuple(free[name].shape for name in chosen)
        self._sizes = [free[name].numel() for name in chosen]
        self.device = free[chosen[0]].device
        self.activations: dict[tuple[tuple[int, ...], ...], int] = {}
        self.layers: dict[tuple[str, ...], Any] = {}
        self.vector = torch.cat([self._own(free[name]).reshape(-1) for name in chosen])
        self.fixed = {
            name: self._own(tensor)
            for name, tensor in [*model.named_parameters(), *model.named_buffers()]
            if name not in chosen
        }

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "model"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.model = _twin(self._original)

    @property
    def size(self) -> int:
        """The number of parameters p."""
        return len(self.vector)

    def restricted(self, names: Sequence[str]) -> Objective:
        """Return the same loss as a function of some of its parameters, all others fixed."""
        part = object.__new__(Objective)
        part.__dict__.update(self.__dict__)
        values = self.split(self.vector)
        part.names = tuple(names)
        part.shapes = tuple(values[name].shape for name in names)
        part._sizes = [values[name].numel() for name in names]
        part.vector = torch.cat([values[name].reshape(-1) for name in names])
        rest = {name: value for name, value in values.items() if name not in part.names}
        part.fixed = self.fixed | rest
        return part

    def split(self, vector: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the parameters by name that a vector [p] holds."""
        parts = vector.split(self._sizes)
        shaped = zip(self.names, self.shapes, parts, strict=True)
        return {name: part.view(shape) for name, shape, part in shaped}

    def positions(self, names: Sequence[str]) -> torch.Tensor:
        """Return where in the vector the parameters `names` lie."""
        places = self.split(torch.arange(self.size))
        return torch.cat([places[name].reshape(-1) for name in names])

    def cast(self, tree: Tree) -> Tree:
        """Return a tree with floating-point tensors in the precision of the computations."""
        return map_tree(lambda t: t.to(self.dtype) if t.is_floating_point() else t, tree)

    def output(self, vector: torch.Tensor, x: Tree) -> Any:
        """Return the output of the model for a batch, with parameters `vector` [p]."""
        return self._called(self.split(vector), x)

    def _called(self, parameters: Mapping[str, torch.Tensor], x: Tree) -> Any:
        """Return the output of the model for a batch, with some parameters by name."""
        state = {**self.fixed, **parameters}
        arguments = x if isinstance(x, tuple) else () if isinstance(x, Mapping) else (x,)
        keywords = dict(x) if isinstance(x, Mapping) else {}
        with FORWARD, _differentiable_attention():
            return functional_call(self.model, state, arguments, keywords)

    def mean_loss(self, vector: torch.Tensor, x: Tree, y: Tree) -> torch.Tensor:
        """Return the loss of a batch, its mean over the points."""
        return self.loss(self.output(vector, x), y)

    def point_output(self, vector: torch.Tensor, x: Tree) -> Any:
        """Return the output for one point, given without its axis of points, with that axis."""
        return self.output(vector, map_tree(lambda t: t.unsqueeze(0), x))

    def point_loss(self, vector: torch.Tensor, x: Tree, y: Tree) -> torch.Tensor:
        """Return the loss of one point, given without its axis of points."""
        return self.named_point_loss(self.split(vector), x, y)

    def named_point_loss(
        self, parameters: Mapping[str, torch.Tensor], x: Tree, y: Tree
    ) -> torch.Tensor:
        """Return the same, with the parameters by name."""
        x, y = (map_tree(lambda t: t.unsqueeze(0), tree) for tree in (x, y))
        return self.loss(self._called(parameters, x), y)

    def _own(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return a copy of a tensor of the model, in working precision."""
        value = tensor.detach().clone()
        return value.to(self.dtype) if value.is_floating_point() else value


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Say of an error of torch what was being done, and what usually helps."""
    try:
        yield
    except DvlError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError) as error:
        hint = ""
        text = str(error)
        if "inplace" in text or "in-place" in text or "in_place" in text:
            hint = "; the model changes tensors in place: use modules with inplace=False"
        elif "dtype" in text or "same type" in text:
            hint = "; model and data may differ in precision: convert one, or give the option dtype"
        elif "device" in text:
            hint = "; model and data may lie on different devices"
        raise ModelError(f"{doing} failed: {type(error).__name__}: {text}{hint}") from error


def _twin(model: torch.nn.Module) -> torch.nn.Module:
    """Return a model of other modules with the same parameters and buffers."""
    tensors = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})


@contextmanager
def _differentiable_attention() -> Iterator[None]:
    """Compute attention in steps of which torch knows forward and second derivatives."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _check_parameters(model: torch.nn.Module, dtype: torch.dtype | None) -> None:
    """Refuse parameters that make no numbers."""
    devices = {str(p.device) for p in model.parameters()}
    if len(devices) > 1:
        raise ModelError(
            f"the parameters lie on several devices, {', '.join(sorted(devices))}: move the model "
            "to one of them"
        )
    for name, parameter in model.named_parameters():
        if dtype is None and parameter.dtype in (torch.float16, torch.bfloat16):
            raise ModelError(
                f"parameter {name!r} has half precision, {parameter.dtype}, in which curvature is "
                "mostly rounding error: use model.float(), or the option dtype=torch.float32"
            )
        if not torch.isfinite(parameter).all():
            raise ModelError(f"parameter {name!r} of the model holds NaN or infinity")


def _check_mode(model: torch.nn.Module) -> None:
    """Refuse modules that are random, or mix the points of a batch, in train mode."""
    for name, module in model.named_modules():
        what = None
        if isinstance(module, _BatchNorm):
            what = "it mixes the points of a batch, so that no point has a loss of its own"
        elif isinstance(module, _DropoutNd) and module.p > 0:
            what = "it is random"
        if what and module.training:
            raise ModelError(
                f"module {name!r} ({type(module).__name__}) is in train mode, in which {what}: "
                "call model.eval()"
            )


def _working_dtype(model: torch.nn.Module, dtype: torch.dtype | None) -> torch.dtype:
    """Return the precision of the computations."""
    if dtype not in (None, torch.float32, torch.float64):
        raise InvalidOptionError(
            f"dtype is {dtype}: influences are computed in torch.float32 or torch.float64"
        )
    return dtype or next(p.dtype for p in model.parameters() if p.requires_grad)
