"""From a table to training and test sets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core.data import Dataset
from dvl_core.errors import DataError
from dvl_core.job.encoding import Encoder, fit_encoder
from dvl_core.job.tables import checked_column, is_hashable

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["JobData", "prepare"]


@dataclass(frozen=True)
class JobData:
    """What is valued, what it is judged by, and how it came about.

    Parameters
    ----------
    table : DataFrame
        The rows of the players as the file had them; its index is the row number in the file.
    train, test : Dataset
        Encoded.
    classification : bool
        Whether the target is a class.
    encoder : Encoder
        Fitted on the training rows.
    notes : list of str
        What the user should know.
    """

    table: pd.DataFrame
    train: Dataset
    test: Dataset
    classification: bool
    encoder: Encoder
    notes: list[str]


def prepare(
    frame: pd.DataFrame,
    test_frame: pd.DataFrame | None,
    *,
    target: str,
    group_by: str | None,
    test_size: float,
    seed: int,
    classification: Any,
) -> JobData:
    """Split, encode and wrap a table.

    Parameters
    ----------
    frame : DataFrame
        All rows, or the training rows if there is a `test_frame`.
    test_frame : DataFrame, optional
        Test rows with the same columns.
    target, group_by : str
        Columns that are no features.
    test_size : float
        Share of the rows to hold out if there is no `test_frame`.
    seed : int
        Of the split.
    classification : callable
        Decides from the target whether it is a class.

    Raises
    ------
    DataError
        If a column is missing, the target is constant, groups are missing, or too few rows are
        left.
    """
    notes: list[str] = []
    frame = _usable_rows(frame, target, group_by, "", notes)
    classifies = classification(frame[target])
    _check_target(frame[target], target, classifies)
    if test_frame is None:
        train_frame, test_frame = _split(frame, target, test_size, seed, classifies)
    else:
        train_frame, test_frame = frame, _usable_rows(test_frame, target, None, "test ", notes)
        _check_test_columns(train_frame.drop(columns=group_by or []), test_frame, target)
    features = train_frame.drop(columns=[c for c in (target, group_by) if c is not None])
    encoder = fit_encoder(features)
    names = _feature_names(encoder)
    train = Dataset(
        encoder.features(train_frame),
        _target(train_frame[target], classifies),
        names=None if group_by else train_frame.index.to_numpy(),
        groups=None if group_by is None else train_frame[group_by].astype(str).to_numpy(),
        feature_names=names,
    )
    test = Dataset(
        encoder.features(test_frame), _target(test_frame[target], classifies), feature_names=names
    )
    notes += encoder.notes
    return JobData(train_frame, train, test, classifies, encoder, notes)


def _usable_rows(
    frame: pd.DataFrame, target: str, group_by: str | None, which: str, notes: list[str]
) -> pd.DataFrame:
    """Return the rows that have a target; refuse rows without a group."""
    option = "--test" if which else "--target"
    checked_column(frame, target, option)
    unknown = frame[target].isna()
    if unknown.all():
        raise DataError(f"{option}: column {target!r} has no values")
    if unknown.any():
        notes.append(f"{int(unknown.sum()):,} {which}rows without a target are left out")
        frame = frame[~unknown]
    if group_by is not None:
        checked_column(frame, group_by, "--group-by")
        if group_by == target:
            raise DataError(f"--group-by: {group_by!r} is the target")
        homeless = int(frame[group_by].isna().sum())
        if homeless:
            raise DataError(
                f"--group-by: {homeless:,} rows have no value in column {group_by!r}; "
                "leave them out with --where"
            )
    return frame


def _check_test_columns(train: pd.DataFrame, test: pd.DataFrame, target: str) -> None:
    """Raise unless the test rows have all columns, and numbers where they are needed."""
    from pandas.api import types

    for name in train.columns:
        if name not in test.columns:
            raise DataError(f"--test: the test file lacks the column {name!r}")
        if test[name].isna().all():
            continue
        here, there = (types.is_numeric_dtype(frame[name]) for frame in (train, test))
        # Categories may look like numbers in one of the files; the target must not.
        if (here and not there) or (name == target and here != there):
            raise DataError(
                f"--test: column {name!r} holds {'numbers' if there else 'text'}, but "
                f"{'numbers' if here else 'text'} in the data file"
            )


def _check_target(column: pd.Series[Any], target: str, classifies: bool) -> None:
    """Raise if there is nothing to learn from the target."""
    from pandas.api import types

    if not is_hashable(column):
        raise DataError(f"--target: column {target!r} holds lists or other objects, not one value")
    if column.nunique() < 2:
        what = "class" if classifies else "value"
        raise DataError(f"--target: column {target!r} has only one {what}, {column.iloc[0]!r}")
    if classifies and types.is_float_dtype(column) and not (column % 1 == 0).all():
        raise DataError(
            f"--target: column {target!r} is to be predicted as a class but holds fractions"
        )
    if not classifies and not types.is_numeric_dtype(column):
        raise DataError(f"--target: column {target!r} is to be predicted as a number but is text")


def _split(
    frame: pd.DataFrame, target: str, test_size: float, seed: int, classifies: bool
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return training and test rows, with the shares of the classes kept where that is possible."""
    from sklearn.model_selection import train_test_split

    n_test = round(len(frame) * test_size)
    if n_test < 1 or n_test >= len(frame):
        raise DataError(
            f"--test-size {test_size:g} leaves {len(frame) - n_test} of {len(frame)} rows to value "
            f"and {n_test} to test on; both need at least one"
        )
    stratify = None
    if classifies:
        counts = frame[target].value_counts()
        if counts.min() >= 2 and min(n_test, len(frame) - n_test) >= len(counts):
            stratify = frame[target]
    train, test = train_test_split(
        np.arange(len(frame)), test_size=n_test, random_state=seed % 2**32, stratify=stratify
    )
    return frame.iloc[np.sort(train)], frame.iloc[np.sort(test)]


def _target(column: pd.Series[Any], classifies: bool) -> np.ndarray[Any, Any]:
    """Return the target as numbers, or as labels."""
    from pandas.api import types

    if classifies and not types.is_numeric_dtype(column):
        return column.astype(str).to_numpy(dtype=str)
    if types.is_bool_dtype(column):
        return column.to_numpy(dtype=bool).astype(np.int64)
    return column.to_numpy(dtype=None if types.is_integer_dtype(column) else float)


def _feature_names(encoder: Encoder) -> list[str]:
    """Return the names of the encoded columns."""
    return [str(name).partition("__")[2] for name in encoder.transformer.get_feature_names_out()]
