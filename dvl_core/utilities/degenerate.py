"""Whether a fit failed because the coalition is too poor to learn from, or for another reason.

A coalition is never second-guessed before the model has refused it: models that can learn from one
class, or one row, do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import is_classifier, is_regressor
from sklearn.utils.multiclass import type_of_target

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dvl_core.protocols import AnyArray

    Rows = NDArray[np.intp]

__all__ = ["Diagnosis", "predicts_labels"]


def predicts_labels(model: Any, y: AnyArray) -> bool:
    """Return whether the target is a label: as the model says, else as the values look."""
    if hasattr(model, "__sklearn_tags__") or hasattr(model, "_estimator_type"):
        if is_classifier(model):
            return y.ndim == 1
        if is_regressor(model):
            return False
    return type_of_target(y) in ("binary", "multiclass")


@dataclass
class Diagnosis:
    """Tells degenerate coalitions from errors, for one model on one training set.

    Parameters
    ----------
    y : array [n_rows] or [n_rows, t]
        Target of the training data.
    labelled : bool
        Whether it holds classes.
    attempt : callable
        Fits and scores on the given rows; raises if it cannot.
    """

    y: AnyArray
    labelled: bool
    attempt: Callable[[Rows], float]
    _works: dict[int | tuple[int, ...], bool] = field(default_factory=dict, repr=False)

    def excuses(self, rows: Rows) -> bool:
        """Return whether these rows, on which the model failed, are too poor for it.

        They are if the model works on all the training data, and they lack a class, or have one in
        a single row, or as many other rows, in all or of each class, fail as well.

        Parameters
        ----------
        rows : int array [m]
            Rows on which the model failed.
        """
        if not self.works_on_all():
            return False
        if self.labelled and self._lacks_classes(rows):
            return True
        if not self._works_on(len(rows)):
            return True
        return self.labelled and not self._works_on_others_like(rows)

    def works_on_all(self) -> bool:
        """Return whether the model works on all the training data."""
        return self._works_on(len(self.y))

    def _works_on(self, m: int) -> bool:
        """Return whether the model works on `m` rows that stand for the training data."""
        if m not in self._works:
            self._works[m] = self._succeeds(_spread_rows(self.y, m))
        return self._works[m]

    def _works_on_others_like(self, rows: Rows) -> bool:
        """Return whether the model works on other rows, as many of each class; True if too few."""
        classes, labels = np.unique(self.y, return_inverse=True)
        counts = np.bincount(labels[rows], minlength=len(classes))
        key = tuple(counts.tolist())
        if key not in self._works:
            labels[rows] = -1
            others = [np.flatnonzero(labels == c)[:k] for c, k in enumerate(counts)]
            if sum(map(len, others)) < len(rows):
                return True
            self._works[key] = self._succeeds(np.sort(np.concatenate(others)))
        return self._works[key]

    def _succeeds(self, rows: Rows) -> bool:
        """Return whether the model works on these rows."""
        try:
            self.attempt(rows)
        except MemoryError:
            raise
        except Exception:
            return False
        return True

    def _lacks_classes(self, rows: Rows) -> bool:
        """Return whether a class of the training data is absent, or there in one row only."""
        _, counts = np.unique(self.y[rows], return_counts=True)
        return bool(len(counts) < len(np.unique(self.y)) or counts.min() < 2)


def _spread_rows(y: AnyArray, m: int) -> Rows:
    """Return `m` rows, in order, spread evenly over the sorted target: stratified, no chance."""
    n = len(y)
    order = np.arange(n) if y.ndim > 1 else np.argsort(y, kind="stable")
    return np.sort(order[((np.arange(m) + 0.5) * n / m).astype(np.intp)])
