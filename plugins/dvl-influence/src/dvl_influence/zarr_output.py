"""Numbers of test points in an array of zarr that says what it holds, and is continued if cut off.

Chunks are written whole. What a chunk lacks is NaN, which no number is: a chunk counts as done if
it can be read, checksum included, and holds no NaN. Nothing else records the progress, so nothing
can contradict it, and another batch size or memory budget may go on where the first one stopped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec

from dvl_core.errors import CheckpointError, InvalidOptionError
from dvl_influence.lazy_table import Account, Group, LazyTable
from dvl_influence.origins import check_identity, plain, versions
from dvl_influence.places import Place

__all__ = ["write_zarr"]


def write_zarr(
    table: LazyTable,
    where: Place,
    *,
    overwrite: bool = False,
    chunks: tuple[int, int] | None = None,
) -> zarr.Array[Any]:
    """Write numbers into an array of zarr, or finish what an earlier call began.

    Parameters
    ----------
    table : LazyTable
        The numbers.
    where : Place
        Where the array lies, or will.
    overwrite : bool
        Replace an array that is there.
    chunks : tuple of two int, optional
        Rows and columns in a chunk; None: those that come together.

    Raises
    ------
    CheckpointError
        If something else is there, or numbers of another origin, or it cannot be read or written.
    InvalidOptionError
        If chunks are not two positive numbers, or the place cannot be written to.
    """
    where.require_writable()
    account = table.account()
    if overwrite and where.array() is not None:
        where.remove()
    array = _existing(where, account)
    new = array is None
    if array is None:
        array = _created(table, where, account, chunks)
    there: Any = array.attrs["identity"]
    check_identity(
        there,
        account.identity,
        f"{where} holds {account.content}",
        "give another path, or overwrite=True to replace them",
    )
    if not array.attrs["complete"]:
        _fill(table, array, where, new)
        with where.explained("write"):
            array.attrs["complete"] = True
            where.remove_leftovers()
    with where.explained("read"):
        return zarr.open_array(where.target, mode="r")


def _existing(where: Place, account: Account) -> zarr.Array[Any] | None:
    """Return the array that is there, None if there is nothing."""
    array = where.array()
    if array is None:
        if not where.is_empty():
            raise CheckpointError(
                f"{where} is there and is no array of zarr: give another path, or remove it "
                "yourself"
            )
        return None
    known = {"identity", "complete"} <= array.attrs.keys()
    if not known or array.attrs.get("content") != account.content:
        raise CheckpointError(
            f"{where} is an array of zarr, but not of {account.content}: overwrite=True replaces it"
        )
    return array


def _created(
    table: LazyTable, where: Place, account: Account, chunks: tuple[int, int] | None
) -> zarr.Array[Any]:
    """Return a new array in which nothing is done."""
    n_rows, n_columns, *features = table.shape
    chunks = account.chunks if chunks is None else chunks
    whole = len(chunks) == 2 and all(isinstance(c, int) and c >= 1 for c in chunks)
    if not whole:
        raise InvalidOptionError(
            f"chunks is {chunks!r}: it must be two whole numbers, of rows and of columns"
        )
    attributes = {
        "content": account.content,
        **account.attributes,
        "report": plain(table.model.report),
        "versions": dict(versions()),
        "identity": account.identity,
        "complete": False,
    }
    with where.explained("write"):
        return zarr.create_array(
            where.target,
            shape=table.shape,
            chunks=(min(chunks[0], n_rows), min(chunks[1], n_columns), *features),
            dtype=str(table.dtype).removeprefix("torch."),
            compressors=[Crc32cCodec()],
            fill_value=math.nan,
            attributes=attributes,
            dimension_names=account.axes,
        )


def _fill(table: LazyTable, array: zarr.Array[Any], where: Place, new: bool) -> None:
    """Compute and write the chunks that are not done."""
    groups = list(_groups(table, array, where, new))
    width = array.chunks[1]
    waiting: dict[tuple[int, int], _Column] = {}
    for test, columns, block in table.blocks(groups):
        for number in range(columns.start // width, -(-columns.stop // width)):
            whole = slice(number * width, min((number + 1) * width, array.shape[1]))
            if columns.start <= whole.start and whole.stop <= columns.stop:
                numbers = block[:, whole.start - columns.start : whole.stop - columns.start]
            else:
                key = (test.start, number)
                column = waiting.setdefault(key, _Column(test, whole, array))
                column.take(columns, block)
                if not column.full:
                    continue
                numbers = waiting.pop(key).numbers
            with where.explained("write"):
                array[test, whole] = numbers


class _Column:
    """Chunks of the same columns, which come in parts.

    Parameters
    ----------
    test, columns : slice
        Their rows and columns.
    array : zarr.Array
        Where they will be written.
    """

    def __init__(self, test: slice, columns: slice, array: zarr.Array[Any]) -> None:
        size = (test.stop - test.start, columns.stop - columns.start, *array.shape[2:])
        self.numbers = np.empty(size, dtype=array.dtype)
        self._columns = columns
        self._missing: int = size[1]

    @property
    def full(self) -> bool:
        """Whether all columns have come."""
        return self._missing == 0

    def take(self, columns: slice, block: np.ndarray[Any, Any]) -> None:
        """Copy those numbers that are its own."""
        start = max(columns.start, self._columns.start)
        stop = min(columns.stop, self._columns.stop)
        here = slice(start - self._columns.start, stop - self._columns.start)
        self.numbers[:, here] = block[:, start - columns.start : stop - columns.start]
        self._missing -= stop - start


def _groups(table: LazyTable, array: zarr.Array[Any], where: Place, new: bool) -> Iterator[Group]:
    """Yield groups of test points in whole chunks, with the columns they lack."""
    height, width = array.chunks[:2]
    n_test, n_columns = array.shape[:2]
    most = max(1, table.group_size() // height)
    run: list[int] = []
    lacking: list[int] = []

    def group() -> Group:
        test = slice(run[0] * height, min((run[-1] + 1) * height, n_test))
        columns = (slice(c * width, min((c + 1) * width, n_columns)) for c in lacking)
        return Group(test, tuple(columns))

    for row in range(-(-n_test // height)):
        every = range(-(-n_columns // width))
        with where.explained("read"):
            missing = [c for c in every if new or not _is_done(array, row, c)]
        if run and (missing != lacking or len(run) == most):
            yield group()
            run = []
        if missing:
            run.append(row)
        lacking = missing
    if run:
        yield group()


def _is_done(array: zarr.Array[Any], row: int, column: int) -> bool:
    """Return whether a chunk can be read and holds every number."""
    height, width = array.chunks[:2]
    test = slice(row * height, (row + 1) * height)
    columns = slice(column * width, (column + 1) * width)
    try:
        numbers = np.asarray(array[test, columns])
    except (ValueError, RuntimeError):
        return False
    return not bool(np.isnan(numbers).any())
