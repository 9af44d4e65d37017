"""The threshold game: the share of matches within a radius."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_knn.games.base import Neighbours, Shares
from dvl_knn.laws import CoalitionLaw

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dvl_core.protocols import Semivalue

    FloatArray = NDArray[np.float64]

__all__ = ["ThresholdGame"]


@dataclass(frozen=True, eq=False)
class ThresholdGame:
    """u(S) = share of matches among the members of S within a radius; 1 / C if there are none.

    Points beyond the radius are worth nothing. Of the c points within, one that joins s others
    there, drawn at random with the mean match M, changes the share on average by
    (I - M) / (s + 1), or I - 1 / C if s = 0:

        phi = P(s = 0) (I - 1 / C) + (I - M) (E[1 / (s + 1)] - P(s = 0)).

    For Shapley and Banzhaf values these are the closed forms of Wang et al. (2023).

    Parameters
    ----------
    radius : float
        In the unit of the distances; what lies exactly on it is inside.
    nobody : float array [n]
        Probability that none of m others is in the coalition, m = 0 .. n - 1.
    n_classes : int
        C, the classes of the training data: whoever knows nothing guesses.
    """

    radius: float
    nobody: FloatArray
    n_classes: int
    by_distance: bool = False
    uses_distances: bool = True

    @classmethod
    def solve(
        cls, semivalue: Semivalue, n_players: int, radius: float, n_classes: int
    ) -> ThresholdGame:
        """Return the game for a semivalue."""
        law = CoalitionLaw.for_player(semivalue, n_players)
        return cls(radius, law.pattern(np.arange(n_players), 0), n_classes)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the values."""
        return {
            "game": "threshold",
            "radius": self.radius,
            "classes": self.n_classes,
            "nobody": self.nobody.tobytes().hex(),
        }

    def shares(self, neighbours: Neighbours) -> Shares:
        """Return the values of the players for each test point."""
        matches = neighbours.matches
        inside = neighbours.distances <= self.radius
        # Where nobody is inside, nobody gets a value: any number of others will do.
        others = np.maximum(inside.sum(axis=1)[:, None] - 1, 0)
        nobody = self.nobody[others]
        # (m + 1) E[1 / (s + 1)] is the sum of P(none of j is in) over j = 0 .. m: both sides
        # are linear in the law, and equal if everyone is in with one probability, independently.
        mean_share = np.cumsum(self.nobody)[others] / (others + 1)
        rest = (matches * inside).sum(axis=1)[:, None] - matches
        differences = matches - rest / np.maximum(others, 1)
        values = nobody * (matches - 1 / self.n_classes) + (mean_share - nobody) * differences
        return Shares(neighbours.order, np.where(inside, values, 0.0))
