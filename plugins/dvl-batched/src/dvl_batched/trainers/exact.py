"""Naive Bayes with scikit-learn's own sums, one coalition after the other.

Where a probability saturates, scores hang on the last bits of it. They are those of scikit-learn if
every sum runs over the same numbers in the same order; that is checked by example, see
`dvl_batched.takeover`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from dvl_batched.predictions import Output, Predictions

if TYPE_CHECKING:
    from dvl_batched.members import Members
    from dvl_core.protocols import FloatArray, IntArray

__all__ = ["exact_predictions", "gaussian_joint"]

Joint = Callable[["IntArray", "IntArray"], "FloatArray"]
"""Joint log-likelihoods [t, k] of the test points, for members [r] of these classes [r]."""


def exact_predictions(joint: Joint, members: Members, y: IntArray, output: Output) -> Predictions:
    """Return predictions to the bit, for coalitions that have all classes unless labels are wanted.

    Parameters
    ----------
    joint : callable
        Fits one coalition.
    members : Members
        The rows of the coalitions.
    y : int array [m]
        Classes of the training rows.
    output : {"labels", "probabilities", "ranking"}
        What is wanted.
    """
    found = []
    with np.errstate(divide="ignore", invalid="ignore"):
        for member in members.rows:
            rows = np.flatnonzero(member)
            scores = joint(rows, y[rows])
            if output == "labels":
                found.append(np.unique(y[rows])[scores.argmax(axis=1)])
            else:
                found.append(np.exp(scores - _log_sums(scores)[:, None]).T)
    values = np.stack(found)
    sure = np.ones(len(values), dtype=bool)
    return Predictions(values[:, 1] if output == "ranking" else values, sure, exact=True)


def gaussian_joint(x: FloatArray, y: IntArray, x_test: FloatArray, smoothing: float) -> FloatArray:
    """Return the joint log-likelihoods [t, k] of Gaussian naive Bayes.

    Parameters
    ----------
    x : float array [r, d]
        Features of the members.
    y : int array [r]
        Their classes, k of them.
    x_test : float array [t, d]
        Features of the test points.
    smoothing : float
        Share of the largest variance that is added to all.
    """
    added = smoothing * x.var(axis=0).max()
    joint = []
    for code in np.unique(y):
        own = x[y == code]
        mean, variance = own.mean(axis=0), own.var(axis=0) + added
        constant = -0.5 * np.sum(np.log(2.0 * np.pi * variance))
        distance = np.sum((x_test - mean) ** 2 / variance, axis=1)
        joint.append(np.log(float(len(own)) / float(len(y))) + (constant - 0.5 * distance))
    return np.stack(joint).T


def _log_sums(scores: FloatArray) -> FloatArray:
    """Return the logarithms of the sums of exponentials [t] of `scores` [t, k]."""
    largest = scores.max(axis=1, keepdims=True)
    at_largest = scores == largest
    ties = at_largest.sum(axis=1, keepdims=True, dtype=float)
    rest = np.exp(np.where(at_largest, -np.inf, scores) - largest).sum(axis=1, keepdims=True)
    return np.asarray((np.log1p(rest / ties) + np.log(ties) + largest)[:, 0])
