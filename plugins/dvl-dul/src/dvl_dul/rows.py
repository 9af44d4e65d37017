"""What a network is told of each row: features and target, as numbers of like scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core.errors import DataError
from dvl_core.tabular import is_frame
from dvl_core.tensors import as_array

if TYPE_CHECKING:
    from dvl_core.data import Dataset
    from dvl_core.protocols import AnyArray, FloatArray

__all__ = ["described_rows"]

MOST_CLASSES = 20


def described_rows(train: Dataset) -> FloatArray:
    """Return features and target of each row [n_rows, d].

    Numbers are standardised, and missing ones become the mean. Classes, and columns of a frame that
    hold no numbers, become one column for each value. A target holds classes if it is no number, or
    has at most twenty different values, all of them whole.

    Parameters
    ----------
    train : Dataset
        Arrays or tensors of any shape, frames or sparse matrices of numbers.

    Raises
    ------
    DataError
        If the features are objects such as texts, or infinite.

    Examples
    --------
    >>> from dvl_core import Dataset
    >>> described_rows(Dataset([[1.0], [3.0]], ["a", "b"]))
    array([[-1.,  1.,  0.],
           [ 1.,  0.,  1.]])
    """
    x: Any = as_array(train.x)
    if is_frame(x):
        columns = [_column(x.iloc[:, i]) for i in range(x.shape[1])]
    elif x.dtype.kind not in "biuf":
        raise DataError(
            f"a network over sets needs rows of numbers, the features are {x.dtype}: encode them "
            "first, or learn from membership with IndicatorUtilityModel"
        )
    else:
        dense = np.asarray(x.toarray() if hasattr(x, "toarray") else x)
        columns = [_standardised(dense.reshape(len(dense), -1))]
    targets = train.y if train.y.ndim == 2 else train.y[:, None]
    columns += [_target(targets[:, i]) for i in range(targets.shape[1])]
    return np.hstack(columns)


def _column(column: Any) -> FloatArray:
    """Return the columns [n_rows, c] that stand for one column of a frame."""
    if column.dtype.kind in "biuf":
        return _standardised(column.to_numpy(dtype=np.float64, na_value=np.nan)[:, None])
    return _one_hot(column.astype(str).to_numpy(dtype=object).astype(str))


def _target(target: AnyArray) -> FloatArray:
    """Return the columns [n_rows, c] that stand for a target."""
    if target.dtype.kind in "iuf":
        broken = np.any(target != np.round(target))
        if broken or len(np.unique(target)) > MOST_CLASSES:
            return _standardised(target[:, None])
    return _one_hot(target if target.dtype.kind in "biufU" else target.astype(str))


def _one_hot(values: AnyArray) -> FloatArray:
    """Return a column of 0 and 1 for each value."""
    return np.asarray(values[:, None] == np.unique(values), dtype=np.float64)


def _standardised(numbers: AnyArray) -> FloatArray:
    """Return columns of mean 0 and variance 1, or all 0 if they do not vary."""
    numbers = numbers.astype(np.float64)
    if np.isinf(numbers).any():
        raise DataError("a feature is infinite: a network over sets needs finite numbers")
    gaps = np.isnan(numbers)
    known = np.maximum((~gaps).sum(axis=0), 1)
    centred = np.where(gaps, 0.0, numbers)
    centred = np.where(gaps, 0.0, centred - centred.sum(axis=0) / known)
    scale = np.sqrt(np.square(centred).sum(axis=0) / known)
    return np.asarray(centred / np.where(scale > 0, scale, 1.0))
