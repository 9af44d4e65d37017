"""The gradients of all training points as the rows of a matrix that may be too large to keep."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch

from dvl_influence.data import Batch, Points, joined
from dvl_influence.gradients import per_point_gradients
from dvl_influence.layer_gradients import layer_gradients, layers_of_all
from dvl_influence.memory import DEFAULT_BUDGET, activations_per_point, share
from dvl_influence.objective import Objective
from dvl_influence.trees import leaves, rows

__all__ = ["PointGradients", "gradient_pieces"]

POINTS_AT_ONCE = 512
"""From here on a call costs much more than it takes to start it."""


def gradient_pieces(
    objective: Objective, batch: Batch, *, memory_budget: int = DEFAULT_BUDGET
) -> Iterator[torch.Tensor]:
    """Yield the gradients [., p] of the points of a batch, as many at a time as fit the budget.

    From layers where all free parameters belong to some, else differentiated point by point.
    """
    layers = layers_of_all(objective, batch)
    numbers = 2 * objective.size
    if layers is not None:
        numbers += 4 * (activations_per_point(objective, batch.x) + layers.numbers_per_point)
    step = share(memory_budget, numbers * objective.vector.element_size())
    for start in range(0, batch.n_points, step):
        part = slice(start, start + step)
        piece = Batch(rows(batch.x, part), rows(batch.y, part))
        if layers is None:
            yield per_point_gradients(objective, piece, memory_budget=memory_budget)
        else:
            yield layer_gradients(layers, piece)


class PointGradients:
    """The gradients of the losses of all points, a few rows of the matrix [n, p] at a time.

    They are kept after the first pass if all of them fit `memory_budget`, else computed anew in
    every pass.

    Parameters
    ----------
    objective : Objective
        Model and loss.
    points : Points or list of Batch
        n points.
    memory_budget : int
        Bytes for the rows at hand, and for those that are kept.

    Examples
    --------
    >>> model = torch.nn.Linear(1, 1, bias=False).double()
    >>> _ = torch.nn.init.zeros_(model.weight)
    >>> objective = Objective(model, torch.nn.functional.mse_loss)
    >>> x = torch.tensor([[1.0], [2.0]]).double()
    >>> gradients = PointGradients(objective, [Batch(x, x)])
    >>> [rows.tolist() for rows in gradients], gradients.mean_squares.tolist()
    ([[[-2.0], [-8.0]]], [34.0])
    """

    def __init__(
        self,
        objective: Objective,
        points: Points | list[Batch],
        *,
        memory_budget: int = DEFAULT_BUDGET,
    ) -> None:
        self.objective = objective
        self.points = points
        self.memory_budget = memory_budget
        self._source: tuple[PointGradients, torch.Tensor] | None = None
        self._kept: list[torch.Tensor] | None = None
        self._mean_squares: torch.Tensor | None = None

    @property
    def n_points(self) -> int:
        """The number of points n."""
        if isinstance(self.points, Points):
            return self.points.n_points
        return sum(batch.n_points for batch in self.points)

    @property
    def fits(self) -> bool:
        """Whether all rows are kept after the first pass."""
        vector = self.objective.vector
        return self.n_points * vector.numel() * vector.element_size() <= self.memory_budget

    @property
    def whole(self) -> PointGradients:
        """The rows of which these are some columns; these themselves if they are all."""
        return self if self._source is None else self._source[0].whole

    @property
    def mean_squares(self) -> torch.Tensor:
        """Mean over the points of the squared entries [p]: the diagonal of the empirical Fisher."""
        if self._source is not None:
            source, columns = self._source
            return source.mean_squares[columns]
        if self._mean_squares is None:
            total = torch.zeros_like(self.objective.vector)
            for part in self:
                total += part.square().sum(dim=0)
            self._mean_squares = total / self.n_points
        return self._mean_squares

    def restricted(self, names: Iterable[str]) -> PointGradients:
        """Return the columns of the parameters `names`; rows that are kept serve both."""
        names = tuple(names)
        part = PointGradients(
            self.objective.restricted(names), self.points, memory_budget=self.memory_budget
        )
        part._source = self, self.objective.positions(names)
        return part

    def __iter__(self) -> Iterator[torch.Tensor]:
        """Yield the gradients [., p] of all points, in their order.

        Raises
        ------
        InfluenceError
            If the model cannot be differentiated point by point.
        DataError
            If a gradient is not finite.
        """
        if self._source is not None and self._source[0].whole.fits:
            source, columns = self._source
            yield from (part[:, columns] for part in source)
        elif self._kept is not None:
            yield from self._kept
        else:
            yield from self._computed()

    def _computed(self) -> Iterator[torch.Tensor]:
        """Yield all rows, and keep them if they fit."""
        keep = self._source is None and self.fits
        kept = []
        for batch in self.batches():
            for part in gradient_pieces(self.objective, batch, memory_budget=self.memory_budget):
                if keep:
                    kept.append(part)
                yield part
        if keep:
            self._kept = kept

    def batches(self) -> Iterator[Batch]:
        """Yield the points in batches that are worth a call, small ones of the loader together."""
        waiting: list[Batch] = []
        for batch in self.points:
            each = sum(t[0].numel() * t.element_size() for t in leaves((batch.x, batch.y)))
            most = min(POINTS_AT_ONCE, share(self.memory_budget, 2 * each))
            if waiting and sum(b.n_points for b in waiting) + batch.n_points > most:
                yield from joined(waiting)
                waiting = []
            waiting.append(batch)
        if waiting:
            yield from joined(waiting)
