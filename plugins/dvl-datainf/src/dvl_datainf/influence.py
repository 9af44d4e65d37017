"""Influence functions with DataInf, layer by layer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch

from dvl_core.protocols import Solution
from dvl_datainf.approximator import DataInfApproximator, Part, mean_of_inverses
from dvl_datainf.layer_products import layer_products
from dvl_influence.attribution import Mode
from dvl_influence.blocks import BlockStructure
from dvl_influence.data import Adapter
from dvl_influence.memory import DEFAULT_BUDGET
from dvl_influence.model import InfluenceModel
from dvl_influence.objective import Loss
from dvl_influence.regularization import Regularization
from dvl_influence.trees import Tree

__all__ = ["DataInfInfluence"]


class DataInfInfluence(InfluenceModel):
    """Influence functions with a mean of inverses of rank one, see `DataInfApproximator`.

    Parameters
    ----------
    model : torch.nn.Module
        Trained; it is left as it is.
    loss : callable
        ``loss(output, target)``, a scalar, the mean over the batch.
    regularization : float, dict or "auto"
        lambda > 0: one number, one per block by name, or ``"auto"``: a tenth of the mean squared
        gradient entry of the block, told by `report`.
    curvature : str, optional
        ``"empirical-fisher"``, the only one it can take.
    blocks : str or dict
        ``"layer"``, as in the paper; ``"full"``, ``"parameter"``, or names of blocks with the names
        of their parameters.
    adapter : callable, optional
        Turns what loaders yield into (x, y), for batches that are no pairs.
    dtype : torch.dtype, optional
        Precision of all computations; None: the model's.
    memory_budget : int
        Bytes that intermediate results may take. If the gradients of all training points fit, they
        are computed once; else once for every group of test points that fits.

    References
    ----------
    Kwon et al., DataInf: Efficiently estimating data influence in LoRA-tuned LLMs and diffusion
    models, ICLR 2024, section 3.

    Examples
    --------
    >>> x = torch.linspace(-1, 1, 8, dtype=torch.float64)[:, None]
    >>> model = torch.nn.Linear(1, 1).double()
    >>> influence = DataInfInfluence(model, torch.nn.functional.mse_loss).fit([(x, x)])
    >>> influence.influences(x[:3], x[:3], x, x).shape
    torch.Size([3, 8])
    """

    def __init__(
        self,
        model: torch.nn.Module,
        loss: Loss,
        *,
        regularization: Regularization = "auto",
        curvature: Literal["empirical-fisher"] | None = None,
        blocks: BlockStructure = "layer",
        adapter: Adapter | None = None,
        dtype: torch.dtype | None = None,
        memory_budget: int = DEFAULT_BUDGET,
    ) -> None:
        super().__init__(
            model,
            loss,
            DataInfApproximator(),
            regularization=regularization,
            curvature=curvature,
            blocks=blocks,
            adapter=adapter,
            dtype=dtype,
            memory_budget=memory_budget,
        )

    def influences(
        self,
        x_test: Tree,
        y_test: Tree,
        x: Tree | None = None,
        y: Tree | None = None,
        mode: Mode = "up",
    ) -> torch.Tensor:
        """Return the influences of training points on test points.

        From inner products of gradients by layer, without forming gradients, where that takes less
        work and blocks consist of whole layers; the numbers are the same up to rounding.

        Parameters
        ----------
        x_test, y_test : tensor, tuple or dictionary of tensors
            n_test points.
        x, y : tensor, tuple or dictionary of tensors, optional
            n_train points; None: the test points, on each other.
        mode : str
            ``"up"``: scores [n_test, n_train]; ``"perturbation"``: their gradients by x
            [n_test, n_train, *features].
        """
        products = layer_products(self.fitted) if mode == "up" else None
        if products:
            test = self.batch(x_test, y_test, "the test points")
            train = test if x is None else self.batch(x, y, "the training points")
            if products.pays(test.n_points, train.n_points):
                return products.scores(test, train)
        return super().influences(x_test, y_test, x, y, mode)

    def self_influences(self, loader: Iterable[Any]) -> torch.Tensor:
        """Return the influence of each point on itself [n], as `influences` does."""
        products = layer_products(self.fitted)
        if not products:
            return super().self_influences(loader)
        found = [
            products.self_scores(batch)
            if products.pays(batch.n_points, 0)
            else self._self_influences(batch)
            for batch in self._batches(loader)
        ]
        return torch.cat(found)

    def solve(self, vectors: torch.Tensor) -> dict[str, Solution]:
        """Return the solutions by block; one pass over the training points serves all blocks."""
        blocks = list(self.fitted.values())
        parts = [Part(b.positions, vectors[:, b.positions], b.state.damping) for b in blocks]
        values = mean_of_inverses(blocks[0].state.gradients.whole, parts)
        return {
            name: self.approximator.solution(block.state, part.rhs, value)
            for (name, block), part, value in zip(self.fitted.items(), parts, values, strict=True)
        }
