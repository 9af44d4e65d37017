"""The soft-label game: the share of matches among the nearest neighbours that there are."""

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

__all__ = ["SoftLabelGame"]


@dataclass(frozen=True, eq=False)
class SoftLabelGame:
    """u(S) = share of matches among the min(K, |S|) nearest of S; 1 / C for the empty set.

    The recursion of the fixed game with 1 / min(K, |S| + 1) in the place of 1 / K: the two differ
    for coalitions of fewer than K only, in which every player is decisive, so that a constant is
    added to the factors. For Shapley this is theorem 2 of Wang & Jia (2023).

    Parameters
    ----------
    factors : float array [n - 1]
        phi_i - phi_{i+1} is the i-th of them times the difference of the matches.
    joins_nobody : float
        Probability that the farthest player joins the empty coalition.
    joins_few : float
        Mean of 1 / (|S| + 1) over the coalitions of 1 to K - 1 members that it joins, times their
        probability.
    n_classes : int
        C, the classes of the training data: whoever knows nothing guesses.
    """

    factors: FloatArray
    joins_nobody: float
    joins_few: float
    n_classes: int
    by_distance: bool = True
    uses_distances: bool = False

    @classmethod
    def solve(
        cls, semivalue: Semivalue, n_players: int, k_neighbours: int, n_classes: int
    ) -> SoftLabelGame:
        """Return the game for a semivalue.

        Examples
        --------
        >>> from dvl_core import ShapleySemivalue
        >>> SoftLabelGame.solve(ShapleySemivalue(), 3, 1, 2).factors
        array([1. , 0.5])
        """
        one = CoalitionLaw.for_player(semivalue, n_players).sizes[:k_neighbours]
        pair = CoalitionLaw.for_pair(semivalue, n_players)
        few = pair.sizes[:k_neighbours]
        constant = few @ (1 / np.arange(1, len(few) + 1) - 1 / k_neighbours)
        factors = pair.at_most(k_neighbours - 1, n_players - 1) / k_neighbours + constant
        joins_few = one[1:] @ (1 / np.arange(2, len(one) + 1))
        return cls(factors, float(one[0]), float(joins_few), n_classes)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the values."""
        last = [self.joins_nobody, self.joins_few]
        factors = self.factors.tobytes().hex()
        return {"game": "soft-label", "factors": factors, "last": last, "classes": self.n_classes}

    def shares(self, neighbours: Neighbours) -> Shares:
        """Return the values of the players for each test point."""
        matches = neighbours.matches
        last, others = matches[:, -1], matches[:, :-1]
        mean = others.mean(axis=1) if others.shape[1] else np.zeros(len(last))
        steps = np.empty(matches.shape)
        steps[:, -1] = self.joins_nobody * (last - 1 / self.n_classes)
        steps[:, -1] += self.joins_few * (last - mean)
        np.multiply(matches[:, :-1] - matches[:, 1:], self.factors, out=steps[:, :-1])
        return Shares(neighbours.order, from_steps(steps))
