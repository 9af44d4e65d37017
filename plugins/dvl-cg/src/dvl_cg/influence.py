"""Influence functions with conjugate gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch

from dvl_cg.approximator import CgApproximator
from dvl_cg.preconditioners import Preconditioner
from dvl_core.protocols import InverseHessianApproximator
from dvl_influence.blocks import BlockStructure
from dvl_influence.curvature import CurvatureKind
from dvl_influence.data import Adapter
from dvl_influence.memory import DEFAULT_BUDGET
from dvl_influence.model import InfluenceModel
from dvl_influence.objective import Loss
from dvl_influence.regularization import Regularization

__all__ = ["CgInfluence"]


class CgInfluence(InfluenceModel):
    """Influence functions that solve with the exact curvature, by block conjugate gradients.

    Factors of all test points of a call are solved for together. See `CgApproximator`.

    Parameters
    ----------
    model : torch.nn.Module
        Trained; in eval mode if it has dropout or batch normalisation.
    loss : callable
        ``loss(output, target)``, a scalar, the mean over the batch.
    regularization : float, dict or "auto"
        lambda, one for each block by name, or derived from the curvature.
    curvature : str
        ``"hessian"``, ``"ggn"`` or ``"empirical-fisher"``.
    blocks : str or dict
        ``"full"``, ``"layer"``, ``"parameter"``, or names of blocks with names of parameters.
    adapter : callable, optional
        Turns what loaders yield into (x, y).
    dtype : torch.dtype, optional
        Precision of all computations; None: the model's.
    memory_budget : int
        Bytes that intermediate results may take.
    rtol : float, optional
        Relative residual to be reached; None: 1e-8 in double, 1e-4 in single precision.
    atol : float
        Residual that is small enough, whatever the gradient.
    maxiter : int
        Iterations at most.
    block_size : int, optional
        Right-hand sides that are solved together; None: all of a call.
    preconditioner : str, dict or object, optional
        ``"jacobi"``, ``"nystroem"``, the name of an inverse-hessian such as ``"ekfac"``, or an
        object.
    indefinite : str
        ``"refuse"`` or ``"stop"`` where curvature is not positive.
    dense_up_to : int
        Largest number of parameters for which the matrix is formed once that costs less.

    Examples
    --------
    >>> x = torch.linspace(-1, 1, 8, dtype=torch.float64)[:, None]
    >>> model = torch.nn.Linear(1, 1).double()
    >>> influence = CgInfluence(model, torch.nn.functional.mse_loss, regularization=0.1)
    >>> influence.fit([(x, x)]).influences(x[:3], x[:3], x, x).shape
    torch.Size([3, 8])
    """

    def __init__(
        self,
        model: torch.nn.Module,
        loss: Loss,
        *,
        regularization: Regularization = "auto",
        curvature: CurvatureKind = "hessian",
        blocks: BlockStructure = "full",
        adapter: Adapter | None = None,
        dtype: torch.dtype | None = None,
        memory_budget: int = DEFAULT_BUDGET,
        rtol: float | None = None,
        atol: float = 0.0,
        maxiter: int = 1000,
        block_size: int | None = None,
        preconditioner: str
        | Mapping[str, Any]
        | Preconditioner
        | InverseHessianApproximator
        | None = None,
        indefinite: Literal["refuse", "stop"] = "refuse",
        dense_up_to: int = 8192,
    ) -> None:
        approximator = CgApproximator(
            rtol=rtol,
            atol=atol,
            maxiter=maxiter,
            block_size=block_size,
            preconditioner=preconditioner,
            indefinite=indefinite,
            dense_up_to=dense_up_to,
        )
        super().__init__(
            model,
            loss,
            approximator,
            regularization=regularization,
            curvature=curvature,
            blocks=blocks,
            adapter=adapter,
            dtype=dtype,
            memory_budget=memory_budget,
        )
