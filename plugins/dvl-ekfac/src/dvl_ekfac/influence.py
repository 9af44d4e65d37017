"""Influence functions with Kronecker-factored curvature."""

from __future__ import annotations

from typing import Literal

import torch

from dvl_ekfac.approximator import EkfacApproximator
from dvl_ekfac.cotangents import Fisher, Sampler
from dvl_influence.blocks import BlockStructure
from dvl_influence.curvature import CurvatureKind
from dvl_influence.data import Adapter
from dvl_influence.memory import DEFAULT_BUDGET
from dvl_influence.model import InfluenceModel
from dvl_influence.objective import Loss
from dvl_influence.regularization import Regularization
from dvl_influence.trees import Tree

__all__ = ["EkfacInfluence"]


class EkfacInfluence(InfluenceModel):
    """Influence functions with Kronecker factors by layer, see `EkfacApproximator`.

    Parameters
    ----------
    model : torch.nn.Module
        Trained; in eval mode if it has dropout or batch normalisation. It is left as it is.
    loss : callable
        ``loss(output, target)``, a scalar, the mean over the batch.
    regularization : float, dict or "auto"
        lambda: one number, one per block by name, or ``"auto"``: a tenth of the mean eigenvalue,
        told by `report`. `with_regularization` tries others without another pass over the data.
    curvature : str, optional
        ``"ggn"``, or ``"empirical-fisher"``; ``"hessian"`` changes only what residuals refer to.
    blocks : str or dict
        ``"full"``: layers are blocks in any case; others for a regularization of their own, at the
        price of a pass for each.
    adapter : callable, optional
        Turns what loaders yield into (x, y), for batches that are no pairs.
    dtype : torch.dtype, optional
        Precision of all computations; None: the model's.
    memory_budget : int
        Bytes that intermediate results may take.
    factors, fisher, n_samples, seed, sampler, unsupported, damping : optional
        See `EkfacApproximator`.

    References
    ----------
    Grosse et al., Studying large language model generalization with influence functions, 2023,
    section 3.2.

    Examples
    --------
    >>> x = torch.linspace(-1, 1, 8, dtype=torch.float64)[:, None]
    >>> model = torch.nn.Linear(1, 1).double()
    >>> influence = EkfacInfluence(model, torch.nn.functional.mse_loss).fit([(x, x)])
    >>> influence.influences(x[:3], x[:3], x, x).shape
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
        factors: Literal["ekfac", "kfac"] = "ekfac",
        fisher: Fisher | None = None,
        n_samples: int = 1,
        seed: int = 0,
        sampler: Sampler | None = None,
        unsupported: Literal["refuse", "leave-out"] = "refuse",
        damping: Literal["global", "per-layer"] = "global",
    ) -> None:
        approximator = EkfacApproximator(
            factors=factors,
            fisher=fisher,
            n_samples=n_samples,
            seed=seed,
            sampler=sampler,
            unsupported=unsupported,
            damping=damping,
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

    def influences_by_layer(
        self, x_test: Tree, y_test: Tree, x: Tree | None = None, y: Tree | None = None
    ) -> dict[str, torch.Tensor]:
        """Return each layer's part of the influences [n_test, n_train]; they add up to them.

        Parameters
        ----------
        x_test, y_test : tensor, tuple or dictionary of tensors
            n_test points.
        x, y : tensor, tuple or dictionary of tensors, optional
            n_train points; None: the test points, on each other.
        """
        factors = self.influence_factors(x_test, y_test)
        batch = self.batch(*((x_test, y_test) if x is None else (x, y)), "the training points")
        where = {
            layer: block.positions[positions]
            for block in self.fitted.values()
            for layer, positions in self.approximator.blocks(block.state).items()
        }
        scores: dict[str, list[torch.Tensor]] = {layer: [] for layer in where}
        for part in self.train_vectors(batch):
            for layer, own in where.items():
                scores[layer].append(factors[:, own] @ part[:, own].T)
        return {layer: torch.cat(parts, dim=1) for layer, parts in scores.items()}
