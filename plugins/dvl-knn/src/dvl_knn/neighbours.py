"""Who is near a test point: all training points in order, or the nearest of very many."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from dvl_knn.ordering import in_order, in_order_nearly
from dvl_knn.squares import DoubleSquares, SingleSquares

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dvl_knn.metric import Metric
    from dvl_knn.rows import Rows

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

__all__ = ["NeighbourSearch"]

LEAST_TO_ESTIMATE = 2_000
"""Training points from which on estimates are faster than distances, where all are ordered."""
MOST_GATHERED = 0.25
"""Share of the rows up to which they are copied to be looked at, rather than going through all."""


@dataclass(frozen=True, eq=False)
class NeighbourSearch:
    """Finds training points near to test points, in an order that nothing but the data decides.

    The order is that of the metric's distances in double precision, equal ones by number. Squares
    of Euclidean distances are first estimated by matrix products, and only those whose order the
    estimates leave open are computed: the order is the same.

    Parameters
    ----------
    x_train : Rows
        Features of the training points [n, d].
    metric : Metric
        Distance.
    n_nearest : int
        How many are wanted.
    squares : DoubleSquares or SingleSquares, optional
        Estimates for all of them, or for the nearest only; None: all distances are computed.
    """

    x_train: Rows
    metric: Metric
    n_nearest: int
    squares: DoubleSquares | SingleSquares | None = None

    @classmethod
    def over(cls, x_train: Rows, metric: Metric, n_nearest: int) -> NeighbourSearch:
        """Return a search with what estimates need.

        Estimates for the nearest only take a copy of the rows in single precision; sparse rows are
        not copied.
        """
        squares: DoubleSquares | SingleSquares | None = None
        if metric.name == "sqeuclidean" and not metric.options:
            if n_nearest == len(x_train):
                squares = DoubleSquares.of(x_train) if n_nearest >= LEAST_TO_ESTIMATE else None
            elif not x_train.is_sparse:
                squares = SingleSquares.of(x_train)
        return cls(x_train, metric, n_nearest, squares)

    def distances(self, x: FloatArray) -> FloatArray:
        """Return the distances [m, n] of all training points, in the order of the data."""
        return self.metric.to_all(x, self.x_train)

    def order(self, x: FloatArray) -> IntArray:
        """Return the numbers of the nearest [m, n_nearest], near to far."""
        if isinstance(self.squares, DoubleSquares):
            return self._all_by_estimates(self.squares, x)
        if self.n_nearest == len(self.x_train):
            return in_order(self.distances(x))
        order = np.empty((len(x), self.n_nearest), dtype=np.int64)
        if isinstance(self.squares, SingleSquares):
            for i, found in enumerate(self.squares.candidates(x, self.n_nearest)):
                order[i] = self._first(found, self._exact(x[i], found))
        else:
            for i in range(len(x)):
                order[i] = self._first(None, self._exact(x[i], None))
        return order

    def _all_by_estimates(self, squares: DoubleSquares, x: FloatArray) -> IntArray:
        order = np.empty((len(x), len(self.x_train)), dtype=np.int64)
        estimates, errors = squares.approximate(x)
        for i, estimate in enumerate(estimates):
            order[i] = in_order_nearly(estimate, float(errors[i]), partial(self._exact, x[i]))
        return order

    def _exact(self, x: FloatArray, numbers: IntArray | None) -> FloatArray:
        """Return the distances of one test point [d] from given training points, or from all."""
        if numbers is not None and len(numbers) <= MOST_GATHERED * len(self.x_train):
            return self.metric.between(x[None], self.x_train.take(numbers))[0]
        everyone = self.distances(x[None])[0]
        return everyone if numbers is None else everyone[numbers]

    def _first(self, numbers: IntArray | None, distances: FloatArray) -> IntArray:
        """Return the nearest of some training points, in order; None: they are all."""
        last = np.partition(distances, self.n_nearest - 1)[self.n_nearest - 1]
        near = np.flatnonzero(distances <= last)
        first = near[in_order(distances[near][None])[0][: self.n_nearest]]
        return first if numbers is None else numbers[first]
