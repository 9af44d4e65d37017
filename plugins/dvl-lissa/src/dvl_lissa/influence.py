"""Influence functions with LiSSA."""

from __future__ import annotations

import torch

from dvl_influence.blocks import BlockStructure
from dvl_influence.curvature import CurvatureKind
from dvl_influence.data import Adapter
from dvl_influence.memory import DEFAULT_BUDGET
from dvl_influence.model import InfluenceModel
from dvl_influence.objective import Loss
from dvl_influence.regularization import Regularization
from dvl_lissa.approximator import LissaApproximator

__all__ = ["LissaInfluence"]


class LissaInfluence(InfluenceModel):
    """Influence functions by the Neumann recursion, with all points or random mini-batches.

    See `LissaApproximator`.

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
    depth : int
        Steps at most; with `batch_size`, steps of each run.
    repeats : int
        Runs with other random mini-batches, averaged.
    batch_size : int, optional
        Training points in a mini-batch; None: all of them at every step.
    averaged : float
        Share of the last iterates of a run that are averaged.
    rtol : float
        Relative error to be reached.
    scale : float, optional
        None: 1.1 times the estimate of the largest eigenvalue.
    power_iterations : int
        Products to estimate the largest eigenvalue with.
    seed : int
        Of the mini-batches.

    Examples
    --------
    >>> x = torch.linspace(-1, 1, 8, dtype=torch.float64)[:, None]
    >>> model = torch.nn.Linear(1, 1).double()
    >>> influence = LissaInfluence(model, torch.nn.functional.mse_loss, regularization=0.1)
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
        depth: int = 2000,
        repeats: int = 4,
        batch_size: int | None = None,
        averaged: float = 0.5,
        rtol: float = 1e-3,
        scale: float | None = None,
        power_iterations: int = 20,
        seed: int = 0,
    ) -> None:
        approximator = LissaApproximator(
            depth=depth,
            repeats=repeats,
            batch_size=batch_size,
            averaged=averaged,
            rtol=rtol,
            scale=scale,
            power_iterations=power_iterations,
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
