"""k nearest neighbours: sorted once, then the first members are looked up for every coalition."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy.spatial.distance import cdist

from dvl_batched.options import anything, check_options, count, number, one_of
from dvl_batched.predictions import MOST_NOISE, Output, Predictions
from dvl_batched.problem import NotReproducedError, Problem
from dvl_batched.trainers.base import ClassSums
from dvl_batched.trainers.ranks import RankWalk, tie_groups

if TYPE_CHECKING:
    from dvl_batched.members import Members
    from dvl_core.protocols import AnyArray, BoolArray, FloatArray

__all__ = ["KNeighborsClassifierTrainer", "KNeighborsRegressorTrainer"]

METRICS = {"euclidean": 2, "l2": 2, "manhattan": 1, "l1": 1, "cityblock": 1}
MOST_DISTANCES = 1 << 23
VOTE_ROUNDING = 1e-9
RUN_FOR_INSERTION, RUN_IF_FEW_TESTS, MANY_TESTS = 200, 400, 100
"""Nested coalitions from which on insertion is faster than a walk: by the test points."""


class _NeighboursTrainer(ABC):
    """What classification and regression share: the training rows in order, for each test point."""

    def __init__(self, model: Any, problem: Problem) -> None:
        accepted = {
            "n_neighbors": count,
            "weights": one_of("uniform", "distance", None),
            "metric": one_of("minkowski", *METRICS),
            "p": _is_norm,
            **dict.fromkeys(("algorithm", "leaf_size", "n_jobs"), anything),
        }
        check_options(model, accepted)
        if problem.standardised:
            raise NotReproducedError(f"StandardScaler before {type(model).__name__}")
        t, m = len(problem.x_test), len(problem.x)
        if t * m > MOST_DISTANCES:
            raise NotReproducedError(f"more than {MOST_DISTANCES:,} distances")
        self.k = self.least_rows = int(model.n_neighbors)
        self.least_run = RUN_FOR_INSERTION if t >= MANY_TESTS else RUN_IF_FEW_TESTS
        self.weighted = model.weights == "distance"
        exponent = METRICS.get(model.metric, model.p)
        distances = cdist(problem.x_test, problem.x, "minkowski", p=exponent)
        order = np.argsort(distances, axis=1, kind="stable")
        ordered = np.take_along_axis(distances, order, axis=1)
        squares = (problem.x**2).sum(axis=1).max() + (problem.x_test**2).sum(axis=1).max()
        targets = problem.y[order]
        weights = 1.0 / np.where(ordered > 0, ordered, 1.0) if self.weighted else None
        ties = tie_groups(ordered, squares, targets)
        self.walk = RankWalk(order, self.k, self._channels(targets, weights), ties)
        if self.weighted:
            self.walk.share_zeros(ordered, squares)
        self.floats = t * (2 * self.walk.n_channels + 4)

    @abstractmethod
    def _channels(self, targets: AnyArray, weights: FloatArray | None) -> AnyArray:
        """Return what is summed over the neighbours [c, t, m], by their rank."""


class KNeighborsClassifierTrainer(_NeighboursTrainer):
    """Votes of the k nearest members, equal or by the inverse of the distance.

    Parameters
    ----------
    model : KNeighborsClassifier
        With a Minkowski metric.
    problem : Problem
        Training and test data.

    Raises
    ------
    NotReproducedError
        If an option is not reproduced, or there are too many distances.
    """

    outputs = frozenset({"labels", "probabilities", "ranking"})
    classification: ClassVar[bool] = True
    least_classes: ClassVar[int] = 1

    def __init__(self, model: Any, problem: Problem) -> None:
        self.n_classes = problem.n_classes
        self.sums = ClassSums(problem, np.zeros((len(problem.y), 0)))
        super().__init__(model, problem)

    def _channels(self, targets: AnyArray, weights: FloatArray | None) -> AnyArray:
        # The votes of class 0 are those that no other class has.
        first = 1 if weights is None else 0
        votes = np.stack([targets == code for code in range(first, self.n_classes)])
        return votes if weights is None else votes * weights

    def regular(self, members: Members, output: Output) -> BoolArray:
        """Return which coalitions [b] have k rows; and all classes, unless labels are wanted."""
        enough = members.sizes >= self.k
        if output == "labels":
            return enough
        return enough & (self.sums.counts(members) > 0).all(axis=1)

    def fit_predict(self, members: Members, output: Output) -> Predictions:
        """Return labels, probabilities or probabilities of class 1."""
        votes, sure = self.walk(members)
        if not self.weighted:
            votes = np.concatenate([self.k - votes.sum(axis=0, keepdims=True), votes])
        votes = votes.transpose(2, 0, 1)
        if output == "labels":
            if self.weighted:
                two = np.partition(votes, -2, axis=1)[:, -2:]
                sure &= (two[:, 1] - two[:, 0] > VOTE_ROUNDING * two[:, 1]).all(axis=1)
            if self.n_classes == 2:
                return Predictions((votes[:, 1] > votes[:, 0]).astype(np.int64), sure)
            return Predictions(votes.argmax(axis=1), sure)
        shares = votes / votes.sum(axis=1, keepdims=True)
        if output == "probabilities":
            return Predictions(shares, sure)
        # Votes that all agree are exact; so are equal ones.
        mixed = (shares[:, 1] > 0) & (shares[:, 1] < 1)
        noise = MOST_NOISE * mixed if self.weighted else None
        return Predictions(shares[:, 1], sure, noise)


class KNeighborsRegressorTrainer(_NeighboursTrainer):
    """Mean target of the k nearest members, plain or weighted by the inverse of the distance.

    Parameters
    ----------
    model : KNeighborsRegressor
        With a Minkowski metric.
    problem : Problem
        Training and test data.

    Raises
    ------
    NotReproducedError
        If an option is not reproduced, or there are too many distances.
    """

    outputs = frozenset({"numbers"})
    classification: ClassVar[bool] = False
    least_classes: ClassVar[int] = 1

    def _channels(self, targets: AnyArray, weights: FloatArray | None) -> AnyArray:
        return targets[None] if weights is None else np.stack([targets * weights, weights])

    def regular(self, members: Members, output: Output) -> BoolArray:
        """Return which coalitions [b] have k rows."""
        return np.asarray(members.sizes >= self.k)

    def fit_predict(self, members: Members, output: Output) -> Predictions:
        """Return the predicted targets [b, t]."""
        totals, sure = self.walk(members)
        means = totals[0] / (totals[1] if self.weighted else self.k)
        return Predictions(means.T, sure)


def _is_norm(value: Any) -> bool:
    return number(value) and value >= 1
