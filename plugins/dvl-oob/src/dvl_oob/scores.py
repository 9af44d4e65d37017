"""Scores of predictions, one number per row; larger is better."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin

from dvl_core.errors import InvalidOptionError
from dvl_oob.ensembles import encodes_labels
from dvl_oob.trees import leaf_labels, leaf_means, leaf_probabilities, reads_leaves

if TYPE_CHECKING:
    from dvl_core.protocols import AnyArray, FloatArray, IntArray

__all__ = ["PointScore", "PointwiseScore", "check_score", "score_of"]

PointwiseScore = Callable[[Any, Any], Any]

CLASSIFICATION = ("accuracy", "log-likelihood")
REGRESSION = {"squared-error": 2, "absolute-error": 1}


class PointScore(Protocol):
    """Judges the predictions of base models."""

    def __call__(self, model: Any, x: Any, rows: IntArray) -> FloatArray:
        """Return the scores [m] of a base model on some rows, whose features are `x`."""


@dataclass(frozen=True, eq=False)
class Classes:
    """The labels of an ensemble, and how its base models speak of them.

    Parameters
    ----------
    labels : array [k]
        As the ensemble has them; a code is a position in there.
    encoded : bool
        Whether base models know codes instead of labels.
    """

    labels: AnyArray
    encoded: bool

    @classmethod
    def of(cls, ensemble: Any) -> Classes:
        """Return the classes of a fitted ensemble."""
        return cls(np.asarray(ensemble.classes_), encodes_labels(ensemble))

    def codes(self, labels: AnyArray) -> IntArray:
        """Return the codes of labels."""
        order = np.argsort(self.labels)
        codes: IntArray = order[np.searchsorted(self.labels, labels, sorter=order)]
        return codes

    def as_codes(self, answers: Any) -> IntArray:
        """Return the codes of what base models say."""
        said = np.asarray(answers)
        return said.astype(np.intp) if self.encoded else self.codes(said)

    def predicted(self, model: Any, x: Any) -> IntArray:
        """Return the codes [m] that a base model predicts."""
        return self.as_codes(leaf_labels(model, x) if reads_leaves(model, x) else model.predict(x))

    def probabilities(self, model: Any, x: Any, codes: IntArray) -> FloatArray:
        """Return the probabilities [m] that a base model gives to codes [m], one a row.

        A class that was not in its bag may be unknown to it: that has probability zero.
        """
        column_of = np.full(len(self.labels), -1)
        column_of[self.as_codes(model.classes_)] = np.arange(len(model.classes_))
        columns = column_of[codes]
        if reads_leaves(model, x):
            found = leaf_probabilities(model, x, columns)
        else:
            found = np.asarray(model.predict_proba(x))[np.arange(len(codes)), columns]
        probabilities: FloatArray = np.where(columns >= 0, found, 0.0)
        return probabilities


@dataclass(frozen=True, eq=False)
class Accuracy:
    """1 where the label is right, else 0."""

    classes: Classes
    codes: IntArray

    def __call__(self, model: Any, x: Any, rows: IntArray) -> FloatArray:
        """Return the scores [m]."""
        right = self.classes.predicted(model, x) == self.codes[rows]
        return np.asarray(right, dtype=float)


@dataclass(frozen=True, eq=False)
class LogLikelihood:
    """Logarithm of the probability of the right label, which counts as `floor` if it is smaller."""

    classes: Classes
    codes: IntArray
    floor: float

    def __call__(self, model: Any, x: Any, rows: IntArray) -> FloatArray:
        """Return the scores [m]."""
        given = self.classes.probabilities(model, x, self.codes[rows])
        return np.asarray(np.log(np.maximum(given, self.floor)))


@dataclass(frozen=True, eq=False)
class NegativeError:
    """Minus a power of the absolute error."""

    y: AnyArray
    power: int

    def __call__(self, model: Any, x: Any, rows: IntArray) -> FloatArray:
        """Return the scores [m]."""
        return -(np.abs(self.y[rows] - _numbers(model, x)) ** self.power)


@dataclass(frozen=True, eq=False)
class OwnScore:
    """A function of true and predicted labels, or of true and predicted numbers."""

    function: PointwiseScore
    y: AnyArray
    classes: Classes | None

    def __call__(self, model: Any, x: Any, rows: IntArray) -> FloatArray:
        """Return the scores [m]."""
        if self.classes is None:
            predicted = _numbers(model, x)
        else:
            predicted = self.classes.labels[self.classes.predicted(model, x)]
        return np.asarray(self.function(self.y[rows], predicted), dtype=float)


def check_score(score: Any, floor: float, model: Any) -> None:
    """Raise unless `score` is a function or the name of a score that suits the ensemble.

    Raises
    ------
    InvalidOptionError
        With the reason; also if the probabilities that a score needs are not to be had.
    """
    if not 0 < floor < 1:
        raise InvalidOptionError(f"probability_floor must lie between 0 and 1, got {floor}")
    if score is None or callable(score):
        return
    known = [*CLASSIFICATION, *REGRESSION]
    if score not in known:
        raise InvalidOptionError(
            f"score must be one of {', '.join(known)} or a function of the true and the predicted "
            f"targets, got {score!r}"
        )
    classifies = isinstance(model, ClassifierMixin) or hasattr(model, "classes_")
    name = type(model).__name__
    if score in REGRESSION and classifies:
        raise InvalidOptionError(f"score {score!r} is for regression, but {name} is a classifier")
    regresses = isinstance(model, RegressorMixin) or hasattr(model, "estimators_")
    if score in CLASSIFICATION and regresses and not classifies:
        raise InvalidOptionError(f"score {score!r} is for classifiers, {name} is none")
    if score == "log-likelihood":
        fitted = getattr(model, "estimators_", None)
        base = fitted[0] if fitted else getattr(model, "estimator", None)
        if base is not None and not hasattr(base, "predict_proba"):
            raise InvalidOptionError(
                f"score 'log-likelihood' needs base models with predict_proba; "
                f"{type(base).__name__} has none"
            )


def score_of(score: Any, floor: float, ensemble: Any, y: AnyArray) -> PointScore:
    """Return the score that `check_score` accepted, for a fitted ensemble and its targets."""
    classes = Classes.of(ensemble) if hasattr(ensemble, "classes_") else None
    if callable(score):
        return OwnScore(score, y, classes)
    if classes is None:
        return NegativeError(y, REGRESSION[score or "squared-error"])
    codes = classes.codes(y)
    if score == "log-likelihood":
        return LogLikelihood(classes, codes, floor)
    return Accuracy(classes, codes)


def _numbers(model: Any, x: Any) -> FloatArray:
    """Return the numbers [m] that a base model predicts."""
    if reads_leaves(model, x):
        return leaf_means(model, x)
    return np.asarray(model.predict(x), dtype=float)
