"""What is propagated back for the Fisher matrix: vectors whose outer products add up to S.

S is the second derivative of the loss of a point by the output [c, c]. For cross-entropy, squared
errors and binary cross-entropy it is known, for other losses it is computed by differentiation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.func import hessian, vmap
from torch.nn import functional

from dvl_influence.data import Batch
from dvl_influence.errors import IndefiniteCurvatureError, ModelError
from dvl_influence.objective import Loss, Objective, explained
from dvl_influence.trees import map_tree

__all__ = ["Cotangents", "Fisher", "Sampler"]

Fisher = Literal["exact", "sampled", "empirical"]

Sampler = Callable[[torch.Tensor, torch.Generator], Any]
"""sampler(output, generator) -> targets drawn from what the model predicts."""

Family = Literal["classes", "squares", "bits"]


@dataclass
class Cotangents:
    """Vectors [b, *output] for the points of a batch, whose outer products sum to an estimate of S.

    Parameters
    ----------
    objective : Objective
        Model and loss.
    fisher : str
        ``"exact"``: the columns of a root of S; ``"sampled"``: gradients by the output for targets
        drawn from the prediction, an unbiased estimate; ``"empirical"``: for the true targets.
    n_samples : int
        Targets drawn for each point.
    seed : int
        Of the draws.
    sampler : callable, optional
        Draws targets; None: by the distribution that belongs to the loss, and for a loss that is
        not known here random signs times a root of S.
    """

    objective: Objective
    fisher: Fisher
    n_samples: int
    seed: int
    sampler: Sampler | None

    def __post_init__(self) -> None:
        self._family = _family(self.objective.loss)
        self._rng = np.random.default_rng(self.seed)
        self._generator = torch.Generator(self.objective.device).manual_seed(self.seed)

    def of(self, output: Any, batch: Batch) -> Iterator[torch.Tensor]:
        """Yield the vectors for the output of the model for a batch.

        Raises
        ------
        ModelError
            If the output is not one tensor.
        IndefiniteCurvatureError
            If S has a negative eigenvalue.
        """
        if not isinstance(output, torch.Tensor):
            raise ModelError(
                f"the model returns a {type(output).__name__}; EK-FAC differentiates the loss by "
                "the output and needs one tensor: wrap the model so that it returns the one that "
                "the loss takes"
            )
        output = output.detach()
        if self.fisher == "empirical":
            yield self._slope(output, batch.y)
        elif self.fisher == "exact":
            yield from self._columns(output, batch)
        elif self.sampler is not None:
            for _ in range(self.n_samples):
                targets = self.sampler(output, self._generator)
                yield self._slope(output, targets) / math.sqrt(self.n_samples)
        else:
            yield from self._draws(output, batch)

    def _slope(self, output: torch.Tensor, targets: Any) -> torch.Tensor:
        """Return the gradients of the losses of the points by their outputs."""
        with torch.enable_grad(), explained("the gradient of the loss by the output"):
            leaf = output.clone().requires_grad_()
            (slope,) = torch.autograd.grad(self.objective.loss(leaf, targets), leaf)
        return slope * len(output)

    def _columns(self, output: torch.Tensor, batch: Batch) -> Iterator[torch.Tensor]:
        """Yield the columns of a root of S."""
        n, c = len(output), output[0].numel()
        if self._family == "classes":
            p = (
                output.softmax(dim=1).flatten(2)
                if output.ndim > 2
                else output.softmax(1)[..., None]
            )
            root = p.sqrt() / math.sqrt(p.shape[2])
            for place in range(p.shape[2]):
                for k in range(p.shape[1]):
                    column = torch.zeros_like(p)
                    column[:, :, place] = -root[:, None, k, place] * p[:, :, place]
                    column[:, k, place] += root[:, k, place]
                    yield column.view_as(output)
            return
        if self._family is None:
            roots = self._root(output, batch)
            for k in range(c):
                yield roots[:, :, k].reshape(output.shape)
            return
        diagonal = self._diagonal(output).reshape(n, c)
        for k in range(c):
            column = torch.zeros_like(diagonal)
            column[:, k] = diagonal[:, k]
            yield column.view_as(output)

    def _draws(self, output: torch.Tensor, batch: Batch) -> Iterator[torch.Tensor]:
        """Yield random vectors of which S is the expected sum of outer products.

        Drawn point by point in their order, so that batches change nothing.
        """
        n, scale = len(output), math.sqrt(self.n_samples)
        if self._family == "classes":
            p = output.softmax(dim=1).movedim(1, -1)
            places = p[0, ..., 0].numel()
            u = self._like(self._rng.random((n, self.n_samples, *p.shape[1:-1])), output)
            edges = p.cumsum(dim=-1)
            for k in range(self.n_samples):
                drawn = (u[:, k, ..., None] * edges[..., -1:] >= edges).sum(dim=-1)
                classes = functional.one_hot(drawn.clamp(max=p.shape[-1] - 1), p.shape[-1])
                yield ((p - classes) / math.sqrt(places)).movedim(-1, 1) / scale
        elif self._family == "squares":
            noise = self._rng.standard_normal((n, self.n_samples, *output.shape[1:]))
            factor = self._diagonal(output) / scale
            for k in range(self.n_samples):
                yield factor * self._like(noise[:, k], output)
        elif self._family == "bits":
            u = self._like(self._rng.random((n, self.n_samples, *output.shape[1:])), output)
            p, size = output.sigmoid(), math.sqrt(output[0].numel())
            for k in range(self.n_samples):
                yield (p - (u[:, k] < p).to(p.dtype)) / (size * scale)
        else:
            roots = self._root(output, batch)
            signs = self._rng.choice([-1.0, 1.0], (n, self.n_samples, roots.shape[2], 1))
            for k in range(self.n_samples):
                yield (roots @ self._like(signs[:, k], output)).reshape(output.shape) / scale

    def _diagonal(self, output: torch.Tensor) -> torch.Tensor:
        """Return the root of a diagonal S: of squared errors, or of binary cross-entropy."""
        c = output[0].numel()
        if self._family == "squares":
            return torch.full_like(output, math.sqrt(2.0 / c))
        p = output.sigmoid()
        return (p * (1.0 - p) / c).sqrt()

    def _root(self, output: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return a root of S [b, c, c], of a loss of which nothing is known."""
        shape = output[:1].shape

        def loss(out: torch.Tensor, y: Any) -> torch.Tensor:
            return self.objective.loss(out.view(shape), map_tree(lambda t: t.unsqueeze(0), y))

        with explained("the second derivative of the loss by the output"):
            inner = vmap(hessian(loss))(output.flatten(1), batch.y).detach()
            inner = inner.view(len(output), output[0].numel(), -1)
        if not torch.isfinite(inner).all():
            raise ModelError("the second derivative of the loss by the output is not finite")
        values, vectors = torch.linalg.eigh((inner + inner.transpose(1, 2)) / 2)
        size = float(values.abs().max())
        if float(values.min()) < -1e3 * torch.finfo(values.dtype).eps * size:
            raise IndefiniteCurvatureError(
                "the second derivative of the loss by the output has the negative eigenvalue "
                f"{float(values.min()):.3g}: the loss is not convex in the output, and its Fisher "
                "matrix no sum of squares; use fisher='empirical', or a sampler with "
                "fisher='sampled'"
            )
        return vectors * values.clamp(min=0.0).sqrt()[:, None, :]

    def _like(self, numbers: Any, output: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(numbers, dtype=output.dtype, device=output.device)


def _family(loss: Loss) -> Family | None:
    """Return which of the losses with known second derivatives a loss is, if any."""
    plain = getattr(loss, "reduction", None) == "mean" and getattr(loss, "weight", None) is None
    if loss is functional.cross_entropy or (isinstance(loss, nn.CrossEntropyLoss) and plain):
        return "classes"
    if loss is functional.mse_loss or (isinstance(loss, nn.MSELoss) and plain):
        return "squares"
    if loss is functional.binary_cross_entropy_with_logits:
        return "bits"
    if isinstance(loss, nn.BCEWithLogitsLoss) and plain and loss.pos_weight is None:
        return "bits"
    return None
