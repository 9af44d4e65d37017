"""The target of a data set: an array for the book-keeping, and what models are given."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from dvl_core.tabular import as_target
from dvl_core.tensors import is_tensor, main_memory_tensor
from dvl_core.travel import Portable

__all__ = ["Target"]


class Target(Portable):
    """Target of all rows.

    Parameters
    ----------
    y : array-like or tensor [n_rows] or [n_rows, t]
        As for `Dataset`.
    n_rows : int
        Number of rows.

    Raises
    ------
    DataError
        As for `Dataset`.

    Examples
    --------
    >>> target = Target([[1.5], [2.5]], 2)
    >>> target.values
    array([1.5, 2.5])
    """

    tables: ClassVar[tuple[str, ...]] = ("values", "tensor")

    def __init__(self, y: Any, n_rows: int) -> None:
        self.tensor = main_memory_tensor(y, "y") if is_tensor(y) else None
        self.values = as_target(y, n_rows)
        self._is_column = self.values.ndim < len(np.shape(y))

    @property
    def as_given(self) -> Any:
        """The tensor, or an array with a single column if it was given so."""
        if self.tensor is not None:
            return self.tensor
        return self.values[:, None] if self._is_column else self.values

    def for_anyone(self) -> Any:
        """Return what models of any kind take: the tensor, or the array without a column."""
        return self.values if self.tensor is None else self.tensor

    def for_model(self, model: Any) -> Any:
        """Return what `model` takes: one that compares shapes gets the column it was given."""
        if self._is_column and self.tensor is None:
            from dvl_core.utilities.torch_models import takes_columns

            return self.as_given if takes_columns(model) else self.values
        return self.for_anyone()
