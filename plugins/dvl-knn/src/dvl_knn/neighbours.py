"""Who is near a test point: all training points in order, or the nearest of very many."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

__all__ = ["Metric", "NeighbourSearch"]

MORE_CANDIDATES = 16
"""Looked at besides the nearest, because single precision may swap those around the last."""


@dataclass(frozen=True)
class Metric:
    """A distance in the words of `scipy.spatial.distance.cdist`.

    Parameters
    ----------
    name : str
        Name of the metric.
    options : tuple of (str, object)
        Its options.
    """

    name: str
    options: tuple[tuple[str, Any], ...] = ()

    def between(self, x: FloatArray, others: FloatArray) -> FloatArray:
        """Return the distances [m, n] of rows of `x` [m, d] and `others` [n, d]."""
        # The type stubs of scipy spell out every metric with its own options.
        distances: Any = cdist(x, others, self.name, **dict(self.options))  # type: ignore[call-overload]
        return np.asarray(distances, dtype=float)


@dataclass(frozen=True, eq=False)
class NeighbourSearch:
    """Finds training points near to test points, in an order that nothing but the data decides.

    Parameters
    ----------
    x_train : float array [n, d]
        Features of the training points.
    metric : Metric
        Distance.
    n_nearest : int
        How many are wanted: with all of them, distances are exact throughout. With fewer, they are
        looked for by scikit-learn in single precision, and ordered by exact distances.
    """

    x_train: FloatArray
    metric: Metric
    n_nearest: int

    def unsorted(self, x: FloatArray) -> tuple[IntArray, FloatArray]:
        """Return all training points [m, n] in the order of the data, and their distances."""
        distances = self.metric.between(x, self.x_train)
        return np.tile(np.arange(len(self.x_train)), (len(x), 1)), distances

    def nearest(self, x: FloatArray) -> tuple[IntArray, FloatArray]:
        """Return the nearest [m, n_nearest], near to far, ties by number, and their distances."""
        if self.n_nearest == len(self.x_train):
            return self._all_sorted(x)
        order = np.empty((len(x), self.n_nearest), dtype=np.int64)
        distances = np.empty(order.shape)
        for i, found in enumerate(self._candidates(x)):
            found = np.sort(found)
            exact = self.metric.between(x[i : i + 1], self.x_train[found])[0]
            first = np.argsort(exact, kind="stable")[: self.n_nearest]
            order[i], distances[i] = found[first], exact[first]
        return order, distances

    def _all_sorted(self, x: FloatArray) -> tuple[IntArray, FloatArray]:
        distances = self.metric.between(x, self.x_train)
        order = np.argsort(distances, axis=1)
        ordered = np.take_along_axis(distances, order, axis=1)
        # The fast sort leaves equal distances in any order: rows that have some are done again,
        # so that ties go by the number.
        tied = (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)
        if tied.any():
            order[tied] = np.argsort(distances[tied], axis=1, kind="stable")
        return order, ordered

    def _candidates(self, x: FloatArray) -> IntArray:
        """Return training points [m, c] that are likely to have the nearest among them."""
        count = min(self.n_nearest + MORE_CANDIDATES, len(self.x_train))
        query = x.astype(np.float32)
        found: IntArray = self._index.kneighbors(query, count, return_distance=False)
        return found

    @cached_property
    def _index(self) -> NearestNeighbors:
        options = dict(self.metric.options)
        # Squares are in the same order; the trees of scikit-learn know the roots only.
        name = "euclidean" if self.metric.name == "sqeuclidean" else self.metric.name
        index = NearestNeighbors(metric=name, p=options.pop("p", 2), metric_params=options or None)
        return index.fit(self.x_train.astype(np.float32))
