"""Arrays and frames of Dask as data sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dvl_core.errors import DataError

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["in_memory"]


def in_memory(*tables: Any, client: Client | None = None) -> Any:
    """Compute arrays, frames and series of Dask, all in one pass, for `dvl_core.Dataset`.

    What a coalition is trained on is a random choice of rows, so the data must fit into the memory
    of each worker. They are computed once; as part of a utility they then travel to each worker
    once.

    Chunks may be ragged and divisions unknown. Frames keep their columns, types and index: its
    labels become the names of the players. An index with repeated labels, as of files that are
    numbered from zero each, is replaced by the numbers of the rows.

    Parameters
    ----------
    *tables : dask.array.Array, dask.dataframe.DataFrame, dask.dataframe.Series, or any table
        What belongs together, row by row; what is not of Dask is returned as it is.
    client : distributed.Client, optional
        Whose cluster computes; None: as Dask is configured.

    Returns
    -------
    array, DataFrame or Series, or a tuple of as many as were given
        In memory, in the order of the arguments.

    Raises
    ------
    DataError
        If the tables have different numbers of rows, or indices that differ.

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> from dvl_core import Dataset
    >>> x, y = da.from_array(np.eye(5), chunks=(2, 5)), da.from_array(np.arange(5), chunks=3)
    >>> Dataset(*in_memory(x, y))
    Dataset(5 rows, 5 features (ndarray), y int64)
    """
    import dask

    # Lists are rows here, and no place to look for arrays of Dask.
    found = list(dask.compute(*tables, traverse=False, scheduler=client))
    _check_rows(found)
    indexed = [i for i, table in enumerate(found) if hasattr(table, "iloc")]
    for i in indexed:
        if not found[i].index.equals(found[indexed[0]].index):
            raise DataError(
                f"tables {indexed[0] + 1} and {i + 1} have different indices: rows belong together "
                "by their place, so both must be in the same order"
            )
    if indexed and not found[indexed[0]].index.is_unique:
        for i in indexed:
            found[i] = found[i].reset_index(drop=True)
    return found[0] if len(found) == 1 else tuple(found)


def _check_rows(tables: list[Any]) -> None:
    """Refuse tables with different numbers of rows."""
    numbers = [_n_rows(table) for table in tables]
    if len(set(numbers)) > 1:
        raise DataError(
            f"the tables have different numbers of rows: {', '.join(map(str, numbers))}"
        )


def _n_rows(table: Any) -> int:
    shape = getattr(table, "shape", None)
    return int(shape[0]) if shape else len(table)
