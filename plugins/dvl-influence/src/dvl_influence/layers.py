"""Layers of a model: their inputs, and the gradients by their outputs, for each point of a batch.

What methods that factorise gradients by layer stand on. A layer is a matrix [d_out, d_in] of
parameters; the gradient of a point by it is a sum over positions of ``delta a^T``:

- `Linear`, `Conv1d`, `Conv2d` (one group): weight, with the bias as last column. Positions are all
  axes of the input but the first and that of features; for convolutions the places of the kernel.
- `Embedding`: the transposed table, with inputs that are known by their index.
- `LayerNorm` and batch normalisation in eval mode, and layers of which only the bias is free: all
  their parameters in one column, with the input 1 and the gradient itself for delta.

A module that is called several times in a pass, and modules that share all their parameters, are
one layer with the positions of all calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from dvl_influence.data import Batch
from dvl_influence.errors import ModelError
from dvl_influence.gradients import per_point_gradients
from dvl_influence.layer_calls import Call, Layer, refusal
from dvl_influence.layer_factors import LayerFactors
from dvl_influence.memory import DEFAULT_BUDGET, share
from dvl_influence.objective import FORWARD, Objective, explained
from dvl_influence.trees import rows

__all__ = ["Layers", "Tape", "find_layers", "layer_candidates", "layer_factors"]

CHECKED_POINTS = 3


@dataclass(frozen=True)
class Layers:
    """The layers of a model that can be factorised, and the parameters that are in none.

    Parameters
    ----------
    objective : Objective
        Model and loss.
    layers : tuple of Layer
        In the order of the model.
    unsupported : dict of str to str
        Names of the other free parameters, with the reason.
    numbers_per_point : int
        Numbers that the factors of a point take.
    """

    objective: Objective
    layers: tuple[Layer, ...]
    unsupported: Mapping[str, str]
    numbers_per_point: int = 1

    def positions(self, layer: Layer) -> torch.Tensor:
        """Return where in the vector of parameters those of a layer lie."""
        return self.objective.positions(layer.names)

    def pieces(self, batch: Batch, memory_budget: int = DEFAULT_BUDGET) -> Iterator[Batch]:
        """Yield the points of a batch, as many at a time as fit the budget."""
        each = 4 * self.objective.vector.element_size() * self.numbers_per_point
        step = share(memory_budget, each)
        for start in range(0, batch.n_points, step):
            part = slice(start, start + step)
            yield Batch(rows(batch.x, part), rows(batch.y, part))


class Tape:
    """One pass of the model over points, from which gradients by the layers' outputs are taken.

    Parameters
    ----------
    layers : Layers
        Which to record.
    x : tree of tensors
        Inputs of the model.
    n_points : int
        The number of points.
    """

    def __init__(self, layers: Layers, x: Any, n_points: int) -> None:
        self._layers = layers.layers
        self._n_points = n_points
        self._calls: dict[str, list[Call]] = {layer.name: [] for layer in self._layers}
        objective = layers.objective
        modules = dict(objective.model.named_modules(remove_duplicate=True))
        with FORWARD, torch.enable_grad(), explained("a pass of the model over training points"):
            hooks = []
            try:
                for layer in self._layers:
                    for name in layer.modules:
                        hook = self._hook(layer)
                        hooks.append(modules[name].register_forward_hook(hook, with_kwargs=True))
                self.output = objective.output(objective.vector, x)
            finally:
                for handle in hooks:
                    handle.remove()

    def called(self, layer: Layer) -> bool:
        """Return whether a layer took part in the pass."""
        return bool(self._calls[layer.name])

    def factors(
        self, of: torch.Tensor, cotangent: torch.Tensor | None = None
    ) -> dict[str, LayerFactors]:
        """Return the factors by layer of the gradients of a scalar, or of ``cotangent . of``.

        Parameters
        ----------
        of : float tensor
            What is differentiated: the output of the model, or a function of it that is a sum over
            points.
        cotangent : float tensor, optional
            What its derivatives are multiplied with, of the shape of `of`.
        """
        calls = [call for layer in self._layers for call in self._calls[layer.name]]
        self._require_unchanged()
        with explained("the gradients by the outputs of the layers"):
            found = torch.autograd.grad(
                of,
                [call.output for call in calls],
                cotangent,
                retain_graph=True,
                allow_unused=True,
                materialize_grads=True,
            )
        deltas = iter(found)
        return {
            layer.name: layer.factors(
                [(call, next(deltas)) for call in self._calls[layer.name]], self._n_points
            )
            for layer in self._layers
        }

    def _hook(self, layer: Layer) -> Any:
        def record(module: nn.Module, args: Any, kwargs: Any, output: torch.Tensor) -> torch.Tensor:
            value = layer.seen(module, (args[0] if args else kwargs["input"]).detach())
            traced = output if output.requires_grad else output.detach().requires_grad_()
            self._calls[layer.name].append(Call(module, value, value._version, traced))
            # A copy goes on, so that an activation that works in place leaves the output as it is.
            return traced.clone()

        return record

    def _require_unchanged(self) -> None:
        """Refuse inputs of layers that were changed in place after their use."""
        for name, calls in self._calls.items():
            if any(call.input._version != call.version for call in calls):
                raise ModelError(
                    f"the input of layer {name!r} is changed in place after the layer has used it: "
                    "use operations that return a new tensor, x = x + y instead of x += y"
                )


def find_layers(objective: Objective, batch: Batch) -> Layers:
    """Return the layers of a model, checked on a few points against gradients by the parameters.

    Parameters
    ----------
    objective : Objective
        Model and loss; its free parameters are looked for.
    batch : Batch
        Points.

    Raises
    ------
    ModelError
        If gradients from layers differ from the true ones: points that do not lie along the first
        axis within the model, or parameters that are used outside their layer.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.PReLU(), nn.Linear(3, 1, bias=False))
    >>> objective = Objective(model, nn.functional.mse_loss)
    >>> found = find_layers(objective, Batch(torch.ones(4, 2), torch.ones(4, 1)))
    >>> [(layer.name, layer.shape) for layer in found.layers]
    [('0', (3, 3)), ('2', (1, 3))]
    >>> found.unsupported
    {'1.weight': "module '1' is a PReLU"}
    """
    layers, unsupported = layer_candidates(objective)
    few = Batch(*(rows(tree, slice(0, CHECKED_POINTS)) for tree in batch))
    found = Layers(objective, layers, unsupported)
    tape = Tape(found, few.x, few.n_points)
    used = tuple(layer for layer in layers if tape.called(layer))
    for layer in layers:
        if layer not in used:
            reason = f"module {layer.name!r} is not called by the model as a module"
            unsupported |= dict.fromkeys(layer.names, reason)
    if not used:
        return Layers(objective, (), unsupported)
    found = Layers(objective, used, unsupported)
    factors = layer_factors(found, few)
    _check(found, factors, few)
    numbers = sum(
        f.positions * sum(f.shape if layer.kind != "embedding" else (f.shape[0], 1))
        for layer, f in zip(used, factors.values(), strict=True)
    )
    return Layers(objective, used, unsupported, numbers)


def layer_factors(layers: Layers, batch: Batch) -> dict[str, LayerFactors]:
    """Return, by layer, the factors of the gradients of the losses of b points.

    One pass forward and one backward; the model is left as it is.

    Parameters
    ----------
    layers : Layers
        What `find_layers` returned.
    batch : Batch
        b points.

    Raises
    ------
    ModelError
        If a pass fails, or a layer's input is changed in place.

    Examples
    --------
    >>> objective = Objective(nn.Linear(2, 1), nn.functional.mse_loss)
    >>> batch = Batch(torch.ones(4, 2), torch.ones(4, 1))
    >>> layer_factors(find_layers(objective, batch), batch)[""].a.shape
    torch.Size([4, 1, 3])
    """
    tape = Tape(layers, batch.x, batch.n_points)
    with torch.enable_grad(), explained("the loss of training points"):
        total = batch.n_points * layers.objective.loss(tape.output, batch.y)
    return tape.factors(total)


def layer_candidates(objective: Objective) -> tuple[tuple[Layer, ...], dict[str, str]]:
    """Return layers of known types, and the parameters that belong to none, with the reason.

    Without a pass of the model: `find_layers` also tells which are used, and used rightly.
    """
    model = objective.model
    canonical = {id(parameter): name for name, parameter in model.named_parameters()}
    owners: dict[str, list[tuple[str, nn.Module, tuple[tuple[str, str], ...]]]] = {}
    for path, module in model.named_modules():
        slots = {
            slot: canonical[id(parameter)]
            for slot, parameter in module.named_parameters(recurse=False, remove_duplicate=False)
            if canonical[id(parameter)] in objective.names
        }
        for name in slots.values():
            owners.setdefault(name, []).append((path, module, tuple(slots.items())))
    reasons = {name: _reason(owners[name]) for name in objective.names}
    unsupported = {name: reason for name, reason in reasons.items() if reason}
    layers: dict[str, Layer] = {}
    for name in objective.names:
        path, module, free = owners[name][0]
        if name not in unsupported and path not in layers:
            own = {slot: of for slot, of in free if of not in unsupported}
            paths = tuple(owner[0] for owner in owners[name])
            layers[path] = Layer.of(path, paths, module, own)
    return tuple(layers.values()), unsupported


def _reason(owners: Sequence[tuple[str, nn.Module, Any]]) -> str | None:
    """Return why the parameter of these modules belongs to no layer; None if it does."""
    path, module, slots = owners[0]
    for other_path, other, other_slots in owners[1:]:
        if type(other) is not type(module) or other_slots != slots:
            return f"it is shared by modules {path!r} and {other_path!r} in different roles"
    if isinstance(module, _BatchNorm) and module.training:
        return f"module {path!r} is in train mode"
    return next((why for p, m, _ in owners if (why := refusal(p, m))), None)


def _check(layers: Layers, factors: Mapping[str, LayerFactors], batch: Batch) -> None:
    """Compare gradients from layers with those by the parameters, point by point."""
    truth = per_point_gradients(layers.objective, batch)
    scale = float(truth.abs().max())
    tolerance = 1e-3 * scale + 1e-30
    for layer in layers.layers:
        own = layer.to_vectors(factors[layer.name].gradients())
        error = float((own - truth[:, layers.positions(layer)]).abs().max())
        if error > tolerance:
            raise ModelError(
                f"the gradients by layer {layer.name!r}, {', '.join(layer.names)}, cannot be "
                "composed of its inputs and outputs: its parameters are also used outside the "
                "layer, or points do not lie along the first axis of its input. Freeze it with "
                "requires_grad_(False), or use a method that does not need layers, such as 'cg'"
            )
