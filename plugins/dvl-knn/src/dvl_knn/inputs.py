"""Features and targets as the games of neighbours take them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core.errors import DataError
from dvl_knn.rows import Rows

if TYPE_CHECKING:
    from dvl_core.data import Dataset

__all__ = ["encoded_labels", "features_of", "numbers_of"]

REAL = "biuf"
"""Kinds of data types whose values are real numbers."""


def features_of(data: Dataset, which: str) -> Rows:
    """Return features [n, d], or say why distances make no sense on them.

    Arrays of numbers that lie in memory, or in a file, row by row, and sparse matrices are not
    copied.
    """
    x = data.x
    try:
        if not hasattr(x, "toarray"):
            x = _numbers(np.asarray(x))
        elif x.dtype.kind not in REAL:
            raise TypeError(f"a sparse matrix of {x.dtype}")
    except (TypeError, ValueError) as error:
        raise DataError(
            f"the features of the {which} data are not all numbers ({error}): encode them first"
        ) from error
    if x.ndim != 2:
        raise DataError(f"the features of the {which} data must be a table, got shape {x.shape}")
    rows = Rows(x)
    bad = np.concatenate([~np.isfinite(chunk).all(axis=1) for _, chunk in rows.chunks()])
    if bad.any():
        raise DataError(
            f"{int(bad.sum())} rows of the {which} data have missing or infinite features, first "
            f"row {int(np.flatnonzero(bad)[0])}: fill them first"
        )
    return rows


def _numbers(x: Any) -> Any:
    """Return an array of real numbers whose rows lie one after the other."""
    if x.dtype.kind in REAL:
        return np.ascontiguousarray(x)
    if x.dtype.kind == "c":
        raise TypeError("complex numbers")
    return np.ascontiguousarray(x, dtype=np.float64)


def encoded_labels(y_train: Any, y_test: Any) -> tuple[Any, Any]:
    """Return labels as numbers, equal where the labels are equal."""
    if y_train.ndim != 1 or y_test.ndim != 1 or y_train.dtype.kind == "f":
        raise DataError(
            "KNN-Shapley of a classifier needs one class label per row, got other targets: pass a "
            "KNeighborsRegressor for numbers"
        )
    labels, codes = np.unique(np.concatenate([y_train, y_test]), return_inverse=True)
    codes = codes.astype(np.min_scalar_type(len(labels)))
    return codes[: len(y_train)], codes[len(y_train) :]


def numbers_of(y: Any) -> Any:
    """Return targets as float64 [n], or say that they are none."""
    if y.ndim != 1 or y.dtype.kind not in "biuf":
        raise DataError("KNN-Shapley of a KNeighborsRegressor needs one number per row to predict")
    return y.astype(np.float64)
