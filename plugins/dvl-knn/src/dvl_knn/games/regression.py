"""The regression game: minus the squared error of a mean over the nearest neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_knn.games.base import Neighbours, Shares, from_steps
from dvl_knn.laws import CoalitionLaw

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dvl_core.protocols import Semivalue

    FloatArray = NDArray[np.float64]

__all__ = ["RegressionGame"]


@dataclass(frozen=True, eq=False)
class RegressionGame:
    """u(S) = -(t - sum of the targets of the min(K, |S|) nearest of S / K)^2 (Jia et al. 2019).

    t is the target of the test point; targets are taken relative to a fill value f, so that a
    neighbour that S lacks counts as predicting f.

    As in the fixed game, ranks i and i + 1 differ in value only through the coalitions S that have
    fewer than K of the i - 1 nearer players. With A the sum of the K - 1 nearest of such an S,

        phi_i - phi_{i+1} = (y_{i+1} - y_i) / K * E[((y_i + y_{i+1} + 2 A) / K - 2 t); such an S],

    and a player adds to A if it is in S and at most K - 2 others nearer than it are.

    Parameters
    ----------
    k_neighbours : int
        K.
    fill_value : float
        f.
    pivots : float array [n - 1]
        Probability that fewer than K of the m nearest others are in S, m = 0 .. n - 2.
    adds : float array [n - 1]
        Probability that a given player is in S and at most K - 2 of m nearer others are.
    few : (float, float)
        Sum over s < K of p(s), and of s p(s): the coalitions in which the farthest player counts.
    """

    k_neighbours: int
    fill_value: float
    pivots: FloatArray
    adds: FloatArray
    few: tuple[float, float]
    by_distance: bool = True
    uses_distances: bool = False

    @classmethod
    def solve(
        cls, semivalue: Semivalue, n_players: int, k_neighbours: int, fill_value: float
    ) -> RegressionGame:
        """Return the game for a semivalue."""
        sizes = CoalitionLaw.for_player(semivalue, n_players).sizes[:k_neighbours]
        pair = CoalitionLaw.for_pair(semivalue, n_players)
        return cls(
            k_neighbours,
            fill_value,
            pair.at_most(k_neighbours - 1, n_players - 1),
            pair.member_with_at_most(k_neighbours - 2, n_players - 1),
            (float(sizes.sum()), float(sizes @ np.arange(len(sizes)))),
        )

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the values."""
        tables = [self.pivots.tobytes().hex(), self.adds.tobytes().hex(), list(self.few)]
        return {
            "game": "regression",
            "k": self.k_neighbours,
            "fill": self.fill_value,
            "law": tables,
        }

    def shares(self, neighbours: Neighbours) -> Shares:
        """Return the values of the players for each test point."""
        k = self.k_neighbours
        y = neighbours.targets - self.fill_value
        t = (neighbours.wanted - self.fill_value)[:, None]
        n = y.shape[1]
        steps = np.empty(y.shape)
        everyone = y.sum(axis=1, keepdims=True)
        last = y[:, -1:]
        mean = (everyone - last) / max(n - 1, 1)
        joined, members = self.few
        steps[:, -1:] = -last / k * ((2 * members * mean + joined * last) / k - 2 * t * joined)
        if n > 1:
            i = np.arange(n - 1)
            nearer = np.cumsum(y, axis=1)[:, :-1] - y[:, :-1]
            # A player l beyond both has l - 2 others nearer than it (ranks from 0).
            farther = np.zeros((len(y), n - 1))
            if n > 2:
                farther[:, :-1] = from_steps(y[:, 2:] * self.adds[: n - 2])
            added = self.adds[np.maximum(i - 1, 0)] * nearer + farther
            pair = y[:, :-1] + y[:, 1:]
            expected = (pair / k - 2 * t) * self.pivots + 2 / k * added
            steps[:, :-1] = (y[:, 1:] - y[:, :-1]) / k * expected
        return Shares(neighbours.order, from_steps(steps))
