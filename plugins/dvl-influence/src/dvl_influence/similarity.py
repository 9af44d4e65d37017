"""Scores from gradients alone: their inner products, and the cosines between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from dvl_influence.attribution import AttributionModel
from dvl_influence.blocks import BlockStructure
from dvl_influence.data import Adapter, Batch
from dvl_influence.memory import DEFAULT_BUDGET
from dvl_influence.model import InfluenceModel
from dvl_influence.objective import Loss

__all__ = ["GradientCosineInfluence", "GradientDotInfluence"]


class GradientDotInfluence(InfluenceModel):
    """Inner products of gradients: ``s[q, i] = grad L_q . grad L_i``.

    By how much one step of gradient descent on training point i, of length 1, lowers the loss of
    test point q. The baseline for all other methods, and what is left of lambda times an influence
    if lambda is very large.

    Parameters
    ----------
    model : torch.nn.Module
        Trained; it is left as it is.
    loss : callable
        ``loss(output, target)``, a scalar, the mean over the batch.
    blocks : str or dict
        For `influences_by_block`; a dictionary of names of blocks with the names of their
        parameters leaves all other parameters out.
    adapter : callable, optional
        Turns what loaders yield into (x, y), for batches that are no pairs.
    dtype : torch.dtype, optional
        Precision of all computations; None: the model's.
    memory_budget : int
        Bytes that intermediate results may take.

    References
    ----------
    Charpiat et al., Input similarity from the neural network perspective, NeurIPS 2019, section 2.

    Examples
    --------
    >>> x = torch.tensor([[1.0], [2.0]])
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> _ = torch.nn.init.zeros_(model.weight)
    >>> dot = GradientDotInfluence(model, torch.nn.functional.mse_loss).fit([(x, x)])
    >>> dot.influences(x, x)
    tensor([[ 4., 16.],
            [16., 64.]])
    """

    def __init__(
        self,
        model: torch.nn.Module,
        loss: Loss,
        *,
        blocks: BlockStructure = "full",
        adapter: Adapter | None = None,
        dtype: torch.dtype | None = None,
        memory_budget: int = DEFAULT_BUDGET,
    ) -> None:
        super().__init__(
            model,
            loss,
            "identity",
            blocks=blocks,
            adapter=adapter,
            dtype=dtype,
            memory_budget=memory_budget,
        )

    @property
    def report(self) -> dict[str, Any]:
        """What was done, ready for JSON: method, sizes and precision."""
        objective = self.objective
        return {
            "method": type(self).__name__,
            "n_train": self.n_train,
            "n_parameters": objective.size,
            "precision": str(objective.dtype),
        }


class GradientCosineInfluence(GradientDotInfluence):
    """Cosines between gradients: ``s[q, i] = grad L_q . grad L_i / (|grad L_q| |grad L_i|)``.

    Between -1 and 1, so that points with large losses do not outweigh all others; 0 where a
    gradient is zero. The influence of a point on itself is 1. There is no
    ``mode="perturbation"``. Options are those of `GradientDotInfluence`.

    References
    ----------
    Charpiat et al., Input similarity from the neural network perspective, NeurIPS 2019, section 2.

    Examples
    --------
    >>> x = torch.tensor([[1.0], [-2.0]])
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> _ = torch.nn.init.zeros_(model.weight)
    >>> cosine = GradientCosineInfluence(model, torch.nn.functional.mse_loss)
    >>> cosine.fit([(x, x.abs())]).influences(x, x.abs())
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """

    def train_vectors(self, batch: Batch) -> Iterator[torch.Tensor]:
        """Yield the gradients [., p] divided by their norms."""
        return (_normalized(part) for part in super().train_vectors(batch))

    def _perturbation(self, factors: torch.Tensor, batch: Batch) -> torch.Tensor:
        return AttributionModel._perturbation(self, factors, batch)


def _normalized(vectors: torch.Tensor) -> torch.Tensor:
    """Return vectors of length 1; zeros stay zeros, and no length overflows or vanishes."""
    largest = vectors.abs().amax(dim=1, keepdim=True)
    scaled = vectors / torch.where(largest > 0, largest, 1)
    norms = torch.linalg.vector_norm(scaled, dim=1, keepdim=True)
    return scaled / torch.where(norms > 0, norms, 1)
