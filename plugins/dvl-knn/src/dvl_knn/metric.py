"""Distances as scipy computes them: what "near" means, to the last bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial.distance import cdist

from dvl_core.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dvl_knn.rows import Rows

    FloatArray = NDArray[np.float64]

__all__ = ["Metric"]


@dataclass(frozen=True)
class Metric:
    """A distance in the words of `scipy.spatial.distance.cdist`.

    Parameters
    ----------
    name : str
        Name of the metric.
    options : tuple of (str, object)
        Its options.
    """

    name: str
    options: tuple[tuple[str, Any], ...] = ()

    def between(self, x: FloatArray, others: FloatArray) -> FloatArray:
        """Return the distances [m, n] of rows of `x` [m, d] and `others` [n, d].

        The distance of two rows does not depend on what other rows there are.

        Raises
        ------
        DataError
            If a distance is undefined, as the cosine of a row of zeros is.
        """
        # The type stubs of scipy spell out every metric with its own options.
        distances: Any = cdist(x, others, self.name, **dict(self.options))  # type: ignore[call-overload]
        if np.isnan(distances).any():
            raise DataError(
                f"the {self.name} distance of some rows is undefined: rows that are constant or "
                "zero throughout may have none"
            )
        return np.asarray(distances, dtype=float)

    def to_all(self, x: FloatArray, rows: Rows) -> FloatArray:
        """Return the distances [m, n] of rows of `x` [m, d] and all `rows`."""
        distances = np.empty((len(x), len(rows)))
        for where, chunk in rows.chunks():
            distances[:, where] = self.between(x, chunk)
        return distances
