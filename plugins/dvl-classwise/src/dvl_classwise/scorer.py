"""Accuracy, split into the part of one class and that of the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import accuracy_score

from dvl_core.errors import DataError
from dvl_core.scorers import SupervisedScorer
from dvl_core.tabular import own_copy
from dvl_core.tensors import as_array
from dvl_core.utilities.fingerprint import fingerprint_function, fingerprint_object, fingerprint_of

if TYPE_CHECKING:
    from dvl_core.data import Dataset

__all__ = ["ClasswiseScorer", "Discount", "exponential", "identity", "one", "scores_accuracy"]

Discount = Callable[[float], float]


def identity(accuracy: float) -> float:
    """Return the accuracy itself."""
    return accuracy


def exponential(accuracy: float) -> float:
    """Return e to the accuracy: right answers for other classes count, but never decide alone."""
    return float(np.exp(accuracy))


def one(accuracy: float) -> float:
    """Return 1: what happens to the other classes does not count."""
    return 1.0


@dataclass(frozen=True, eq=False)
class ClasswiseScorer:
    """f(a_in) g(a_out), from the point of view of one class.

    With m test points, a_in is the number of those of the class that the model gets right, divided
    by m, and a_out that of the others, divided by m too (Schoch, Xu & Ji 2022).

    Parameters
    ----------
    label : scalar
        The class.
    test : Dataset
        What to score on.
    in_class, out_of_class : callable
        f and g.

    Examples
    --------
    >>> from dvl_core import Dataset
    >>> from sklearn.dummy import DummyClassifier
    >>> test = Dataset([[0.0], [1.0], [2.0], [3.0]], [0, 1, 1, 1])
    >>> ones = DummyClassifier(strategy="constant", constant=1).fit(*test)
    >>> ClasswiseScorer(1, test, identity, exponential)(ones)
    0.75
    >>> ClasswiseScorer(0, test, identity, exponential)(ones)
    0.0
    """

    label: Any
    test: Dataset
    in_class: Discount
    out_of_class: Discount

    @property
    def default(self) -> float:
        """Worth 0: that of a model that could not be fitted."""
        return 0.0

    @cached_property
    def fingerprint(self) -> str | None:
        """Digest of class, test data, f and g; None if one of them cannot be digested."""
        try:
            data = self.test.digest
        except DataError:
            return None
        return fingerprint_of(
            "ClasswiseScorer",
            data,
            fingerprint_object(self.label),
            fingerprint_function(self.in_class),
            fingerprint_function(self.out_of_class),
        )

    def __call__(self, model: Any) -> float:
        """Return the score of a fitted model."""
        y = self.test.y
        predicted = as_array(model.predict(own_copy(self.test.x)))
        right = np.reshape(predicted, y.shape) == y
        inside = y == self.label
        a_in = float(np.count_nonzero(right & inside)) / len(y)
        a_out = float(np.count_nonzero(right & ~inside)) / len(y)
        return float(self.in_class(a_in)) * float(self.out_of_class(a_out))


def scores_accuracy(scorer: object) -> bool:
    """Return whether a scorer is that of plain accuracy.

    Examples
    --------
    >>> from sklearn.metrics import make_scorer
    >>> pair = ([[0.0], [1.0]], [0, 1])
    >>> [
    ...     scores_accuracy(SupervisedScorer(scoring, pair))
    ...     for scoring in ("accuracy", make_scorer(accuracy_score), "f1")
    ... ]
    [True, True, False]
    """
    if not isinstance(scorer, SupervisedScorer):
        return False
    scoring = scorer.scoring
    if isinstance(scoring, str):
        return scoring == "accuracy"
    metric = getattr(scoring, "_score_func", None)
    return metric is accuracy_score and not getattr(scoring, "_kwargs", None)
