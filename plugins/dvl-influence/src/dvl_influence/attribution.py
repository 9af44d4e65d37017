"""What all methods share: scores as products of vectors of test and of training points."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, Literal, Self

import torch

from dvl_core.errors import DataError, InvalidOptionError
from dvl_influence.data import Adapter, Batch, as_batch, checked_batch
from dvl_influence.objective import Objective
from dvl_influence.trees import Tree

__all__ = ["AttributionModel", "Mode"]

Mode = Literal["up", "perturbation"]


class AttributionModel(ABC):
    """Scores ``s[q, i] = solved(u_q) . v_i`` of training points i for test points q.

    Positive: training point i helps test point q. A method says what the vectors u of test points
    and v of training points are, gradients for most, and what is done to those of test points.
    `SequentialInfluenceCalculator` takes any such model.
    """

    adapter: Adapter | None

    @abstractmethod
    def fit(self, train_loader: Iterable[Any]) -> Self:
        """Take from the training points what all scores need."""

    @property
    @abstractmethod
    def objective(self) -> Objective:
        """Model and loss as a function of the parameters, after `fit`."""

    @property
    @abstractmethod
    def report(self) -> dict[str, Any]:
        """What was done, ready for JSON."""

    @abstractmethod
    def train_vectors(self, batch: Batch) -> Iterator[torch.Tensor]:
        """Yield the vectors v [., k] of training points, as many at a time as fit the budget."""

    def test_vectors(self, batch: Batch) -> Iterator[torch.Tensor]:
        """Yield the vectors u [., k] of test points; those of training points by default."""
        return self.train_vectors(batch)

    def vector_pairs(self, batch: Batch) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield both vectors, v and u, of the same points; v twice by default."""
        return ((part, part) for part in self.train_vectors(batch))

    def solved(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return the factors [m, k] of the vectors [m, k] of test points; a linear function."""
        return vectors

    def influence_factors(self, x: Tree, y: Tree) -> torch.Tensor:
        """Return ``solved(u)`` of each point [n, k]; for influences ``(H + lambda I)^-1 grad L``.

        Parameters
        ----------
        x, y : tensor, tuple or dictionary of tensors
            n points: inputs of the model and targets of the loss.
        """
        batch = self.batch(x, y, "the test points")
        return torch.cat([self.solved(part) for part in self.test_vectors(batch)])

    def influences_from_factors(
        self, factors: torch.Tensor, x: Tree, y: Tree, mode: Mode = "up"
    ) -> torch.Tensor:
        """Return the influences of training points on the test points of `factors`.

        Parameters
        ----------
        factors : float tensor [n_test, k]
            What `influence_factors` returned.
        x, y : tensor, tuple or dictionary of tensors
            n_train points.
        mode : str
            ``"up"``: scores [n_test, n_train]; ``"perturbation"``: their gradients by x
            [n_test, n_train, *features], where the method has them.

        Raises
        ------
        InvalidOptionError
            If there is no such mode, or the method does not have it.
        """
        batch = self.batch(x, y, "the training points")
        if mode == "up":
            return torch.cat([factors @ part.T for part in self.train_vectors(batch)], dim=1)
        if mode == "perturbation":
            return self._perturbation(factors, batch)
        raise InvalidOptionError(f"mode is {mode!r}: it must be 'up' or 'perturbation'")

    def influences(
        self,
        x_test: Tree,
        y_test: Tree,
        x: Tree | None = None,
        y: Tree | None = None,
        mode: Mode = "up",
    ) -> torch.Tensor:
        """Return the influences of training points on test points.

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
        factors = self.influence_factors(x_test, y_test)
        x, y = (x_test, y_test) if x is None else (x, y)
        return self.influences_from_factors(factors, x, y, mode)

    def self_influences(self, loader: Iterable[Any]) -> torch.Tensor:
        """Return the influence of each point on itself [n]: large for outliers and wrong labels."""
        return torch.cat([self._self_influences(batch) for batch in self._batches(loader)])

    def mean_influences(
        self, test_loader: Iterable[Any], train_loader: Iterable[Any]
    ) -> torch.Tensor:
        """Return each training point's mean influence on the test points [n_train]: one solve."""
        total: Any = 0
        count = 0
        for batch in self._batches(test_loader):
            total = total + sum(part.sum(dim=0) for part in self.test_vectors(batch))
            count += batch.n_points
        factor = self.solved((total / count)[None])
        scores = [
            (factor @ part.T)[0]
            for batch in self._batches(train_loader)
            for part in self.train_vectors(batch)
        ]
        return torch.cat(scores)

    def batch(self, x: Tree, y: Tree, what: str) -> Batch:
        """Return points as the computations take them, checked; `what` names them in messages."""
        return checked_batch(x, y, self.objective.device, self.objective.dtype, what)

    def _batches(self, loader: Iterable[Any]) -> Iterator[Batch]:
        """Yield the checked batches of a loader, once."""
        empty = True
        for raw in loader:
            empty = False
            yield self.batch(*as_batch(raw, self.adapter), "the points")
        if empty:
            raise DataError("the points are empty: the loader yields no batch")

    def _self_influences(self, batch: Batch) -> torch.Tensor:
        """Return the influence of each point of a batch on itself [b]."""
        pairs = self.vector_pairs(batch)
        return torch.cat([(train * self.solved(test)).sum(dim=1) for train, test in pairs])

    def _perturbation(self, factors: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the gradients of the scores by the inputs of training points."""
        raise InvalidOptionError(
            f'{type(self).__name__} has no mode="perturbation": only mode="up"'
        )
