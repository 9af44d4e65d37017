"""The empirical Fisher matrix of gradients that are given, of numpy, torch or another library."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from array_api_compat import array_namespace

from dvl_core.errors import DataError

__all__ = ["EmpiricalFisher", "Gradients"]


class Gradients(Protocol):
    """The gradients of n points, some rows [., p] at a time."""

    @property
    def n_points(self) -> int:
        """The number of points n."""

    @property
    def mean_squares(self) -> Any:
        """Mean over the points of the squared entries [p]."""

    def __iter__(self) -> Iterator[Any]:
        """Yield the rows, the same in every pass."""


@dataclass(frozen=True)
class _Matrix:
    matrix: Any

    @property
    def n_points(self) -> int:
        return int(self.matrix.shape[0])

    @cached_property
    def mean_squares(self) -> Any:
        return array_namespace(self.matrix).mean(self.matrix**2, axis=0)

    def __iter__(self) -> Iterator[Any]:
        yield self.matrix


class EmpiricalFisher:
    """The mean of g g^T over the gradients g of single points, as a linear operator.

    For models of other libraries than torch; `dvl_influence.Curvature` is it for torch models.

    Parameters
    ----------
    gradients : float array [n, p]
        Gradients of the losses of n >= 1 points.

    Raises
    ------
    DataError
        If it is no finite matrix with rows and columns.

    Examples
    --------
    >>> import numpy as np
    >>> EmpiricalFisher(np.array([[1.0, 0.0], [1.0, 2.0]])).dense()
    array([[1., 1.],
           [1., 2.]])
    """

    kind = "empirical-fisher"

    def __init__(self, gradients: Any) -> None:
        xp = array_namespace(gradients)
        if gradients.ndim != 2 or 0 in gradients.shape:
            raise DataError(
                f"gradients must be a matrix [n, p], not an array {tuple(gradients.shape)}"
            )
        if not bool(xp.all(xp.isfinite(gradients))):
            raise DataError("the gradients hold NaN or infinity")
        self.gradients = _Matrix(gradients)

    @property
    def size(self) -> int:
        """The number of parameters p."""
        return int(self.gradients.matrix.shape[1])

    @property
    def like(self) -> Any:
        """A vector [p] of the type of the products."""
        return self.gradients.matrix[0, :]

    def matvec(self, vectors: Any) -> Any:
        """Return the products [m, p] with the rows of `vectors` [m, p]."""
        matrix = self.gradients.matrix
        return (vectors @ matrix.T) @ matrix / self.gradients.n_points

    def dense(self) -> Any:
        """Return the matrix [p, p]."""
        matrix = self.gradients.matrix
        return matrix.T @ matrix / self.gradients.n_points
