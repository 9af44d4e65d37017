"""What a nearest-neighbour model of scikit-learn says about K, the metric and the weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from dvl_core.errors import InvalidOptionError
from dvl_knn.metric import Metric

__all__ = ["NeighbourModel"]

Weights = str | Callable[[Any], Any]

ESTIMATED_OPTIONS = {"seuclidean": "V", "mahalanobis": "VI"}
"""Options that scipy estimates from all the rows that it is given, unless they are set."""


@dataclass(frozen=True)
class NeighbourModel:
    """A model of nearest neighbours.

    Parameters
    ----------
    k_neighbours : int
        K.
    metric : Metric
        Distance.
    regression : bool
        Whether it predicts numbers.
    weights : str or callable
        "uniform", "distance", or weights of distances.
    """

    k_neighbours: int
    metric: Metric
    regression: bool = False
    weights: Weights = "uniform"

    @classmethod
    def read(cls, model: Any) -> NeighbourModel:
        """Return what a model of scikit-learn says; a number is K of a classifier.

        Raises
        ------
        InvalidOptionError
            If it is no k-nearest-neighbour model, or its metric has no name.

        Examples
        --------
        >>> NeighbourModel.read(3).metric.name
        'euclidean'
        """
        if isinstance(model, int | np.integer) and not isinstance(model, bool):
            if model < 1:
                raise InvalidOptionError(f"K must be at least 1, got {model}")
            return cls(int(model), Metric("euclidean"))
        if not isinstance(model, KNeighborsClassifier | KNeighborsRegressor):
            raise InvalidOptionError(
                "KNN-Shapley needs a KNeighborsClassifier, a KNeighborsRegressor or the number of "
                f"neighbours, got {type(model).__name__}"
            )
        regression = isinstance(model, KNeighborsRegressor)
        weights = "uniform" if model.weights is None else model.weights
        if regression and weights != "uniform":
            raise InvalidOptionError(
                f"KNN-Shapley for regression needs weights='uniform', got {model.weights!r}"
            )
        return cls(int(model.n_neighbors), _metric_of(model), regression, weights)


def _metric_of(model: Any) -> Metric:
    """Return the metric in the words of scipy."""
    options = tuple(sorted((model.metric_params or {}).items()))
    if model.metric in ("minkowski", "euclidean", "l2", "manhattan", "l1"):
        p = {"euclidean": 2, "l2": 2, "manhattan": 1, "l1": 1}.get(model.metric, model.p)
        if p == 2 and not options:
            return Metric("euclidean")
        if p == 1:
            return Metric("cityblock", options)
        return Metric("minkowski", (("p", p), *options))
    if not isinstance(model.metric, str) or model.metric == "precomputed":
        raise InvalidOptionError(f"KNN-Shapley needs the name of a metric, got {model.metric!r}")
    needed = ESTIMATED_OPTIONS.get(model.metric)
    if needed is not None and needed not in dict(options):
        raise InvalidOptionError(
            f"the metric {model.metric!r} needs metric_params={{{needed!r}: ...}}: estimated from "
            "the data at hand, it would make the distances of one test point depend on the others"
        )
    return Metric(model.metric, options)
