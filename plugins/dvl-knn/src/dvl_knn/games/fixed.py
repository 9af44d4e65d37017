"""The fixed game: matches among the nearest neighbours, divided by K."""

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

__all__ = ["FixedGame"]


@dataclass(frozen=True, eq=False)
class FixedGame:
    """u(S) = matches among the min(K, |S|) nearest of S, divided by K (Jia et al. 2019).

    Players i and i + 1, the i-th and the next nearest to a test point, differ in value only through
    the coalitions S of the others that have fewer than K of the i - 1 players nearer than both:
    then whichever of the two joins S is among its K nearest. With I the indicator of a match,

        phi_i - phi_{i+1} = (I_i - I_{i+1}) / K * P(fewer than K of the i - 1 nearest are in S),

    and the farthest player gets I_n / K times the probability that it joins fewer than K others.

    Parameters
    ----------
    k_neighbours : int
        K.
    pivots : float array [n_nearest - 1]
        The probabilities above.
    last_pivot : float
        That of the farthest player; 0 if farther ones are left out.
    error_bound : float
        How far a value may be off because of the players that are left out.
    """

    k_neighbours: int
    pivots: FloatArray
    last_pivot: float
    error_bound: float = 0.0
    by_distance: bool = True
    uses_distances: bool = False

    @classmethod
    def solve(
        cls, semivalue: Semivalue, n_players: int, k_neighbours: int, tolerance: float = 0.0
    ) -> FixedGame:
        """Return the game for a semivalue, of as few of the nearest players as `tolerance` allows.

        A player of rank i is worth at most 1 / K times the probability that fewer than K nearer
        ones are in its coalition, for Shapley 1 / max(i, K) in all (Jia et al. 2019, theorem 2):
        those beyond a rank may be taken as worth nothing, and the others are off by no more.

        Examples
        --------
        >>> from dvl_core import ShapleySemivalue
        >>> game = FixedGame.solve(ShapleySemivalue(), 1000, 5, tolerance=0.1)
        >>> game.n_nearest, round(game.error_bound, 9)
        (10, 0.1)
        """
        alone = CoalitionLaw.for_player(semivalue, n_players).at_most(k_neighbours - 1, n_players)
        bounds = np.minimum.accumulate(alone) / k_neighbours
        within = np.flatnonzero(bounds <= tolerance * (1 + 1e-12)) if tolerance > 0 else []
        n_nearest = int(within[0]) + 1 if len(within) else n_players
        if n_nearest == n_players:
            last, bound = float(alone[-1]), 0.0
        else:
            last, bound = 0.0, float(bounds[n_nearest - 1])
        pair = CoalitionLaw.for_pair(semivalue, n_players)
        return cls(k_neighbours, pair.at_most(k_neighbours - 1, n_nearest - 1), last, bound)

    @property
    def n_nearest(self) -> int:
        """How many of the nearest players are looked at."""
        return len(self.pivots) + 1

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the values."""
        pivots = self.pivots.tobytes().hex()
        return {"game": "fixed", "k": self.k_neighbours, "pivots": [pivots, self.last_pivot]}

    def shares(self, neighbours: Neighbours) -> Shares:
        """Return the values of the players for each test point."""
        matches = neighbours.matches
        steps = np.empty(matches.shape)
        steps[:, -1] = matches[:, -1] * self.last_pivot
        np.multiply(matches[:, :-1] - matches[:, 1:], self.pivots, out=steps[:, :-1])
        values = from_steps(steps)
        values /= self.k_neighbours
        return Shares(neighbours.order, values)
