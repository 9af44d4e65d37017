"""What is split, and random splits of its rows into training and test sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.model_selection import train_test_split

from dvl_core.errors import DataError, InvalidOptionError
from dvl_core.tabular import is_frame

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dvl_core.protocols import AnyArray

__all__ = ["parts_of_bunch", "split_rows"]


def split_rows(
    n_rows: int, train_size: float, random_state: int | None, labels: AnyArray | None
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows of a training and of a test set.

    Parameters
    ----------
    n_rows : int
        Number of rows to split.
    train_size : float or int
        Share of the rows for training, between 0 and 1, or their number.
    random_state : int, optional
        Seed of the split.
    labels : array [n_rows], optional
        Classes whose shares both sets shall keep.

    Raises
    ------
    InvalidOptionError
        If `train_size` leaves one set empty.
    DataError
        If there are too few rows, in all or of a class.

    Examples
    --------
    >>> train, test = split_rows(5, 0.8, 0, None)
    >>> len(train), len(test)
    (4, 1)
    """
    if n_rows < 2:
        raise DataError("one row cannot be split into a training and a test set")
    is_share = isinstance(train_size, float | np.floating)
    if isinstance(train_size, bool) or not 0 < train_size < (1 if is_share else n_rows):
        raise InvalidOptionError(
            f"train_size must be a share between 0 and 1 or a number of rows from 1 to "
            f"{n_rows - 1}, got {train_size!r}"
        )
    try:
        train, test = train_test_split(
            np.arange(n_rows), train_size=train_size, random_state=random_state, stratify=labels
        )
    except ValueError as error:
        raise DataError(f"the {n_rows} rows cannot be split: {error}") from error
    return train, test


def parts_of_bunch(bunch: Any) -> tuple[Any, Any, Any, Any]:
    """Return features, target, and the names of features and targets of a scikit-learn bunch.

    Raises
    ------
    DataError
        If it has no `data` or no `target`.
    """
    try:
        x, y = bunch["data"], bunch["target"]
    except (KeyError, TypeError, IndexError) as error:
        raise DataError(
            "expected what sklearn.datasets.load_* returns, with `data` and `target`"
        ) from error
    features = None if is_frame(x) else bunch.get("feature_names")
    return x, y, features, bunch.get("target_names")
