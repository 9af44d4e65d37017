"""What EK-FAC finds for a model, and what it makes of it for a regularization."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from dvl_core.errors import DataError
from dvl_core.protocols import LinearOperator
from dvl_ekfac.cotangents import Fisher
from dvl_ekfac.kronecker import LayerEigen
from dvl_influence.layer_calls import Layer
from dvl_influence.layers import layer_candidates
from dvl_influence.objective import Objective

__all__ = ["EkfacState", "Fitted", "arrays_of", "restored"]

_FISHERS: tuple[Fisher, ...] = ("exact", "sampled", "empirical")


@dataclass(frozen=True)
class Fitted:
    """What does not depend on regularization."""

    layers: tuple[Layer, ...]
    positions: dict[str, torch.Tensor]
    eigen: dict[str, LayerEigen]
    left_out: dict[str, str]
    fisher: str

    @property
    def mean(self) -> float:
        """The mean eigenvalue over the parameters of all layers."""
        total = sum(float(own.values.double().sum()) for own in self.eigen.values())
        return total / max(1, sum(layer.size for layer in self.layers))


@dataclass(frozen=True)
class EkfacState:
    """The factorised curvature of a model, by layer.

    Parameters
    ----------
    operator : LinearOperator
        The true curvature, damped, for residuals.
    fitted : object
        Layers, and what was found for them.
    damping : dict of str to float
        What is added to the eigenvalues of each layer.
    details : dict
        Ready for JSON.
    """

    operator: LinearOperator
    fitted: Fitted
    damping: dict[str, float]
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def eigen(self) -> dict[str, LayerEigen]:
        """Eigenvectors and eigenvalues by layer."""
        return self.fitted.eigen


def arrays_of(fitted: Fitted) -> dict[str, torch.Tensor]:
    """Return what was fitted as arrays."""
    arrays = {}
    for name, own in fitted.eigen.items():
        arrays[f"{name}/outputs"], arrays[f"{name}/values"] = own.outputs, own.values
        if own.inputs is not None:
            arrays[f"{name}/inputs"] = own.inputs
    arrays["fisher"] = torch.tensor(_FISHERS.index(fitted.fisher))
    return arrays


def restored(objective: Objective, arrays: Mapping[str, torch.Tensor]) -> Fitted:
    """Return what was fitted, from arrays."""
    candidates, left_out = layer_candidates(objective)
    layers = tuple(layer for layer in candidates if f"{layer.name}/outputs" in arrays)
    eigen = {}
    for layer in layers:
        outputs, values = (arrays[f"{layer.name}/{key}"] for key in ("outputs", "values"))
        if values.shape != layer.shape:
            raise DataError(
                f"the saved factors of layer {layer.name!r} have the shape {tuple(values.shape)}, "
                f"not {layer.shape}"
            )
        eigen[layer.name] = LayerEigen(outputs, arrays.get(f"{layer.name}/inputs"), values)
    for layer in candidates:
        if layer not in layers:
            left_out |= dict.fromkeys(layer.names, f"layer {layer.name!r} was left out when saved")
    positions = {layer.name: objective.positions(layer.names) for layer in layers}
    return Fitted(layers, positions, eigen, left_out, _FISHERS[int(arrays["fisher"])])
