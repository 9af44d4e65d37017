"""Scores of a stack of predictions, equal to scikit-learn's on each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from dvl_batched.predictions import Output, Predictions
from dvl_batched.problem import NotReproducedError, Problem

if TYPE_CHECKING:
    from dvl_core.protocols import BoolArray, FloatArray, IntArray

__all__ = [
    "METRICS",
    "Metric",
    "accuracy",
    "balanced_accuracy",
    "mean_absolute_error",
    "mean_squared_error",
    "neg_brier_score",
    "neg_log_loss",
    "r2",
    "roc_auc",
]

EPSILON = float(np.finfo(float).eps)
MOST_LOST = 1e-7
"""Error of a log-likelihood that differences from one may bring."""

Score = Callable[[Predictions, Problem], "tuple[FloatArray, BoolArray]"]


@dataclass(frozen=True)
class Metric:
    """A score that can be computed for many models at once.

    Parameters
    ----------
    output : Output
        What it is computed from.
    score : callable
        Scores [b], and which of them are good, of predictions of the test points of a problem.
    check : callable
        Raises `NotReproducedError` if the test data does not allow the score.
    """

    output: Output
    score: Score
    check: Callable[[Problem], None]


def accuracy(labels: IntArray, y: IntArray) -> FloatArray:
    """Return the share of right labels [b].

    Parameters
    ----------
    labels : int array [b, t]
        Predicted classes.
    y : int array [t]
        True classes.
    """
    return np.asarray((labels == y).mean(axis=1))


def balanced_accuracy(labels: IntArray, y: IntArray) -> FloatArray:
    """Return the mean of the shares of right labels in each true class [b].

    Parameters
    ----------
    labels : int array [b, t]
        Predicted classes.
    y : int array [t]
        True classes.
    """
    order = np.argsort(y, kind="stable")
    _, starts, counts = np.unique(y[order], return_index=True, return_counts=True)
    hits = np.add.reduceat((labels == y)[:, order].astype(np.int64), starts, axis=1)
    return np.asarray((hits / counts).mean(axis=1))


def neg_log_loss(probabilities: FloatArray, y: IntArray) -> FloatArray:
    """Return the mean log-likelihood of the true classes [b].

    Parameters
    ----------
    probabilities : float array [b, k, t]
        Of the classes; clipped to where their logarithm is finite.
    y : int array [t]
        True classes.
    """
    right = probabilities[:, y, np.arange(len(y))]
    return np.asarray(np.log(np.clip(right, EPSILON, 1 - EPSILON)).mean(axis=1))


def neg_brier_score(probabilities: FloatArray, y: IntArray) -> FloatArray:
    """Return minus the mean squared error of the probabilities [b]; half of it for two classes.

    Parameters
    ----------
    probabilities : float array [b, k, t]
        Of the classes.
    y : int array [t]
        True classes.
    """
    errors = probabilities.copy()
    errors[:, y, np.arange(len(y))] -= 1.0
    loss = (errors**2).sum(axis=1).mean(axis=1)
    return np.asarray(-loss if probabilities.shape[1] > 2 else -0.5 * loss)


def roc_auc(scores: FloatArray, y: IntArray) -> FloatArray:
    """Return the share of pairs of the two classes that are in the right order, ties half [b].

    Parameters
    ----------
    scores : float array [b, t]
        Larger for class 1.
    y : int array [t]
        0 or 1, both present.
    """
    order = np.argsort(scores, axis=1, kind="stable")
    ordered = np.take_along_axis(scores, order, axis=1)
    t = len(y)
    begins = np.ones(ordered.shape, dtype=bool)
    begins[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    ends = np.ones(ordered.shape, dtype=bool)
    ends[:, :-1] = begins[:, 1:]
    places = np.arange(t)
    first = np.maximum.accumulate(np.where(begins, places, 0), axis=1)
    last = np.minimum.accumulate(np.where(ends, places, t)[:, ::-1], axis=1)[:, ::-1]
    middle = (first + last) / 2
    positives = int((y == 1).sum())
    above = (middle * (y == 1)[order]).sum(axis=1) - positives * (positives - 1) / 2
    return np.asarray(above / (positives * (t - positives)))


def mean_squared_error(values: FloatArray, y: FloatArray) -> FloatArray:
    """Return the mean squared errors [b] of predicted targets [b, t]; `y` [t] is the truth."""
    return np.asarray(((values - y) ** 2).mean(axis=1))


def mean_absolute_error(values: FloatArray, y: FloatArray) -> FloatArray:
    """Return the mean absolute errors [b] of predicted targets [b, t]; `y` [t] is the truth."""
    return np.asarray(np.abs(values - y).mean(axis=1))


def r2(values: FloatArray, y: FloatArray) -> FloatArray:
    """Return the coefficients of determination [b] of predicted targets [b, t].

    Parameters
    ----------
    values : float array [b, t]
        Predictions.
    y : float array [t]
        True targets, not all equal.
    """
    return 1.0 - ((values - y) ** 2).sum(axis=1) / ((y - y.mean()) ** 2).sum()


def _plain(function: Callable[..., FloatArray], sign: float = 1.0) -> Score:
    def score(predictions: Predictions, problem: Problem) -> tuple[FloatArray, BoolArray]:
        return sign * function(predictions.values, problem.y_test), predictions.sure

    return score


def _score_log_loss(predictions: Predictions, problem: Problem) -> tuple[FloatArray, BoolArray]:
    """Return scores, good where no small probability is a difference that has lost its digits."""
    values, sure = predictions.values, predictions.sure
    if values.shape[1] == 2:
        # scikit-learn's scorer takes the probability of class 0 as what class 1 leaves.
        rest = 1.0 - values[:, 1]
        values = np.stack([rest, values[:, 1]], axis=1)
        rest = rest[:, problem.y_test == 0]
        lost = np.where(rest > EPSILON / 2, EPSILON / np.maximum(rest, EPSILON), 0.0)
        clear = lost.sum(axis=1) <= MOST_LOST * len(problem.y_test)
        sure = sure & (clear | predictions.exact)
    return neg_log_loss(values, problem.y_test), sure


def _score_ranking(predictions: Predictions, problem: Problem) -> tuple[FloatArray, BoolArray]:
    """Return areas, good where no pair of different classes is closer than the scores are known."""
    scores = predictions.values
    if predictions.noise is None:
        return roc_auc(scores, problem.y_test), predictions.sure
    # Equal test points have equal scores, whatever rounding makes of them.
    twin = problem.twins if predictions.twins is None else predictions.twins
    scores = scores[:, twin]
    noise = np.broadcast_to(predictions.noise, scores.shape)[:, twin]
    order = np.argsort(scores, axis=1, kind="stable")
    before, after = order[:, :-1], order[:, 1:]
    gaps = np.diff(np.take_along_axis(scores, order, axis=1), axis=1)
    unclear = gaps < 2 * np.take_along_axis(noise, order, axis=1)[:, 1:]
    unclear &= (problem.y_test[after] != problem.y_test[before]) & (twin[after] != twin[before])
    return roc_auc(scores, problem.y_test), predictions.sure & ~unclear.any(axis=1)


def _anything(problem: Problem) -> None:
    """Accept all test data."""


def _same_classes(problem: Problem) -> None:
    present = np.unique(problem.y_test)
    if not np.array_equal(present, np.arange(problem.n_classes)):
        raise NotReproducedError("training and test data have different classes")


def _two_classes(problem: Problem) -> None:
    _same_classes(problem)
    if problem.n_classes != 2:
        raise NotReproducedError("roc_auc for more than two classes")


def _varied_target(problem: Problem) -> None:
    if np.ptp(problem.y_test) == 0:
        raise NotReproducedError("r2 on test points whose targets are all equal")


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "accuracy": Metric("labels", _plain(accuracy), _anything),
        "balanced_accuracy": Metric("labels", _plain(balanced_accuracy), _anything),
        "neg_brier_score": Metric("probabilities", _plain(neg_brier_score), _same_classes),
        "neg_log_loss": Metric("probabilities", _score_log_loss, _same_classes),
        "neg_mean_absolute_error": Metric("numbers", _plain(mean_absolute_error, -1.0), _anything),
        "neg_mean_squared_error": Metric("numbers", _plain(mean_squared_error, -1.0), _anything),
        "r2": Metric("numbers", _plain(r2), _varied_target),
        "roc_auc": Metric("ranking", _score_ranking, _two_classes),
    }
)
"""The scores that are reproduced, by scikit-learn's names."""
