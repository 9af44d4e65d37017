"""Inner products of gradients, summed over checkpoints of the training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from numbers import Real
from typing import Any, Self

import torch

from dvl_core.errors import InvalidOptionError, NotFittedError
from dvl_influence.attribution import AttributionModel
from dvl_influence.checkpoints import Checkpoint, objectives_at
from dvl_influence.data import Adapter, Batch, Points
from dvl_influence.gradient_rows import gradient_pieces
from dvl_influence.gradients import mixed_derivatives
from dvl_influence.loss_check import check_loss
from dvl_influence.memory import DEFAULT_BUDGET, share
from dvl_influence.objective import Loss, Objective
from dvl_influence.state_files import parameter_digest
from dvl_influence.trees import rows

__all__ = ["TracInInfluence"]


class TracInInfluence(AttributionModel):
    """TracIn: ``s[q, i] = sum_t eta_t grad L_q(theta_t) . grad L_i(theta_t)`` over checkpoints t.

    Approximates by how much the steps that training took on point i lowered the loss of test point
    q, from the parameters and learning rates at some times of the training.

    Parameters
    ----------
    model : torch.nn.Module
        Says what to compute; its own parameters play no part. It is left as it is.
    loss : callable
        ``loss(output, target)``, a scalar, the mean over the batch.
    checkpoints : sequence of dict or path
        ``model.state_dict()`` at some times of training, or the paths of safetensors files with
        them.
    learning_rates : float or sequence of float
        eta_t > 0 at each checkpoint, or the same for all.
    adapter : callable, optional
        Turns what loaders yield into (x, y), for batches that are no pairs.
    dtype : torch.dtype, optional
        Precision of all computations; None: the model's.
    memory_budget : int
        Bytes that intermediate results may take. Factors of test points take as many numbers as
        all checkpoints have parameters.

    Raises
    ------
    InvalidOptionError
        If there is no checkpoint, or learning rates are not positive or not as many.
    DataError
        If a checkpoint is of another model, cannot be read or is not finite.

    References
    ----------
    Pruthi et al., Estimating training data influence by tracing gradient descent, NeurIPS 2020,
    section 3.3 (TracInCP).

    Examples
    --------
    >>> x = torch.tensor([[1.0], [2.0]])
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> states = [{"weight": torch.tensor([[0.0]])}, {"weight": torch.tensor([[1.0]])}]
    >>> tracin = TracInInfluence(
    ...     model, torch.nn.functional.mse_loss, checkpoints=states, learning_rates=[0.25, 0.5]
    ... )
    >>> tracin.fit([(x, x)]).influences(x, x)
    tensor([[ 1.,  4.],
            [ 4., 16.]])
    """

    def __init__(
        self,
        model: torch.nn.Module,
        loss: Loss,
        *,
        checkpoints: Sequence[Checkpoint],
        learning_rates: float | Sequence[float],
        adapter: Adapter | None = None,
        dtype: torch.dtype | None = None,
        memory_budget: int = DEFAULT_BUDGET,
    ) -> None:
        self.adapter = adapter
        self.memory_budget = memory_budget
        self._objectives = objectives_at(Objective(model, loss, dtype=dtype), checkpoints)
        self.learning_rates = _checked_rates(learning_rates, len(self._objectives))
        self._n_train = 0

    def fit(self, train_loader: Iterable[Any]) -> Self:
        """Check the training points and the loss; there is nothing to learn from them."""
        first = self._objectives[0]
        points = Points(train_loader, first.device, first.dtype, adapter=self.adapter)
        check_loss(first, next(iter(points)))
        self._n_train = points.n_points
        return self

    @property
    def objective(self) -> Objective:
        """Model and loss at the last checkpoint, after `fit`."""
        if not self._n_train:
            raise NotFittedError("TracInInfluence is not fitted yet: call fit(train_loader)")
        return self._objectives[-1]

    @property
    def report(self) -> dict[str, Any]:
        """What was done, ready for JSON; each checkpoint by a digest of its parameters."""
        return {
            "method": type(self).__name__,
            "learning_rates": self.learning_rates,
            "checkpoints": [parameter_digest(there) for there in self._objectives],
            "n_train": self._n_train,
            "n_parameters": self.objective.size,
            "precision": str(self.objective.dtype),
        }

    def train_vectors(self, batch: Batch) -> Iterator[torch.Tensor]:
        """Yield ``sqrt(eta_t) grad L`` of all checkpoints side by side [., checkpoints x p]."""
        objective = self.objective
        each = 2 * objective.size * objective.vector.element_size() * len(self._objectives)
        step = share(self.memory_budget, each)
        for start in range(0, batch.n_points, step):
            part = slice(start, start + step)
            yield self._side_by_side(Batch(rows(batch.x, part), rows(batch.y, part)))

    def _side_by_side(self, batch: Batch) -> torch.Tensor:
        """Return the scaled gradients of all points of a small batch."""
        return torch.cat(
            [
                rate**0.5
                * torch.cat(list(gradient_pieces(there, batch, memory_budget=self.memory_budget)))
                for there, rate in zip(self._objectives, self.learning_rates, strict=True)
            ],
            dim=1,
        )

    def _perturbation(self, factors: torch.Tensor, batch: Batch) -> torch.Tensor:
        by_checkpoint = torch.split(factors, self.objective.size, dim=1)
        total = torch.zeros((), dtype=factors.dtype, device=factors.device)
        for there, rate, own in zip(
            self._objectives, self.learning_rates, by_checkpoint, strict=True
        ):
            derivatives = mixed_derivatives(
                there, own.contiguous(), batch, memory_budget=self.memory_budget
            )
            total = total + rate**0.5 * derivatives
        return total


def _checked_rates(rates: Any, count: int) -> list[float]:
    """Return one learning rate for each checkpoint."""
    each = [rates] * count if isinstance(rates, Real) else list(rates)
    if len(each) != count:
        raise InvalidOptionError(
            f"there are {len(each)} learning_rates for {count} checkpoints: give one for each"
        )
    for rate in each:
        if isinstance(rate, bool) or not isinstance(rate, Real) or not 0.0 < float(rate) < math.inf:
            raise InvalidOptionError(f"a learning rate is {rate!r}: it must be a positive number")
    return [float(rate) for rate in each]
