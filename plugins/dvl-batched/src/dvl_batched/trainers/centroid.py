"""Nearest centroid: class means from one matrix product."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from dvl_batched.options import check_options, one_of
from dvl_batched.predictions import Output, Predictions, class_predictions
from dvl_batched.trainers.base import RUN_FOR_SUMS, ClassSums, variances

if TYPE_CHECKING:
    from dvl_batched.members import Members
    from dvl_batched.problem import Problem
    from dvl_core.protocols import BoolArray

__all__ = ["NearestCentroidTrainer"]


class NearestCentroidTrainer:
    """The class whose mean is nearest: the largest ``2 x'c - c'c``.

    Parameters
    ----------
    model : NearestCentroid
        Euclidean, not shrunken, with equal priors.
    problem : Problem
        Training and test data.

    Raises
    ------
    NotReproducedError
        If an option is not reproduced.
    """

    outputs = frozenset({"labels"})
    classification: ClassVar[bool] = True
    least_classes: ClassVar[int] = 2
    least_run = RUN_FOR_SUMS
    least_rows = 1

    def __init__(self, model: Any, problem: Problem) -> None:
        check_options(model, {"metric": one_of("euclidean")})
        shift = problem.x.mean(axis=0)
        self.z, self.z_test = problem.x - shift, problem.x_test - shift
        self.standardised = problem.standardised
        squares = [self.z**2] if self.standardised else []
        self.sums = ClassSums(problem, np.column_stack([self.z, *squares]))
        self.reach = float(np.abs(self.z_test).max() + np.abs(self.z).max()) ** 2
        self.floats = 2 * problem.n_classes * (2 * self.z.shape[1] + len(self.z_test))

    def regular(self, members: Members, output: Output) -> BoolArray:
        """Return which coalitions [b] have two classes or more."""
        return (self.sums.counts(members) > 0).sum(axis=1) > 1

    def fit_predict(self, members: Members, output: Output) -> Predictions:
        """Return the numbers of the nearest classes [b, t]."""
        b, d = len(members), self.z.shape[1]
        sums, counts = self.sums(members), self.sums.counts(members)
        centroids = sums[:, :, :d] / np.maximum(counts, 1.0)[:, :, None]
        weights, sure = np.ones((b, d)), np.ones(b, dtype=bool)
        if self.standardised:
            moments = sums.sum(axis=1) / counts.sum(axis=1)[:, None]
            spread, sure = variances(moments[:, :d], moments[:, d:])
            # A constant feature is equally far from all centroids.
            weights = np.where(spread > 0, 1.0 / np.where(spread > 0, spread, 1.0), 0.0)
        weighted = centroids * weights[:, None, :]
        scores = 2.0 * (weighted.reshape(-1, d) @ self.z_test.T).reshape(b, -1, len(self.z_test))
        scores -= (weighted * centroids).sum(axis=2)[:, :, None]
        scores[counts == 0] = -np.inf
        noise = 1e-14 * self.reach * weights.sum(axis=1)
        return class_predictions(scores, noise, sure, output, ranked_by_probability=True)
