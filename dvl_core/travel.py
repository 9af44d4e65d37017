"""How tables travel to workers: by content, or by what stands for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from dvl_core.mapped import FileArray, file_of
from dvl_core.tensors import from_raw, is_tensor, raw_array

__all__ = ["Portable", "packed", "unpacked"]


@dataclass(frozen=True, slots=True)
class _PackedTensor:
    """A tensor as an array: joblib hands large ones over through shared memory, tensors not."""

    content: np.ndarray[Any, Any]
    dtype: str
    shape: tuple[int, ...]


def packed(table: Any) -> Any:
    """Return what is pickled in place of a table: its file, an array for a tensor, or itself."""
    if is_tensor(table):
        return _PackedTensor(raw_array(table), str(table.dtype), tuple(table.shape))
    if isinstance(table, np.ndarray):
        return file_of(table) or table
    return table


def unpacked(table: Any) -> Any:
    """Return the table for which `packed` gave its argument.

    Raises
    ------
    DataError
        If a file is not there.
    """
    if isinstance(table, _PackedTensor):
        return from_raw(table.content, table.dtype, table.shape)
    return table.open() if isinstance(table, FileArray) else table


class Portable:
    """Base of what holds tables; they are pickled as `packed` makes them."""

    tables: ClassVar[tuple[str, ...]] = ()

    @cached_property
    def _packed(self) -> dict[str, Any]:
        """What stands for the tables; kept, because joblib shares an array that it knows again."""
        return {name: packed(getattr(self, name)) for name in self.tables}

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__ | self._packed
        del state["_packed"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update({name: unpacked(part) for name, part in state.items()})
