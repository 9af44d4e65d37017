"""Influence functions with a sketch of the curvature."""

from __future__ import annotations

import torch

from dvl_influence.blocks import BlockStructure
from dvl_influence.curvature import CurvatureKind
from dvl_influence.data import Adapter
from dvl_influence.memory import DEFAULT_BUDGET
from dvl_influence.model import InfluenceModel
from dvl_influence.objective import Loss
from dvl_influence.regularization import Regularization
from dvl_nystroem.approximator import NystroemApproximator

__all__ = ["NystroemSketchInfluence"]


class NystroemSketchInfluence(InfluenceModel):
    """Influence functions with a randomised sketch of the curvature, see `NystroemApproximator`.

    Parameters
    ----------
    model : torch.nn.Module
        Trained; it is left as it is.
    loss : callable
        ``loss(output, target)``, a scalar, the mean over the batch.
    regularization : float, dict or "auto"
        lambda: one number, one per block by name, or ``"auto"``: derived from the curvature, and
        told by `report`.
    curvature : str, optional
        ``"hessian"``, ``"ggn"`` or ``"empirical-fisher"``; None: ``"ggn"``.
    blocks : str or dict
        ``"full"``, ``"layer"``, ``"parameter"``, or names of blocks with the names of their
        parameters: diagonal blocks that are inverted on their own.
    adapter : callable, optional
        Turns what loaders yield into (x, y), for batches that are no pairs.
    dtype : torch.dtype, optional
        Precision of all computations; None: the model's.
    memory_budget : int
        Bytes that intermediate results may take.
    rank, seed
        As for `NystroemApproximator`.

    Examples
    --------
    >>> x = torch.linspace(-1, 1, 8, dtype=torch.float64)[:, None]
    >>> model = torch.nn.Linear(1, 1).double()
    >>> influence = NystroemSketchInfluence(model, torch.nn.functional.mse_loss, regularization=0.1)
    >>> influence.fit([(x, x)]).influences(x[:3], x[:3], x, x).shape
    torch.Size([3, 8])
    """

    def __init__(
        self,
        model: torch.nn.Module,
        loss: Loss,
        *,
        regularization: Regularization = "auto",
        curvature: CurvatureKind | None = None,
        blocks: BlockStructure = "full",
        adapter: Adapter | None = None,
        dtype: torch.dtype | None = None,
        memory_budget: int = DEFAULT_BUDGET,
        rank: int = 100,
        seed: int = 0,
    ) -> None:
        approximator = NystroemApproximator(
            rank=rank,
            seed=seed,
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
