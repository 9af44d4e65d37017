"""What leaving a training point out does to predictions, its own leverage included."""

from __future__ import annotations

import torch

from dvl_influence.data import Batch
from dvl_influence.errors import IndefiniteCurvatureError
from dvl_influence.jacobians import output_derivatives
from dvl_influence.model import InfluenceModel
from dvl_influence.trees import Tree

__all__ = ["leave_one_out_changes"]


def leave_one_out_changes(
    influence: InfluenceModel, x_test: Tree, y_test: Tree, x: Tree, y: Tree
) -> torch.Tensor:
    """Return by how much the loss of each test point grows, to first order, without a point.

    One Newton step from the trained parameters to those without the point. ``s[q, i] / n`` takes
    the curvature of all points for that of the others, which a point of large leverage h_ii makes
    much smaller. For a model with one output the correction is to divide by ``1 - h_ii``; with c
    outputs it is the inverse of a c x c matrix. Exact for the parameters if losses are quadratic;
    the weights of the other points stay 1/n.

    Parameters
    ----------
    influence : InfluenceModel
        Fitted, with curvature "hessian" or "ggn".
    x_test, y_test : tensor, tuple or dictionary of tensors
        n_test points.
    x, y : tensor, tuple or dictionary of tensors
        n_train of the points that `influence` was fitted to. Each costs c solves.

    Returns
    -------
    float tensor [n_test, n_train]
        In units of the loss; positive: the point helps.

    Raises
    ------
    IndefiniteCurvatureError
        If the curvature without a point is not positive definite: leverage of 1 or more.

    References
    ----------
    Cook and Weisberg, Residuals and influence in regression, 1982, equation 2.2.8; Pregibon,
    Logistic regression diagnostics, Annals of Statistics 1981, section 4.

    Examples
    --------
    >>> from dvl_influence.testing import DenseInverse
    >>> x, y = torch.tensor([[1.0], [2.0]]).double(), torch.tensor([[0.0], [4.0]]).double()
    >>> model = torch.nn.Linear(1, 1, bias=False).double()
    >>> _ = torch.nn.init.constant_(model.weight, 8 / 5)
    >>> mse_loss = torch.nn.functional.mse_loss
    >>> influence = InfluenceModel(model, mse_loss, DenseInverse(), regularization=0)
    >>> change = leave_one_out_changes(influence.fit([(x, y)]), x[1:], y[1:], x[:1], y[:1])
    >>> round(change.item(), 3)
    -1.28
    """
    factors = influence.influence_factors(x_test, y_test)
    batch = influence.batch(x, y, "the training points")
    pieces = [
        factors @ change.T / influence.n_train for change in _parameter_changes(influence, batch)
    ]
    return torch.cat(pieces, dim=1)


def _parameter_changes(influence: InfluenceModel, batch: Batch) -> list[torch.Tensor]:
    """Return the gradients of points by the parameters, each grown by its own leverage."""
    changes = []
    for part in output_derivatives(
        influence.objective, batch, memory_budget=influence.memory_budget
    ):
        b, c, p = part.jacobian.shape
        solved = influence.solved(part.jacobian.reshape(b * c, p)).view(b, c, p)
        hat = part.jacobian @ solved.transpose(1, 2) / influence.n_train
        left = torch.eye(c, dtype=hat.dtype, device=hat.device) - part.inner @ hat
        leverage = 1.0 - torch.linalg.eigvals(left).real.amin(dim=1)
        if (leverage >= 1.0).any():
            raise IndefiniteCurvatureError(
                f"{int((leverage >= 1.0).sum())} training points have a leverage of 1 or more: the "
                "others do not determine the parameters without them; use a larger regularization"
            )
        slope = torch.linalg.solve(left, part.slope[:, :, None])
        changes.append((part.jacobian.transpose(1, 2) @ slope)[:, :, 0])
    return changes
