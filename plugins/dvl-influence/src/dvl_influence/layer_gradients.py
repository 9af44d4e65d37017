"""Gradients of single points put together from what the layers of a model take in and give back.

Several times faster than differentiating point by point, where all parameters belong to layers.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from dvl_influence.columns import as_slice
from dvl_influence.data import Batch
from dvl_influence.errors import ModelError
from dvl_influence.gradients import require_finite
from dvl_influence.layers import Layers, find_layers, layer_factors
from dvl_influence.objective import Objective

__all__ = ["layer_gradients", "layers_of_all"]


def layers_of_all(objective: Objective, batch: Batch) -> Layers | None:
    """Return the layers of a model if all free parameters belong to them; None if not.

    Looked for once, with a few points of `batch`.
    """
    if objective.names not in objective.layers:
        try:
            found = find_layers(objective, batch)
        except (ModelError, RuntimeError, ValueError, TypeError, IndexError):
            # Models may use layers in ways that are not foreseen; there is another way to go.
            found = None
        complete = found is not None and found.layers and not found.unsupported
        objective.layers[objective.names] = found if complete else None
    known: Layers | None = objective.layers[objective.names]
    # What is known is shared by copies of the objective with other values of the parameters.
    return known and replace(known, objective=objective)


def layer_gradients(layers: Layers, batch: Batch) -> torch.Tensor:
    """Return the gradients [b, p] of the losses of b points, from one pass over them together.

    Parameters
    ----------
    layers : Layers
        All layers of the model.
    batch : Batch
        b points.

    Raises
    ------
    DataError
        If a gradient is not finite.

    Examples
    --------
    >>> objective = Objective(torch.nn.Linear(2, 1), torch.nn.functional.mse_loss)
    >>> batch = Batch(torch.ones(4, 2), torch.ones(4, 1))
    >>> layer_gradients(layers_of_all(objective, batch), batch).shape
    torch.Size([4, 3])
    """
    gradients = layers.objective.vector.new_empty(batch.n_points, layers.objective.size)
    factors = layer_factors(layers, batch)
    for layer in layers.layers:
        found, columns = factors[layer.name], as_slice(layers.positions(layer))
        if layer.kind == "matrix" and found.positions == 1 and isinstance(columns, slice):
            # Straight to their place: what takes time here is memory.
            biased = len(layer.slots) == 2
            d_out, d_in = layer.shape[0], layer.shape[1] - biased
            own, delta = gradients[:, columns], found.delta[:, 0]
            weight = own[:, : d_out * d_in].view(-1, d_out, d_in)
            torch.mul(delta[:, :, None], found.a[:, 0, None, :d_in], out=weight)
            if biased:
                own[:, d_out * d_in :] = delta
        else:
            gradients[:, columns] = layer.to_vectors(found.gradients())
    require_finite(gradients, "gradient")
    return gradients
