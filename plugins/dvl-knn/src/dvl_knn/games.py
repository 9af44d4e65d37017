"""The games of nearest neighbours: the values of all training points for each test point.

Each game is given, for every test point, which training points match its label, in the order in
which it asked for them, and their distances; it returns the values of all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from scipy.special import digamma

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

__all__ = ["FixedGame", "KNNGame", "SoftLabelGame", "ThresholdGame"]


class KNNGame(Protocol):
    """A game of nearest neighbours, solved."""

    @property
    def by_distance(self) -> bool:
        """Whether the training points must come in the order of their distance."""

    @property
    def identity(self) -> dict[str, Any]:
        """JSON-able description of what decides the values."""

    def values(self, matches: FloatArray, distances: FloatArray) -> FloatArray:
        """Return the values [m, n] of training points for m test points.

        Parameters
        ----------
        matches : float array [m, n]
            1 where the training point has the label of the test point.
        distances : float array [m, n]
            In the same order.
        """


def _from_steps(steps: FloatArray) -> FloatArray:
    """Return the sums of each row's entries from every position to the last, in place."""
    np.cumsum(steps[:, ::-1], axis=1, out=steps[:, ::-1])
    return steps


@dataclass(frozen=True, eq=False)
class FixedGame:
    """u(S) = matches among the min(K, |S|) nearest of S, divided by K (Jia et al. 2019).

    The values of all but the farthest follow from that of the next farther one.

    Parameters
    ----------
    k_neighbours : int
        K.
    pivots : float array [n - 1]
        Probability that a neighbour is decisive, by how many are nearer.
    last_pivot : float
        The same for the farthest player.
    """

    k_neighbours: int
    pivots: FloatArray
    last_pivot: float
    by_distance: bool = True

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the values."""
        pivots = self.pivots.tobytes().hex()
        return {"game": "fixed", "k": self.k_neighbours, "pivots": [pivots, self.last_pivot]}

    def values(self, matches: FloatArray, distances: FloatArray) -> FloatArray:
        """Return the values [m, n] of training points for m test points."""
        steps = np.empty_like(matches)
        steps[:, -1] = matches[:, -1] * self.last_pivot
        steps[:, :-1] = (matches[:, :-1] - matches[:, 1:]) * self.pivots
        return _from_steps(steps) / self.k_neighbours


@dataclass(frozen=True)
class SoftLabelGame:
    """u(S) = share of matches among the min(K, |S|) nearest of S; 1/C for the empty set.

    Shapley values by the recursion of Wang & Jia (2023), theorem 2.

    Parameters
    ----------
    k_neighbours : int
        K.
    n_classes : int
        C, the classes of the training data: whoever knows nothing guesses.
    """

    k_neighbours: int
    n_classes: int
    by_distance: bool = True

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the values."""
        return {"game": "soft-label", "k": self.k_neighbours, "classes": self.n_classes}

    def values(self, matches: FloatArray, distances: FloatArray) -> FloatArray:
        """Return the values [m, n] of training points for m test points."""
        n = matches.shape[1]
        last, guess = matches[:, -1], 1.0 / self.n_classes
        if n == 1:
            return matches - guess
        k = min(self.k_neighbours, n)
        nearer = np.arange(1, n)
        harmonic = np.sum(1.0 / np.arange(1, k + 1))
        others = matches[:, :-1].sum(axis=1)
        steps = np.empty_like(matches)
        steps[:, -1] = (last - others / (n - 1)) / n * (harmonic - 1.0) + (last - guess) / n
        decisive = (harmonic + np.minimum(nearer, k) * (n - 1) / (nearer * k) - 1.0) / (n - 1)
        steps[:, :-1] = (matches[:, :-1] - matches[:, 1:]) * decisive
        return _from_steps(steps)


@dataclass(frozen=True)
class ThresholdGame:
    """u(S) = share of matches among the members of S within a radius; 1/C if there are none.

    Closed forms; points beyond the radius are worth nothing (Wang et al. 2023).

    Parameters
    ----------
    radius : float
        In the unit of the distances; what lies exactly on it is inside.
    n_classes : int
        C, the classes of the training data: whoever knows nothing guesses.
    banzhaf : bool
        Banzhaf instead of Shapley values.
    """

    radius: float
    n_classes: int
    banzhaf: bool
    by_distance: bool = False

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the values."""
        return {
            "game": "threshold",
            "radius": self.radius,
            "classes": self.n_classes,
            "banzhaf": self.banzhaf,
        }

    def values(self, matches: FloatArray, distances: FloatArray) -> FloatArray:
        """Return the values [m, n] of training points for m test points."""
        inside = distances <= self.radius
        count = inside.sum(axis=1)[:, None].astype(float)
        others = (matches * inside).sum(axis=1)[:, None] - matches
        # Where nobody is inside, nobody gets a value: any positive number will do.
        c = np.maximum(count, 1.0)
        pairs = np.maximum(c * (c - 1.0), 1.0)
        several = count >= 2
        if self.banzhaf:
            alone = 2.0 ** (1.0 - c)
            values = matches * (2.0 - alone) / c - alone / self.n_classes
            values = values - several * others * (2.0 - (c + 1.0) * alone) / pairs
        else:
            harmonic = digamma(c + 1.0) - digamma(1.0)
            values = (matches - 1.0 / self.n_classes) / c
            values = values + several * (matches / c - others / pairs) * (harmonic - 1.0)
        return np.where(inside, values, 0.0)
