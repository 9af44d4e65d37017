"""Memory-mapped arrays: they travel by the name of their file, never by their content."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from dvl_core.errors import DataError

__all__ = ["FileArray", "file_of", "give_back", "is_mapped", "protected"]

Array = np.ndarray[Any, Any]

LARGE = 1 << 26
"""Bytes of a mapping from which on pages that were read are given back."""


@dataclass(frozen=True, slots=True)
class FileArray:
    """Where in a file an array lies.

    Parameters
    ----------
    path : str
        Absolute path.
    offset : int
        First byte of the file that belongs to the array.
    n_bytes : int
        How many bytes it spans.
    first : int
        Where among these bytes the first element is: not 0 if a stride is negative.
    dtype : dtype
        Of the elements.
    shape, strides : tuple of int
        As of the array.
    """

    path: str
    offset: int
    n_bytes: int
    first: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def open(self) -> Array:
        """Return the array, mapped into memory, read-only.

        Raises
        ------
        DataError
            If the file is gone or too short.
        """
        try:
            content = np.memmap(
                self.path, np.uint8, mode="r", offset=self.offset, shape=(self.n_bytes,)
            )
        except (OSError, ValueError) as error:
            raise DataError(
                f"memory-mapped data cannot be read from {self.path} ({error}): every worker "
                "needs the file under this path"
            ) from error
        return np.ndarray(self.shape, self.dtype, content, self.first, self.strides)


def is_mapped(array: Array) -> bool:
    """Return whether an array is a file mapped into memory, or a view of one."""
    return _mapping(array) is not None


def protected(array: Array) -> Array:
    """Return a mapped array that is writable as a read-only view: no model may change the file.

    Other arrays are returned as they are.
    """
    if array.flags.writeable and is_mapped(array):
        array = array.view()
        array.flags.writeable = False
    return array


def give_back(array: Array) -> None:
    """Give the pages of a large mapped file that were read back to the system.

    They stay in its cache as long as there is memory, and are mapped again when they are read
    again, which costs a fraction of copying them. But a process no longer holds them: it would
    hold the whole file in the end, and clusters end workers that hold too much.

    Parameters
    ----------
    array : array
        A mapped array or a view of one; nothing happens to any other.
    """
    mapping = _mapping(array)
    # What a private mapping has changed would be lost.
    if mapping is None or mapping.mode == "c":
        return
    pages = mapping.base
    if len(pages) >= LARGE and hasattr(mmap, "MADV_DONTNEED"):
        pages.madvise(mmap.MADV_DONTNEED)


def file_of(array: Array) -> FileArray | None:
    """Return where a mapped array, or any view of one, lies in its file.

    Returns
    -------
    FileArray or None
        None if the array is not mapped, or what it holds may differ from the file: the mode "c"
        keeps changes to itself, and a file may have lost its name.
    """
    mapping = _mapping(array)
    if mapping is None or mapping.mode == "c" or array.dtype.hasobject or array.size == 0:
        return None
    if mapping.filename is None or not os.path.exists(mapping.filename):
        return None
    reach = [(size - 1) * stride for size, stride in zip(array.shape, array.strides, strict=True)]
    first = -sum(step for step in reach if step < 0)
    n_bytes = first + sum(step for step in reach if step > 0) + array.itemsize
    offset = mapping.offset + array.ctypes.data - first - mapping.ctypes.data
    path = os.path.abspath(mapping.filename)
    return FileArray(path, offset, n_bytes, first, array.dtype, array.shape, array.strides)


def _mapping(array: Any) -> Any:
    """Return the `numpy.memmap` that opened the file of an array; None if there is none."""
    opened = None
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap):
            # Views of a memmap are memmaps with the offset of the first: the last one counts.
            opened = array
        array = array.base
    return opened if isinstance(array, mmap.mmap) else None
