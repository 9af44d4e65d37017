"""Training and test data as plain arrays, or the reason why they are not taken."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core.errors import InvalidOptionError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dvl_core import Dataset
    from dvl_core.protocols import FloatArray, IntArray

__all__ = ["NotReproducedError", "Problem", "problem_of", "twins_of"]


class NotReproducedError(InvalidOptionError):
    """A model, an option, a score or data for which scikit-learn's answer is not reproduced."""


@dataclass(frozen=True, eq=False)
class Problem:
    """What a trainer sees: one row a training or test point, no players.

    Parameters
    ----------
    x : float array [m, d]
        Features of the training rows.
    y : float array [m] or int array [m]
        Targets, or the numbers of the classes.
    x_test : float array [t, d]
        Features of the test points.
    y_test : float array [t] or int array [t]
        Targets, or numbers of classes: those of the training rows, and after them those that only
        the test data has.
    n_classes : int
        Classes of the training rows; 0 for regression.
    standardised : bool
        Whether the model sees features that are standardised on the coalition.
    """

    x: FloatArray
    y: NDArray[Any]
    x_test: FloatArray
    y_test: NDArray[Any]
    n_classes: int
    standardised: bool = False

    @cached_property
    def twins(self) -> IntArray:
        """For each test point the first that is equal to it [t]."""
        return twins_of(self.x_test)


def twins_of(x: FloatArray) -> IntArray:
    """Return the number of the first row that is equal to each row of `x` [t, d].

    Examples
    --------
    >>> twins_of(np.array([[1.0], [2.0], [1.0]]))
    array([0, 1, 0])
    """
    _, first, inverse = np.unique(x, axis=0, return_index=True, return_inverse=True)
    return np.asarray(first[inverse.ravel()])


def problem_of(
    train: Dataset, test: Dataset, classification: bool, standardised: bool = False
) -> Problem:
    """Return the arrays of two data sets.

    Parameters
    ----------
    train, test : Dataset
        Data that the model is fitted on, and scored on.
    classification : bool
        Whether the targets are labels.
    standardised : bool
        Whether a `StandardScaler` comes before the model.

    Raises
    ------
    NotReproducedError
        If the data is anything but finite double-precision or whole numbers, or the targets do not
        fit together.
    """
    x, x_test = _features(train.x, "training"), _features(test.x, "test")
    if x.shape[1] != x_test.shape[1] or _columns(train.x) != _columns(test.x):
        raise NotReproducedError("training and test data have different features")
    if train.y.ndim != 1 or test.y.ndim != 1:
        raise NotReproducedError("there is more than one target")
    if not classification:
        return Problem(x, _numbers(train.y), x_test, _numbers(test.y), 0, standardised)
    y, y_test, n_classes = _codes(train.y, test.y)
    return Problem(x, y, x_test, y_test, n_classes, standardised)


def _features(x: Any, which: str) -> FloatArray:
    """Return features [m, d] in double precision."""
    if hasattr(x, "dtypes"):
        kinds = {getattr(kind, "kind", "O") for kind in x.dtypes if isinstance(kind, np.dtype)}
        plain = kinds <= set("biuf") and all(isinstance(kind, np.dtype) for kind in x.dtypes)
        narrow = any(kind in (np.float16, np.float32) for kind in x.dtypes)
        array = x.to_numpy() if plain else x
    else:
        array, narrow = x, getattr(x, "dtype", None) in (np.float16, np.float32)
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind not in "biuf":
        raise NotReproducedError(f"the {which} features are not a table of numbers")
    if narrow or array.dtype.itemsize > 8:
        raise NotReproducedError(
            f"the {which} features are {array.dtype}, in which scikit-learn would compute; make "
            "them float64"
        )
    numbers = np.ascontiguousarray(array, dtype=float)
    if not np.isfinite(numbers).all():
        raise NotReproducedError(f"the {which} features have missing or infinite values")
    return numbers


def _columns(x: Any) -> list[Any] | None:
    return list(x.columns) if hasattr(x, "columns") else None


def _numbers(y: NDArray[Any]) -> FloatArray:
    if y.dtype.kind not in "iu" and y.dtype != np.float64:
        raise NotReproducedError(f"a target of type {y.dtype} is no target of a regression")
    return y.astype(float)


def _codes(y: NDArray[Any], y_test: NDArray[Any]) -> tuple[IntArray, IntArray, int]:
    """Return both targets as numbers of classes, and how many the training data has."""
    if (y.dtype.kind in "US") != (y_test.dtype.kind in "US"):
        raise NotReproducedError("the labels of training and test data are of different kinds")
    for labels in (y, y_test):
        whole = labels.dtype.kind in "biuUS" or (
            labels.dtype.kind == "f" and bool((labels == np.round(labels)).all())
        )
        if not whole:
            raise NotReproducedError("the target is no label: neither text nor whole numbers")
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise NotReproducedError("the training data has a single class")
    test_classes, test_codes = np.unique(y_test, return_inverse=True)
    unknown = ~np.isin(test_classes, classes)
    numbers = np.searchsorted(classes, test_classes)
    numbers[unknown] = len(classes) + np.arange(unknown.sum())
    return codes.astype(np.int64), numbers[test_codes].astype(np.int64), len(classes)
