"""What a call of a layer contributes to gradients: inputs and output gradients as matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from dvl_influence.errors import ModelError
from dvl_influence.layer_factors import DenseFactors, IndexFactors, LayerFactors

__all__ = ["Call", "Layer", "refusal"]

Kind = Literal["matrix", "embedding", "elementwise"]


class Call(NamedTuple):
    """One call of a module."""

    module: nn.Module
    input: torch.Tensor
    """What `Layer.seen` returned."""
    version: int
    """Of the input, which counts changes in place."""
    output: torch.Tensor


@dataclass(frozen=True)
class Layer:
    """Parameters of one or several modules that form a matrix [d_out, d_in].

    Parameters
    ----------
    name : str
        Path of the first module.
    modules : tuple of str
        Paths of all modules that share the parameters.
    kind : str
        ``"matrix"``, ``"embedding"`` or ``"elementwise"``.
    names : tuple of str
        Names of the parameters, weight before bias.
    slots : tuple of str
        ``"weight"``, ``"bias"`` or both: which parameters of the module are free.
    shape : tuple of int
        d_out and d_in, the bias included.
    """

    name: str
    modules: tuple[str, ...]
    kind: Kind
    names: tuple[str, ...]
    slots: tuple[str, ...]
    shape: tuple[int, int]

    @classmethod
    def of(
        cls, name: str, modules: tuple[str, ...], module: nn.Module, slots: Mapping[str, str]
    ) -> Layer:
        """Return the layer of a module, from the names of its free parameters."""
        sizes = {slot: getattr(module, slot) for slot in slots}
        kind: Kind = "elementwise"
        shape = (sum(p.numel() for p in sizes.values()), 1)
        if isinstance(module, nn.Embedding):
            kind, shape = "embedding", (module.embedding_dim, module.num_embeddings)
        elif "weight" in slots and isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
            weight = sizes["weight"]
            kind = "matrix"
            shape = (len(weight), weight[0].numel() + ("bias" in slots))
        return cls(name, modules, kind, tuple(slots.values()), tuple(slots), shape)

    @property
    def size(self) -> int:
        """The number of parameters."""
        return self.shape[0] * self.shape[1]

    def to_matrices(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return vectors [m, size], in the order of the parameters, as matrices."""
        d_out, d_in = self.shape
        if self.kind == "embedding":
            return vectors.view(-1, d_in, d_out).transpose(1, 2)
        if len(self.slots) == 1 or self.kind == "elementwise":
            return vectors.reshape(-1, d_out, d_in)
        weight = vectors[:, : d_out * (d_in - 1)].reshape(-1, d_out, d_in - 1)
        return torch.cat([weight, vectors[:, d_out * (d_in - 1) :, None]], dim=2)

    def to_vectors(self, matrices: torch.Tensor) -> torch.Tensor:
        """Return matrices [m, d_out, d_in] as vectors in the order of the parameters."""
        if self.kind == "embedding":
            return matrices.transpose(1, 2).reshape(len(matrices), self.size)
        if len(self.slots) == 1 or self.kind == "elementwise":
            return matrices.reshape(len(matrices), self.size)
        return torch.cat([matrices[:, :, :-1].flatten(1), matrices[:, :, -1]], dim=1)

    def seen(self, module: Any, value: torch.Tensor) -> torch.Tensor:
        """Return what the parameters act on: the input, normalised by a module that does so."""
        if isinstance(module, nn.LayerNorm):
            return functional.layer_norm(value, module.normalized_shape, eps=module.eps)
        if isinstance(module, _BatchNorm):
            return functional.batch_norm(
                value, module.running_mean, module.running_var, eps=module.eps
            )
        return value

    def factors(self, calls: Sequence[tuple[Call, torch.Tensor]], n_points: int) -> LayerFactors:
        """Return the factors of the gradients of points, of all calls together.

        Parameters
        ----------
        calls : sequence of (Call, float tensor)
            Each with the gradient by its output.
        n_points : int
            The number of points b.
        """
        pairs = [self._pair(call, delta.detach()) for call, delta in calls]
        firsts = [_by_point(first, n_points, self.name) for first, _ in pairs]
        seconds = [_by_point(second, n_points, self.name) for _, second in pairs]
        first, delta = torch.cat(firsts, dim=1), torch.cat(seconds, dim=1)
        if self.kind == "embedding":
            return IndexFactors(first[:, :, 0], delta, self.shape[1])
        if self.kind == "elementwise":
            delta = delta.sum(dim=1, keepdim=True)
            return DenseFactors(delta.new_ones(n_points, 1, 1), delta)
        if len(self.slots) == 2:
            first = torch.cat([first, first.new_ones(*first.shape[:2], 1)], dim=2)
        return DenseFactors(first, delta)

    def _pair(self, call: Call, delta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return input and output gradient with the features along the last axis."""
        module, value = call.module, call.input
        if isinstance(module, nn.Embedding):
            if module.padding_idx is not None:
                delta = delta * (value != module.padding_idx)[..., None]
            return value[..., None], delta
        if isinstance(module, nn.LayerNorm):
            start = -len(module.normalized_shape)
            return self._elementwise(value.flatten(start), delta.flatten(start))
        if isinstance(module, _BatchNorm):
            return self._elementwise(value.movedim(1, -1), delta.movedim(1, -1))
        if isinstance(module, nn.Conv1d | nn.Conv2d):
            delta = delta.flatten(2).transpose(1, 2)
            value = delta if self.kind == "elementwise" else _patches(module, value)
        return (delta, delta) if self.kind == "elementwise" else (value, delta)

    def _elementwise(
        self, unit: torch.Tensor, delta: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the gradients of factors and shifts."""
        parts = {"weight": unit * delta, "bias": delta}
        gradient = torch.cat([parts[slot] for slot in self.slots], dim=-1)
        return gradient, gradient


def refusal(path: str, module: nn.Module) -> str | None:
    """Return why a module is no layer that is known here; None if it is one."""
    if isinstance(module, nn.Embedding):
        if module.max_norm is not None:
            return f"embedding {path!r} has max_norm, which changes its table while it is used"
        if module.scale_grad_by_freq:
            return f"embedding {path!r} has scale_grad_by_freq, which mixes the points of a batch"
        return None
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        if module.groups == 1:
            return None
        return f"convolution {path!r} has {module.groups} groups"
    if isinstance(module, nn.Linear | nn.LayerNorm | _BatchNorm):
        return None
    return f"module {path!r} is a {type(module).__name__}"


def _by_point(tensor: torch.Tensor, n_points: int, name: str) -> torch.Tensor:
    """Return a tensor [b, ..., d], or [b t, d], as [b, t, d]."""
    if len(tensor) % n_points:
        raise ModelError(
            f"layer {name!r} sees {len(tensor)} rows for {n_points} points: points must lie along "
            "the first axis within the model"
        )
    return tensor.reshape(n_points, -1, tensor.shape[-1])


def _patches(module: Any, value: torch.Tensor) -> torch.Tensor:
    """Return what the kernel of a convolution sees at its places [b, t, d_in]."""
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    value = functional.pad(value, module._reversed_padding_repeated_twice, mode=mode)
    flat = isinstance(module, nn.Conv1d)

    def two(size: tuple[int, ...]) -> tuple[int, ...]:
        return (1, *size) if flat else size

    patches = functional.unfold(
        value[:, :, None] if flat else value,
        two(module.kernel_size),
        dilation=two(module.dilation),
        stride=two(module.stride),
    )
    return patches.transpose(1, 2)
