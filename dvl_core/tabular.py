"""Tables of every kind as rows that can be taken: arrays, tensors, frames, sparse matrices."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from scipy import sparse

from dvl_core.chunked import is_chunked, read_rows
from dvl_core.errors import DataError
from dvl_core.mapped import give_back, protected
from dvl_core.tensors import as_array, is_tensor, main_memory_tensor

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

__all__ = [
    "as_features",
    "as_pandas",
    "as_target",
    "in_memory",
    "is_frame",
    "missing",
    "own_copy",
    "take_rows",
]


def take_rows(x: Any, rows: NDArray[np.intp]) -> Any:
    """Return a copy of some rows of an array, tensor, frame, sparse matrix or list.

    Parameters
    ----------
    x : array, tensor, DataFrame, sparse matrix, zarr array or list
        Table with rows along its first dimension.
    rows : int array [m]
        Positions of the rows.

    Returns
    -------
    object
        The rows, in the order given, in a table of the same kind; in memory even where `x` is
        memory-mapped or in chunks on disk. Arrays and tensors lie row by row, however `x` does.

    Examples
    --------
    >>> import numpy as np
    >>> take_rows(np.arange(6).reshape(3, 2), np.array([2, 0]))
    array([[4, 5],
           [0, 1]])
    """
    if hasattr(x, "iloc"):
        return x.iloc[rows]
    if isinstance(x, list):
        return [x[row] for row in rows]
    if is_tensor(x):
        return x[rows].contiguous()
    if is_chunked(x):
        return read_rows(x, rows)
    if not isinstance(x, np.ndarray):
        return x[rows]
    # Indexing keeps the order of columns first, where `x` has it: bits would depend on that.
    taken = np.asanyarray(x[rows], order="C")
    give_back(x)
    return taken


def in_memory(x: Any) -> Any:
    """Return an array in chunks as one in memory, any other table as it is."""
    return np.asarray(x[...]) if is_chunked(x) else x


def own_copy(x: Any) -> Any:
    """Return a copy that may be changed; a table that nobody can change is returned as it is."""
    if is_chunked(x):
        return in_memory(x)
    if isinstance(x, np.ndarray):
        return x.copy() if x.flags.writeable else x
    return x.clone().contiguous() if is_tensor(x) else x.copy()


def is_frame(x: object) -> TypeGuard[pd.DataFrame]:
    """Return whether `x` is a pandas DataFrame, without importing pandas."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(x, pandas.DataFrame)


def as_pandas(frame: Any) -> Any:
    """Return a polars frame as one of pandas, what Dask holds in memory, anything else as it is."""
    if hasattr(frame, "__dask_graph__"):
        return _computed(frame)
    if not type(frame).__module__.startswith("polars."):
        return frame
    import pandas as pd

    if hasattr(frame, "collect"):
        frame = frame.collect()
    if not hasattr(frame, "columns"):
        return frame.to_numpy()
    return pd.DataFrame({name: _pandas_column(frame[name]) for name in frame.columns})


def _computed(collection: Any) -> Any:
    """Return an array, frame or series of Dask in memory.

    Files that were numbered from zero each repeat their labels, which then name nothing.
    """
    table = collection.compute()
    repeated = hasattr(table, "iloc") and not table.index.is_unique
    return table.reset_index(drop=True) if repeated else table


def _pandas_column(series: Any) -> Any:
    """Return a polars series as something that a pandas frame takes as a column."""
    import pandas as pd

    kind = str(series.dtype)
    if kind.startswith("Enum"):
        return pd.Categorical(series.to_list(), categories=series.dtype.categories.to_list())
    if kind.startswith("Categorical"):
        return pd.Categorical(series.to_list())
    if kind.startswith("Decimal"):
        return np.array([np.nan if v is None else float(v) for v in series.to_list()])
    return series.to_numpy()


def as_features(x: Any) -> Any:
    """Return features [n, ...] as an array, in chunks or not, a tensor, a frame or a CSR matrix.

    Raises
    ------
    DataError
        If `x` is empty, ragged, or has no second dimension, or is a tensor that is not a dense one
        in main memory.
    """
    x = as_pandas(x)
    if is_frame(x):
        repeated = x.columns[x.columns.duplicated()]
        if len(repeated):
            raise DataError(f"the frame has more than one column named {repeated[0]!r}; rename one")
    elif sparse.issparse(x):
        x = _csr(x)
    elif is_tensor(x):
        x = main_memory_tensor(x, "x")
    elif not is_chunked(x):
        x = protected(x if isinstance(x, np.ndarray) else _array_of_rows(x))
    _check_features(x)
    return x


def _csr(x: Any) -> Any:
    """Return a sparse matrix in the format whose rows are at hand."""
    return x.tocsr()


def _check_features(x: Any) -> None:
    """Refuse tables without rows or columns."""
    if len(x.shape) == 0:
        raise DataError(f"x must be a table of rows, got {type(x).__name__}")
    if x.shape[0] == 0:
        raise DataError("x has no rows: there is nothing to value")
    if len(x.shape) == 1 and getattr(x.dtype, "kind", "f") in "biufc":
        raise DataError(
            f"x has shape {tuple(x.shape)}: expected rows and columns; a single feature is given "
            "as x.reshape(-1, 1)"
        )
    if 0 in x.shape:
        raise DataError(f"x has shape {tuple(x.shape)}: there are no features")


def _array_of_rows(x: Any) -> NDArray[Any]:
    """Return a sequence of rows as an array; rows that are not sequences as objects."""
    if not hasattr(x, "__len__"):
        raise DataError(f"x must be an array, frame, sparse matrix or list, got {type(x).__name__}")
    if not isinstance(x, list | tuple):
        return np.asarray(x)
    if x and is_tensor(x[0]):
        raise DataError("x is a list of tensors: make one tensor of them with torch.stack(x)")
    if x and isinstance(x[0], list | tuple | np.ndarray):
        lengths = {len(row) if isinstance(row, list | tuple | np.ndarray) else None for row in x}
        if len(lengths) > 1:
            first = next(i for i, row in enumerate(x) if np.shape(row)[:1] != np.shape(x[0])[:1])
            raise DataError(
                f"x is ragged: row 0 has {len(x[0])} entries, row {first} has "
                f"{np.shape(x[first])[0] if np.ndim(x[first]) else 'none'}"
            )
        return np.asarray(x)
    if all(isinstance(row, bool | int | float | np.number) for row in x):
        return np.asarray(x)
    # Texts and other objects are rows themselves, for models with a vectoriser.
    rows = np.empty(len(x), dtype=object)
    rows[:] = x
    return rows


def as_target(y: Any, n_rows: int) -> NDArray[Any]:
    """Return the target as an array [n], or [n, t] where there is more than one.

    Raises
    ------
    DataError
        If `y` has another length, more than two dimensions or missing values.
    """
    y = as_array(as_pandas(y))
    try:
        target = protected(np.asarray(y))
    except ValueError as error:
        raise DataError("y is ragged: every row must have as many targets") from error
    if target.ndim not in (1, 2):
        raise DataError(f"y must have one or two dimensions, got shape {target.shape}")
    if len(target) != n_rows:
        raise DataError(f"x has {n_rows} rows but y has {len(target)}")
    if target.ndim == 2 and target.shape[1] == 1:
        target = target[:, 0]
    if target.dtype.kind == "O":
        target = _without_objects(target)
    unusable = missing(target)
    if target.dtype.kind in "fc":
        unusable = ~np.isfinite(target)
    if unusable.any():
        rows = np.flatnonzero(unusable.reshape(n_rows, -1).any(axis=1))
        raise DataError(
            f"the target is missing or infinite in {len(rows)} of {n_rows} rows (the first is row "
            f"{rows[0]}); drop those rows"
        )
    return target


def _without_objects(values: NDArray[Any]) -> NDArray[Any]:
    """Return an object array as one of strings, booleans or numbers, where it holds only those."""
    flat = values.ravel().tolist()
    for kinds in ((str,), (bool,), (int, float, np.number)):
        if all(isinstance(v, kinds) and (bool in kinds or not isinstance(v, bool)) for v in flat):
            return np.array(flat).reshape(values.shape)
    return values


def missing(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which entries are NaN, NaT, None or NA."""
    if values.dtype.kind in "fc":
        return np.asarray(np.isnan(values))
    if values.dtype.kind in "mM":
        return np.asarray(np.isnat(values))
    if values.dtype.kind == "O":
        import pandas as pd

        return np.asarray(pd.isna(values))
    return np.zeros(values.shape, dtype=bool)
