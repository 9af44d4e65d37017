"""A stack of nets: the same net with other parameters for each coalition, trained in step."""

from __future__ import annotations

import copy
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core.tensors import torch_module
from dvl_torch.losses import stacked_gradient
from dvl_torch.minibatches import minibatch_numbers
from dvl_torch.nets import new_net
from dvl_torch.optimizers import stacked_optimizer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from dvl_core.protocols import BoolArray, FloatArray
    from dvl_torch.base import TorchEstimator

__all__ = ["Stack"]

LEAST_PIECE = 32
"""Nets that are trained together whatever their sizes: fewer do not pay."""
SIMILAR = 1.25
"""Coalitions are trained together while the largest has at most so many times the rows."""
WORK_COPIES = 3
"""Activations, their gradients, and what an operation returns before the next one begins."""
PARAMETER_COPIES = 8
LARGEST = 1e6
"""A parameter beyond is on its way to infinity: each step multiplies what rounding made."""


class Stack:
    """Trains one net for each of many coalitions, and gives what it says of the test rows.

    Parameters
    ----------
    model : TorchClassifier or TorchRegressor
        How to train.
    x : array [m, ...]
        Training rows, in the model's type.
    target : array [m]
        Their targets, or numbers of classes.
    x_test : array [t, ...]
        Test rows.
    """

    def __init__(
        self,
        model: TorchEstimator,
        x: NDArray[Any],
        target: NDArray[Any],
        x_test: NDArray[Any],
    ) -> None:
        self.model = model
        self._x, self._x_test = model.to_device(x), model.to_device(x_test)
        self._target = model.to_device(target)
        self._net = new_net(model)
        numbers = minibatch_numbers(x, model.n_batches, model.random_state)
        self._parts = [np.flatnonzero(numbers == number) for number in range(model.n_batches)]
        self._gradient = stacked_gradient(model)

    @cached_property
    def floats(self) -> int:
        """Numbers that are kept while one net is trained, about."""
        activations = _activations(self._net, self._x[:1])
        rows = max(len(self._x), len(self._x_test))
        parameters = sum(parameter.numel() for parameter in self._net.parameters())
        own_rows: int = self._x.numel()
        return WORK_COPIES * activations * rows + own_rows + PARAMETER_COPIES * int(parameters)

    def outputs(self, members: BoolArray, shift: float = 0.0) -> tuple[FloatArray, BoolArray]:
        """Return the outputs [b, t, k] for the test rows, and which nets did not diverge.

        Parameters
        ----------
        members : bool array [b, m]
            The rows of each coalition, one at least.
        shift : float
            By how much to change the initial parameters, up or down, relative to themselves.
        """
        torch = torch_module()
        # Threads may share this stack, and a net is changed while it is called with parameters.
        net = _Functional(self._net)
        found: list[Any] = []
        order = np.argsort(members.sum(axis=1), kind="stable")
        for piece in _pieces(members[order].sum(axis=1)):
            values = self._train(net, self.model.to_device(members[order[piece]]), shift)
            with torch.no_grad():
                output = net(values, self._x_test, training=False).reshape(
                    len(values), len(self._x_test), -1
                )
                small = (values.abs() <= LARGEST).all(dim=1)
                finite = small & output.isfinite().all(dim=2).all(dim=1)
            found.append((output.cpu().numpy(), finite.cpu().numpy()))
        outputs = np.concatenate([output for output, _ in found])
        result, finite = np.empty_like(outputs, dtype=float), np.empty(len(order), dtype=bool)
        result[order] = outputs
        finite[order] = np.concatenate([good for _, good in found])
        return result, finite

    def _train(self, net: _Functional, members: Any, shift: float) -> Any:
        """Return the parameters [b, p] of nets trained on `members` [b, m]."""
        torch = torch_module()
        batches = list(self._batches(members))
        optimizer = stacked_optimizer(self.model)
        signs = np.random.default_rng(0).choice([-1.0, 1.0], size=len(net.start))
        start = net.start * (1 + shift * self.model.to_device(signs.astype(self.model.dtype)))
        values = start.expand(len(members), -1)
        for _ in range(self.model.epochs):
            for x, target, weights, moved in batches:
                with torch.enable_grad():
                    leaf = values.detach().requires_grad_()
                    output = net(leaf, x, training=True)
                shaped = self.model.shaped(output.detach(), target)
                slopes = self._gradient(shaped, target, weights).reshape(output.shape)
                (gradient,) = torch.autograd.grad(output, leaf, slopes)
                values = optimizer.step(values, gradient, moved)
        return values

    def _batches(self, members: Any) -> Iterator[tuple[Any, Any, Any, Any]]:
        """Yield rows, targets, weights and which nets move, for each mini-batch with a member.

        Each net gets its own rows, filled up with others of weight zero.
        """
        torch = torch_module()
        for part in self._parts:
            rows = torch.as_tensor(part, device=members.device)
            inside = members[:, rows]
            counts = inside.sum(dim=1, keepdim=True)
            widest = int(counts.max()) if len(rows) else 0
            if widest == 0:
                continue
            order = torch.argsort(inside.to(torch.uint8), dim=1, descending=True, stable=True)
            order = order[:, :widest]
            weights = inside.gather(1, order).to(self._x.dtype) / counts.clamp(min=1)
            moved = None if bool((counts > 0).all()) else counts > 0
            chosen = rows[order]
            yield self._x[chosen], self._target[chosen], weights, moved


class _Functional:
    """A net as a function of its trained parameters, in one row for each net of a stack."""

    def __init__(self, net: Any) -> None:
        torch = torch_module()
        self._net = copy.deepcopy(net)
        trained = {n: p for n, p in self._net.named_parameters() if p.requires_grad}
        self._names = list(trained)
        self._shapes = [parameter.shape for parameter in trained.values()]
        self._sizes = [parameter.numel() for parameter in trained.values()]
        flat = [parameter.detach().reshape(-1) for parameter in trained.values()]
        self.start = torch.cat(flat)

    def __call__(self, values: Any, x: Any, *, training: bool) -> Any:
        """Return the outputs [b, s, ...] of nets with parameters [b, p].

        Parameters
        ----------
        values : tensor [b, p]
            Parameters.
        x : tensor [b, s, ...] if training, else [s, ...]
            Rows: each net's own in training.
        training : bool
            Mode of the net.
        """
        func = torch_module().func
        parts = values.split(self._sizes, dim=1)
        stacked = [
            part.reshape(len(values), *shape)
            for part, shape in zip(parts, self._shapes, strict=True)
        ]
        net = self._net
        if net.training is not training:
            net.train(training)

        def one(parameters: list[Any], rows: Any) -> Any:
            named = dict(zip(self._names, parameters, strict=True))
            return func.functional_call(net, named, (rows,))

        return func.vmap(one, in_dims=(0, 0 if training else None))(stacked, x)


def _pieces(sizes: NDArray[np.int64]) -> Iterator[slice]:
    """Yield parts of coalitions of ascending `sizes` [b] that are worth training together."""
    start = 0
    for end in range(1, len(sizes) + 1):
        full = end - start >= LEAST_PIECE
        if end == len(sizes) or (full and sizes[end] > SIMILAR * sizes[start]):
            yield slice(start, end)
            start = end


def _activations(net: Any, row: Any) -> int:
    """Return how many numbers are kept for the gradient of one row."""
    torch = torch_module()
    kept: list[int] = []

    def pack(tensor: Any) -> Any:
        kept.append(tensor.numel())
        return tensor

    totals = []
    for rows in (row, torch.cat([row, row])):
        kept.clear()
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            net(rows)
        totals.append(sum(kept))
    return totals[1] - totals[0]
