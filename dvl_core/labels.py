"""Names and numbers of players, groups and columns."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core.errors import DataError
from dvl_core.tabular import as_pandas, is_frame, missing
from dvl_core.tensors import as_array

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from dvl_core.protocols import AnyArray

__all__ = [
    "check_column",
    "feature_names_of",
    "numbered_groups",
    "parts_of_frame",
    "player_mask",
    "player_names",
    "player_numbers",
    "row_names",
    "rows_by_group",
]


def check_column(column: str, columns: list[str]) -> None:
    """Refuse a column that is not there, with a guess at the one that was meant."""
    if column in columns:
        return
    close = difflib.get_close_matches(column, columns, n=1)
    listed = ", ".join(columns[:20]) + (", ..." if len(columns) > 20 else "")
    guess = f"did you mean {close[0]!r}?" if close else f"there are: {listed}"
    raise DataError(f"there is no column {column!r}; {guess}")


def parts_of_frame(
    frame: Any, target: str | Sequence[str], group_by: str | None, drop: Sequence[str]
) -> tuple[Any, Any, Any]:
    """Return the features, the target and the groups (or None) that a frame holds.

    Raises
    ------
    DataError
        If it is no frame, a column is missing, or no features are left.
    """
    frame = as_pandas(frame)
    if not is_frame(frame):
        raise DataError(f"expected a pandas or polars frame, got {type(frame).__name__}")
    targets = [target] if isinstance(target, str) else list(target)
    dropped = [drop] if isinstance(drop, str) else list(drop)
    apart = [*targets, *dropped, *([] if group_by is None else [group_by])]
    for column in apart:
        check_column(column, [str(name) for name in frame.columns])
    features = frame.drop(columns=apart)
    if features.shape[1] == 0:
        raise DataError(f"no features are left beside {', '.join(map(repr, apart))}")
    y = frame[targets[0]] if isinstance(target, str) else frame[targets]
    return features, y, None if group_by is None else frame[group_by]


def numbered_groups(
    groups: ArrayLike | None, n_rows: int
) -> tuple[NDArray[np.int64] | None, list[Any]]:
    """Return the number of the group of each row, and the labels by order of appearance."""
    if groups is None:
        return None, []
    labels = np.asarray(as_array(as_pandas(groups)))
    if labels.shape != (n_rows,):
        raise DataError(f"groups must hold one label for each of {n_rows} rows, got {labels.shape}")
    absent = missing(labels)
    if absent.any():
        raise DataError(f"row {np.flatnonzero(absent)[0]} has no group; drop it or name its group")
    numbers: dict[Any, int] = {}
    codes = [numbers.setdefault(label, len(numbers)) for label in labels.tolist()]
    return np.array(codes, dtype=np.int64), list(numbers)


def rows_by_group(
    groups: NDArray[np.int64], n_groups: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows sorted by the number of their group, and where each group begins."""
    sizes = np.bincount(groups, minlength=n_groups)
    return np.argsort(groups, kind="stable"), np.concatenate([[0], np.cumsum(sizes)])


def row_names(x: Any) -> AnyArray:
    """Return the labels of a frame's index, or the numbers of the rows."""
    return np.asarray(x.index) if is_frame(x) else np.arange(x.shape[0])


def player_names(names: Sequence[Any] | AnyArray, n_players: int) -> AnyArray:
    """Return names [n] as an array without objects, so that results can be saved."""
    names = as_array(as_pandas(names))
    array = np.asarray(names) if hasattr(names, "dtype") else _plain_array(names)
    if array.shape != (n_players,):
        raise DataError(f"there are {n_players} players but names of shape {array.shape}")
    return np.array([str(name) for name in array]) if array.dtype.kind not in "biufUS" else array


def _plain_array(names: Sequence[Any]) -> AnyArray:
    """Return names as an array; those of mixed kinds, and tuples, as objects."""
    names = list(names)
    if names and len({type(name) for name in names}) == 1 and not isinstance(names[0], tuple):
        return np.asarray(names)
    array = np.empty(len(names), dtype=object)
    array[:] = names
    return array


def feature_names_of(names: Sequence[str] | None, x: Any) -> tuple[str, ...]:
    """Return the names of the columns; none where rows are not vectors."""
    width = x.shape[1] if len(x.shape) == 2 else None
    if names is not None:
        if width is not None and len(names) != width:
            raise DataError(f"there are {width} features but {len(names)} feature names")
        return tuple(map(str, names))
    if is_frame(x):
        return tuple(map(str, x.columns))
    return tuple(f"x{i}" for i in range(width or 0))


def player_mask(mask: AnyArray, n_players: int) -> AnyArray:
    """Return a mask of players, or say that it is none."""
    if mask.shape != (n_players,):
        raise DataError(f"a mask of shape {mask.shape} does not fit {n_players} players")
    return mask


def player_numbers(indices: AnyArray, n_players: int) -> NDArray[np.intp]:
    """Return numbers of players, or say what is wrong with them."""
    numbers = np.atleast_1d(indices)
    if numbers.size == 0:
        return np.zeros(0, dtype=np.intp)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
        raise DataError(
            f"players are given by whole numbers or a mask, got {numbers.dtype} of shape "
            f"{numbers.shape}"
        )
    outside = numbers[(numbers < 0) | (numbers >= n_players)]
    if len(outside):
        raise DataError(f"no player {outside[0]}: they are numbered 0 to {n_players - 1}")
    unique, counts = np.unique(numbers, return_counts=True)
    if len(unique) < len(numbers):
        raise DataError(f"player {unique[counts > 1][0]} is given more than once")
    return numbers.astype(np.intp)
