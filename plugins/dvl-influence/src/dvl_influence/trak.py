"""TRAK: influences on a projected, linearised model, averaged over checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal, Self

import torch
from torch.nn.functional import softplus

from dvl_core.errors import InvalidOptionError, NotFittedError
from dvl_influence.attribution import AttributionModel
from dvl_influence.checkpoints import Checkpoint, objectives_at
from dvl_influence.data import Adapter, Batch, Points
from dvl_influence.errors import IndefiniteCurvatureError, ModelError
from dvl_influence.gradient_rows import gradient_pieces
from dvl_influence.loss_check import CHECKED_POINTS, check_loss
from dvl_influence.memory import DEFAULT_BUDGET, share
from dvl_influence.objective import Loss, Objective, explained
from dvl_influence.projection import RandomProjection
from dvl_influence.regularization import per_block
from dvl_influence.state_files import parameter_digest
from dvl_influence.trees import rows

__all__ = ["TrakInfluence", "log_odds"]


SHARE_OF_MEAN = 0.1
"""Of the mean eigenvalue of a kernel."""


def log_odds(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return ``log(p / (1 - p))`` of the right class, the mean over the points.

    Parameters
    ----------
    output : float tensor [b, n_classes], or [b] or [b, 1] for two classes
        Logits.
    target : tensor [b]
        Classes; 0 or 1 for a single logit.

    Examples
    --------
    >>> log_odds(torch.tensor([[1.0, 3.0]]), torch.tensor([1]))
    tensor(2.)
    """
    return _log_odds_of_points(output, target).mean()


def _log_odds_of_points(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the log-odds [b]."""
    if not isinstance(output, torch.Tensor) or output.ndim > 2:
        what = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        raise ModelError(
            f"output='log-odds' needs a model that puts out logits [b, n_classes], not {what}; use "
            "output='loss'"
        )
    if output.ndim < 2 or output.shape[1] == 1:
        return output.reshape(-1) * (2 * target.reshape(-1) - 1)
    right = torch.arange(output.shape[1], device=output.device) == target.reshape(-1, 1)
    others = output.masked_fill(right, -torch.inf).logsumexp(dim=1)
    return output.masked_fill(~right, 0).sum(dim=1) - others


@dataclass(frozen=True)
class _Kernel:
    """What one checkpoint contributes: a projection, and the inverse of its kernel."""

    objective: Objective
    projection: RandomProjection | None
    factor: torch.Tensor
    """Cholesky factor of the mean of phi phi^T plus lambda I [k, k], double precision."""
    regularization: float

    def features(self, batch: Batch, memory_budget: int) -> torch.Tensor:
        """Return the projected gradients phi of points [b, k]."""
        return _features(self.objective, self.projection, batch, memory_budget)


class TrakInfluence(AttributionModel):
    """TRAK: influences on a linear model in random projections phi of the gradients.

    ``s[q, i] = mean_t [phi_q . (1/n sum_j phi_j phi_j^T + lambda I)^-1 phi_i] * mean_t [1 - p_i]``
    over checkpoints t, with phi the projected gradient of the output f = log(p / (1 - p)), and p
    the probability of the right class. Removing i changes f_q by about ``- s[q, i] / n``: n times
    the scores of the paper, for the sign and unit of all other methods here.

    Parameters
    ----------
    model : torch.nn.Module
        Trained; it is left as it is.
    loss : callable
        ``loss(output, target)``, a scalar, the mean over the batch.
    output : str
        ``"log-odds"``: f as above; the model puts out logits and `loss` is its cross-entropy.
        ``"loss"``: f is the loss, of any model, and the factor 1 - p is left out.
    checkpoints : sequence of dict or path, optional
        State dictionaries, or paths of safetensors files with them, of the same model trained
        several times; scores get better with their number. None: the model as it is.
    dim : int
        k, the dimension of the projections; with as many as parameters or more, nothing is
        projected.
    regularization : float or "auto"
        lambda; ``"auto"``: a tenth of the mean eigenvalue, of each checkpoint. With k > n points,
        or 0, the matrix may be singular, which is refused.
    seed : int
        Of the projections; each checkpoint has one of its own.
    adapter : callable, optional
        Turns what loaders yield into (x, y), for batches that are no pairs.
    dtype : torch.dtype, optional
        Precision of the gradients; None: the model's. Matrices are inverted in double precision.
    memory_budget : int
        Bytes that intermediate results may take.

    Raises
    ------
    InvalidOptionError
        If an option is not one of those above.
    DataError
        If a checkpoint is of another model, cannot be read or is not finite.

    References
    ----------
    Park et al., TRAK: Attributing model behavior at scale, ICML 2023, section 3.

    Examples
    --------
    >>> x, y = torch.eye(4), torch.tensor([0, 1, 2, 2])
    >>> trak = TrakInfluence(torch.nn.Linear(4, 3), torch.nn.functional.cross_entropy, dim=8)
    >>> trak.fit([(x, y)]).influences(x[:2], y[:2], x, y).shape
    torch.Size([2, 4])
    """

    def __init__(
        self,
        model: torch.nn.Module,
        loss: Loss,
        *,
        output: Literal["log-odds", "loss"] = "log-odds",
        checkpoints: Sequence[Checkpoint] | None = None,
        dim: int = 512,
        regularization: float | Literal["auto"] = "auto",
        seed: int = 0,
        adapter: Adapter | None = None,
        dtype: torch.dtype | None = None,
        memory_budget: int = DEFAULT_BUDGET,
    ) -> None:
        if output not in ("log-odds", "loss"):
            raise InvalidOptionError(f"output is {output!r}: it must be 'log-odds' or 'loss'")
        per_block(regularization, ["projected"])
        self.loss = loss
        self.output = output
        self.dim = _checked_dim(dim)
        self.regularization = regularization
        self.seed = seed
        self.adapter = adapter
        self.memory_budget = memory_budget
        objective = Objective(model, log_odds if output == "log-odds" else loss, dtype=dtype)
        every = [objective] if checkpoints is None else objectives_at(objective, checkpoints)
        self._objectives = every
        self._kernels: list[_Kernel] = []
        self._n_train = 0
        self._train_digest = ""

    def fit(self, train_loader: Iterable[Any]) -> Self:
        """Take the kernel of the projected gradients of the training points.

        Raises
        ------
        InvalidOptionError
            If `output` is "log-odds" and the loss is no cross-entropy.
        IndefiniteCurvatureError
            If the kernel is singular.
        """
        first = self._objectives[0]
        points = Points(train_loader, first.device, first.dtype, adapter=self.adapter)
        batch = next(iter(points))
        check_loss(first, batch)
        if self.output == "log-odds":
            _check_cross_entropy(first, self.loss, batch)
        self._kernels = [self._kernel(t, points) for t in range(len(self._objectives))]
        self._n_train = points.n_points
        self._train_digest = points.digest
        return self

    @property
    def kernels(self) -> list[_Kernel]:
        """What was fitted, for each checkpoint."""
        if not self._kernels:
            raise NotFittedError("TrakInfluence is not fitted yet: call fit(train_loader)")
        return self._kernels

    @property
    def objective(self) -> Objective:
        """Model and output function at the last checkpoint, after `fit`."""
        return self.kernels[-1].objective

    @property
    def report(self) -> dict[str, Any]:
        """What was done, ready for JSON; each checkpoint by a digest of its parameters."""
        return {
            "method": type(self).__name__,
            "output": self.output,
            "checkpoints": [parameter_digest(kernel.objective) for kernel in self.kernels],
            "dim": min(self.dim, self.objective.size),
            "seed": self.seed,
            "regularization": [kernel.regularization for kernel in self.kernels],
            "n_train": self._n_train,
            "train_digest": self._train_digest,
            "n_parameters": self.objective.size,
            "precision": str(self.objective.dtype),
        }

    def train_vectors(self, batch: Batch) -> Iterator[torch.Tensor]:
        """Yield phi, times the mean of 1 - p, of all checkpoints side by side [., t k]."""
        return (train for train, _ in self.vector_pairs(batch))

    def test_vectors(self, batch: Batch) -> Iterator[torch.Tensor]:
        """Yield phi of all checkpoints side by side [., t k]."""
        return (self._side_by_side(piece) for piece in self._pieces(batch))

    def vector_pairs(self, batch: Batch) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the vectors of points as training points, and as test points."""
        for piece in self._pieces(batch):
            features = self._side_by_side(piece)
            yield features * self._weights(piece)[:, None], features

    def solved(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return the factors [m, t k]: each part times the inverse of its kernel, over t."""
        parts = torch.split(vectors.double(), self.kernels[0].factor.shape[0], dim=1)
        solutions = [
            torch.cholesky_solve(part.T, kernel.factor).T
            for part, kernel in zip(parts, self.kernels, strict=True)
        ]
        return (torch.cat(solutions, dim=1) / len(solutions)).to(vectors.dtype)

    def _pieces(self, batch: Batch) -> Iterator[Batch]:
        """Yield the points of a batch, as many at a time as fit the budget."""
        numbers = len(self.kernels) * self.kernels[0].factor.shape[0]
        step = share(self.memory_budget, 3 * numbers * self.objective.vector.element_size())
        for start in range(0, batch.n_points, step):
            part = slice(start, start + step)
            yield Batch(rows(batch.x, part), rows(batch.y, part))

    def _side_by_side(self, batch: Batch) -> torch.Tensor:
        return torch.cat([k.features(batch, self.memory_budget) for k in self.kernels], dim=1)

    def _weights(self, batch: Batch) -> torch.Tensor:
        """Return the mean over checkpoints of 1 - p [b]."""
        if self.output == "loss":
            return torch.ones(
                batch.n_points, dtype=self.objective.dtype, device=self.objective.device
            )
        with torch.no_grad():
            wrong = [
                torch.sigmoid(
                    -_log_odds_of_points(k.objective.output(k.objective.vector, batch.x), batch.y)
                )
                for k in self.kernels
            ]
        return torch.stack(wrong).mean(dim=0)

    def _kernel(self, number: int, points: Points) -> _Kernel:
        """Return what the checkpoint of that number contributes."""
        objective = self._objectives[number]
        projection = None
        if self.dim < objective.size:
            projection = RandomProjection(
                objective.vector, self.dim, (self.seed, number), memory_budget=self.memory_budget
            )
        k = min(self.dim, objective.size)
        matrix = torch.zeros(k, k, dtype=torch.float64, device=objective.device)
        for batch in points:
            part = _features(objective, projection, batch, self.memory_budget).double()
            matrix += part.T @ part
        matrix /= points.n_points
        damping = float(matrix.trace()) * SHARE_OF_MEAN / k
        if self.regularization != "auto":
            damping = float(self.regularization)
        factor = _factor(matrix, damping, points.n_points)
        return _Kernel(objective, projection, factor, damping)


def _checked_dim(dim: Any) -> int:
    if isinstance(dim, Integral) and int(dim) >= 1:
        return int(dim)
    raise InvalidOptionError(f"dim is {dim!r}: it must be a whole number of at least 1")


def _features(
    objective: Objective, projection: RandomProjection | None, batch: Batch, memory_budget: int
) -> torch.Tensor:
    """Return the projected gradients of points [b, k]."""
    pieces = gradient_pieces(objective, batch, memory_budget=memory_budget)
    return torch.cat([piece if projection is None else projection(piece) for piece in pieces])


def _factor(matrix: torch.Tensor, damping: float, n_points: int) -> torch.Tensor:
    """Return the Cholesky factor of a kernel plus damping, if it is not singular."""
    k = len(matrix)
    rounding = k * torch.finfo(matrix.dtype).eps
    # The largest eigenvalue is no larger than the trace: no eigenvalues are needed as a rule.
    singular = damping <= rounding * float(matrix.trace())
    if damping == 0.0 and not matrix.any():
        raise IndefiniteCurvatureError("the gradients of all training points are zero")
    if singular:
        values = torch.linalg.eigvalsh(matrix)
        singular = float(values[0]) + damping <= rounding * float(values[-1])
    if singular:
        raise IndefiniteCurvatureError(
            f"the kernel of {n_points} points in dim={k} with regularization {damping:g} is "
            "singular: use regularization='auto' or a positive number, or a dim well below the "
            "number of points"
        )
    damped = matrix.clone()
    damped.diagonal().add_(damping)
    factor: torch.Tensor = torch.linalg.cholesky(damped)
    return factor


def _check_cross_entropy(objective: Objective, loss: Loss, batch: Batch) -> None:
    """Refuse a loss of which 1 - p is not the derivative by the log-odds."""
    x, y = (rows(tree, slice(0, CHECKED_POINTS)) for tree in batch)
    with torch.no_grad(), explained("the loss of a few training points"):
        output = objective.output(objective.vector, x)
        expected = float(softplus(-_log_odds_of_points(output, y)).mean())
        found = float(loss(output, y))
    if abs(found - expected) > 1e-3 * abs(expected) + 1e-6:
        raise InvalidOptionError(
            f"output='log-odds' is for the cross-entropy of logits, {expected:.6g} for the first "
            f"training points, but the loss gives {found:.6g}: use output='loss'"
        )
