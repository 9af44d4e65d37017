"""Squares of Euclidean distances by matrix products, and bounds on how far they are off.

With both points taken relative to the same centre, |x - y|^2 = |x|^2 + |y|^2 - 2 x.y. A product of
matrices is much faster than distances one by one, but it cancels: its error is relative to
|x|^2 + |y|^2, not to the distance. With unit roundoff u and d features, the roundings of the
coordinates (4 u), of the norms (d u), of the product (d u), of the sums (2 u), and of the distances
that this is compared with ((2 d + 4) u) are together less than

    4 (d + 8) * 2 u * (|x|^2 + |y|^2),

whatever the order in which the terms are added. Centring keeps norms, and with them errors, small
for data far from the origin.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dvl_knn.rows import Rows

    FloatArray = NDArray[np.float64]
    SingleArray = NDArray[np.float32]
    IntArray = NDArray[np.int64]

__all__ = ["DoubleSquares", "SingleSquares"]

SMALLEST_RADIUS, LARGEST_RADIUS = 2.0**-400, 2.0**400
"""Squares of other coordinates come near the end of the range of float64."""
FARTHEST = 2.0**20
"""Test points farther from the centre than so many radii are beyond single precision."""
UNDERFLOW = 2.0**-100
"""More than products and coordinates too small for single precision add to an error, a feature."""
MOST_FEATURES = 1 << 20
ENTRIES_AT_A_TIME = 1 << 24


def error_share(n_features: int, dtype: type) -> float:
    """Return the error of a square as a share of |x|^2 + |y|^2."""
    return float(4 * (n_features + 8) * np.finfo(dtype).eps)


def _centre(rows: Rows) -> tuple[FloatArray, float] | None:
    """Return a point [d] amid the rows and their largest distance from it along an axis.

    None if bounds would not hold, because all rows are one point or numbers are extreme.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        centre = sum(chunk.sum(axis=0) for _, chunk in rows.chunks()) / len(rows)
        radius = max(float(np.abs(chunk - centre).max()) for _, chunk in rows.chunks())
    if SMALLEST_RADIUS <= radius <= LARGEST_RADIUS and rows.n_features <= MOST_FEATURES:
        return centre, radius
    return None


def _norms(x: FloatArray) -> FloatArray:
    return np.einsum("ij,ij->i", x, x)


@dataclass(frozen=True, eq=False)
class DoubleSquares:
    """Squares in double precision, to order all rows by; the rows are not copied.

    Parameters
    ----------
    rows : Rows
        Points [n, d].
    centre : float array [d]
        What coordinates are relative to.
    norms : float array [n]
        |y|^2 of the points.
    """

    rows: Rows
    centre: FloatArray
    norms: FloatArray

    @classmethod
    def of(cls, rows: Rows) -> DoubleSquares | None:
        """Return the squares of distances to rows, or None if bounds would not hold."""
        found = _centre(rows)
        if found is None:
            return None
        norms = [_norms(chunk - found[0]) for _, chunk in rows.chunks()]
        return cls(rows, found[0], np.concatenate(norms))

    def approximate(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return |y|^2 - 2 x.y for all points [m, n], and how far each row may be off [m]."""
        with np.errstate(over="ignore", invalid="ignore"):
            centred = x - self.centre
            squares = np.empty((len(x), len(self.rows)))
            for where, chunk in self.rows.chunks():
                np.matmul(-2 * centred, (chunk - self.centre).T, out=squares[:, where])
                squares[:, where] += self.norms[where]
            share = error_share(self.rows.n_features, np.float64)
            return squares, share * (_norms(centred) + self.norms.max())


@dataclass(frozen=True, eq=False)
class SingleSquares:
    """Bounds of squares in single precision, to find the few nearest of very many rows by.

    Parameters
    ----------
    points : float32 array [n, d]
        Points relative to the centre, scaled by a power of two so that no coordinate exceeds 1.
    centre : float array [d]
        The centre.
    exponent : int
        Of the scale.
    lower : float32 array [n]
        |y|^2 of the points, less the share of the error that grows with it.
    width : float32 array [n]
        Twice that share.
    """

    points: SingleArray
    centre: FloatArray
    exponent: int
    lower: SingleArray
    width: SingleArray

    @classmethod
    def of(cls, rows: Rows) -> SingleSquares | None:
        """Return the squares of distances to rows, or None if bounds would not hold."""
        found = _centre(rows)
        if found is None:
            return None
        centre, radius = found
        exponent = int(np.frexp(radius)[1])
        points = np.empty((len(rows), rows.n_features), dtype=np.float32)
        norms = np.empty(len(rows))
        for where, chunk in rows.chunks():
            points[where] = np.ldexp(chunk - centre, -exponent)
            norms[where] = _norms(points[where].astype(np.float64))
        share = error_share(rows.n_features, np.float32)
        lower, width = (1 - share) * norms, 2 * share * norms
        return cls(points, centre, exponent, lower.astype(np.float32), width.astype(np.float32))

    def candidates(self, x: FloatArray, count: int) -> Iterator[IntArray | None]:
        """Yield, for each row of `x` [m, d], numbers that have its `count` nearest among them.

        Whoever is as near as the last of those is among them too. Ascending; None for a point that
        is too far away to tell.
        """
        step = max(1, ENTRIES_AT_A_TIME // len(self.points))
        for start in range(0, len(x), step):
            yield from self._candidates(x[start : start + step], count)

    def _candidates(self, x: FloatArray, count: int) -> Iterator[IntArray | None]:
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = np.ldexp(x - self.centre, -self.exponent)
            near = np.abs(scaled).max(axis=1) <= FARTHEST
        scaled[~near] = 0.0
        bounds = (-2 * scaled).astype(np.float32) @ self.points.T
        bounds += self.lower
        share = error_share(x.shape[1], np.float32)
        slack = 2 * (share * _norms(scaled) + x.shape[1] * UNDERFLOW)
        for row in range(len(x)):
            yield self._nearest(bounds[row], float(slack[row]), count) if near[row] else None

    def _nearest(self, bounds: SingleArray, slack: float, count: int) -> IntArray:
        """Return who may be among the nearest, given lower bounds [n] of squares."""
        # The reach of a sample is a reach for all, and leaves few to look at closely.
        step = int(np.sqrt(len(bounds) / count))
        reach = self._reach(bounds[::step], self.width[::step], slack, count)
        found = np.flatnonzero(bounds <= reach)
        reach = self._reach(bounds[found], self.width[found], slack, count)
        return found[bounds[found] <= reach]

    @staticmethod
    def _reach(bounds: SingleArray, width: SingleArray, slack: float, count: int) -> np.float32:
        """Return a lower bound that none of the `count` nearest of some points exceeds."""
        first = np.argpartition(bounds, count - 1)[:count]
        upper = float((bounds[first].astype(np.float64) + width[first]).max()) + slack
        return np.nextafter(np.float32(upper), np.float32(np.inf))
