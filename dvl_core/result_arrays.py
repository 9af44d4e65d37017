"""What the arrays of a result are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from dvl_core.protocols import AnyArray, FloatArray, IntArray

__all__ = ["as_names", "frozen", "positions_of_nan"]


def frozen(array: Any, dtype: Any) -> Any:
    """Return a read-only copy."""
    copy = np.array(array, dtype=dtype)
    copy.setflags(write=False)
    return copy


def as_names(names: Sequence[Any] | AnyArray) -> AnyArray:
    """Return names as an array of numbers, of strings, or of strings if they are mixed."""
    array = np.asarray(names)
    return array.astype(str) if array.dtype.kind not in "iufbU" else array


def positions_of_nan(values: FloatArray) -> IntArray:
    """Return the positions of NaN."""
    return np.flatnonzero(np.isnan(values))
