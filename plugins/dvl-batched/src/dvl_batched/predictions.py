"""What a stack of models predicts, and for which of them the prediction hangs on rounding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dvl_core.protocols import BoolArray, FloatArray, IntArray

__all__ = ["Output", "Predictions", "class_predictions"]

Output = Literal["labels", "probabilities", "ranking", "numbers"]
"""Numbers of classes [b, t], probabilities [b, k, t], scores of class 1 [b, t], targets [b, t]."""

MOST_NOISE = 1e-8
"""Error of a log-likelihood or a decision with which a smooth score is still good to 1e-6."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions of the models of a batch.

    Parameters
    ----------
    values : array [b, t] or [b, k, t]
        As `Output` says.
    sure : bool array [b]
        Models whose predictions are good; the others are left to scikit-learn.
    noise : float array, optional
        For a ranking: by how much a score may be wrong, to be broadcast to [b, t]; None: scores are
        exact, ties included.
    twins : int array [t], optional
        For a ranking: for each test point the first that the model cannot tell from it; None: only
        equal ones.
    exact : bool
        Whether probabilities are scikit-learn's to the bit, those that saturate included.
    """

    values: NDArray[Any]
    sure: BoolArray
    noise: FloatArray | None = None
    twins: IntArray | None = None
    exact: bool = False


def class_predictions(
    scores: FloatArray,
    noise: FloatArray,
    sure: BoolArray,
    output: Output,
    *,
    ranked_by_probability: bool,
) -> Predictions:
    """Return what follows from a score of every class: log-likelihoods or decision functions.

    Parameters
    ----------
    scores : float array [b, k, t]
        Probabilities are their softmax; with two classes the sigmoid of their difference.
    noise : float array [b]
        By how much a score may be wrong.
    sure : bool array [b]
        Models to trust so far.
    output : {"labels", "probabilities", "ranking"}
        What is wanted.
    ranked_by_probability : bool
        Whether scikit-learn ranks by probabilities, which saturate, for want of a decision.
    """
    if output == "labels":
        return _labels(scores, noise, sure)
    sure = sure & (noise <= MOST_NOISE)
    if output == "ranking" and not ranked_by_probability:
        decision = scores[:, 1] - scores[:, 0]
        return Predictions(decision, sure, noise[:, None])
    probabilities = _softmax(scores)
    if output == "ranking":
        chosen = probabilities[:, 1]
        return Predictions(chosen, sure, MOST_NOISE * chosen)
    return Predictions(probabilities, sure)


def _labels(scores: FloatArray, noise: FloatArray, sure: BoolArray) -> Predictions:
    if scores.shape[1] == 2:
        margins = scores[:, 1] - scores[:, 0]
        labels = (margins > 0).astype(np.int64)
        least = np.abs(margins).min(axis=1)
    else:
        labels = scores.argmax(axis=1)
        two = np.partition(scores, -2, axis=1)[:, -2:]
        least = (two[:, 1] - two[:, 0]).min(axis=1)
    return Predictions(labels, sure & (least > noise))


def _softmax(scores: FloatArray) -> FloatArray:
    """Return probabilities [b, k, t]; rounded where scikit-learn's are, next to one."""
    largest = scores.max(axis=1, keepdims=True)
    total = np.exp(scores - largest).sum(axis=1, keepdims=True)
    return np.asarray(np.exp(scores - (largest + np.log(total))))
