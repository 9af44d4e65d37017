"""Gradients of single points, and their mixed second derivatives with the inputs."""

from __future__ import annotations

import torch
from torch.func import grad, jvp, vmap

from dvl_core.errors import DataError
from dvl_influence.data import Batch
from dvl_influence.finite import all_finite
from dvl_influence.memory import DEFAULT_BUDGET, activations_per_point, share
from dvl_influence.objective import FORWARD, Objective, explained

__all__ = ["mixed_derivatives", "per_point_gradients", "require_finite"]


def per_point_gradients(
    objective: Objective, batch: Batch, *, memory_budget: int = DEFAULT_BUDGET
) -> torch.Tensor:
    """Return the gradient of the loss of each point by the parameters [b, p].

    Parameters
    ----------
    objective : Objective
        Model and loss.
    batch : Batch
        b points.
    memory_budget : int
        Bytes that intermediate results may take.

    Raises
    ------
    InfluenceError
        If the model cannot be differentiated point by point, or a gradient is not finite.
    """
    itemsize = objective.vector.element_size()
    each = itemsize * (3 * objective.size + 4 * activations_per_point(objective, batch.x))
    at_once = share(memory_budget, each)
    with explained("the gradient of single points"):
        # By name: derivatives by the one vector would be put together layer by layer.
        parts = vmap(
            grad(objective.named_point_loss),
            (None, 0, 0),
            chunk_size=at_once if at_once < batch.n_points else None,
        )(objective.split(objective.vector), batch.x, batch.y)
    flat = [parts[name].reshape(batch.n_points, -1) for name in objective.names]
    gradients = torch.cat(flat, dim=1)
    require_finite(gradients, "gradient")
    return gradients.detach()


def mixed_derivatives(
    objective: Objective,
    factors: torch.Tensor,
    batch: Batch,
    *,
    memory_budget: int = DEFAULT_BUDGET,
) -> torch.Tensor:
    """Return the gradients by x_i of ``factors[q] . grad L_i`` [q, b, *features].

    Parameters
    ----------
    objective : Objective
        Model and loss.
    factors : float tensor [q, p]
        Directions in the space of parameters.
    batch : Batch
        b points whose x is one floating-point tensor.
    memory_budget : int
        Bytes that intermediate results may take.

    Raises
    ------
    DataError
        If x is not one floating-point tensor: what is no number cannot be perturbed.
    """
    if not (isinstance(batch.x, torch.Tensor) and batch.x.is_floating_point()):
        raise DataError(
            'mode="perturbation" asks how changes of x act, and needs x to be one tensor of '
            "floating-point numbers; for tokens, perturb their embeddings"
        )

    def along(factor: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        def loss(vector: torch.Tensor) -> torch.Tensor:
            return objective.point_loss(vector, x, y)

        return jvp(loss, (objective.vector,), (factor,))[1]

    itemsize = objective.vector.element_size()
    per_point = objective.size + activations_per_point(objective, batch.x)
    factors_at_once = share(memory_budget, 6 * itemsize * per_point * batch.n_points)
    with FORWARD, explained("the mixed second derivative by parameters and inputs"):
        of_points = vmap(grad(along, argnums=1), (None, 0, 0))
        of_all = vmap(of_points, (0, None, None), chunk_size=factors_at_once)
        derivatives: torch.Tensor = of_all(factors, batch.x, batch.y)
    require_finite(derivatives, "mixed derivative")
    return derivatives.detach()


def require_finite(numbers: torch.Tensor, what: str) -> None:
    """Refuse derivatives [n, ...] with NaN or infinity.

    Raises
    ------
    DataError
        If there are some; `what` names them.
    """
    if not all_finite(numbers):
        bad = int((~torch.isfinite(numbers.flatten(1))).any(1).sum())
        raise DataError(
            f"the {what} of {bad} of {len(numbers)} points is NaN or infinite: look at their "
            "inputs, or at losses such as log(0)"
        )
