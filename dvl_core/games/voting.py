"""Voting games: a coalition wins, and is worth 1, or loses."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core.errors import InvalidOptionError
from dvl_core.games.base import ReferenceGame, checked_n_players

if TYPE_CHECKING:
    from dvl_core.protocols import BoolArray, FloatArray

__all__ = ["ELECTORAL_VOTES", "AsymmetricVotingGame", "SymmetricVotingGame"]

ELECTORAL_VOTES = (
    *(45, 41, 27, 26, 26, 25, 21, 17, 17, 14, 13, 13, 12, 12, 12, 11),
    *(10,) * 4,
    *(9,) * 4,
    *(8,) * 2,
    *(7,) * 4,
    *(6,) * 4,
    *(5,) * 1,
    *(4,) * 9,
    *(3,) * 7,
)
"""Votes of the 50 states and the District of Columbia in the electoral college of the 1970s."""


class SymmetricVotingGame(ReferenceGame):
    """One vote each; more than half wins.

    Parameters
    ----------
    n : int
        Number of players.

    References
    ----------
    Castro, Gomez & Tejada (2009), Polynomial calculation of the Shapley value based on sampling.

    Examples
    --------
    >>> SymmetricVotingGame(4).banzhaf_values()
    array([0.375, 0.375, 0.375, 0.375])
    """

    def __init__(self, n: int) -> None:
        self.n = checked_n_players(n)
        super().__init__(self.n, {"n": self.n})

    def _evaluate(self, coalitions: BoolArray) -> Any:
        return 2 * np.count_nonzero(coalitions, axis=1) > self.n

    def shapley_values(self) -> FloatArray:
        """Return 1/n each, by symmetry and efficiency."""
        return np.full(self.n, 1.0 / self.n)

    def banzhaf_values(self) -> FloatArray:
        """Return the chance that exactly half of n, rounded down, of the others vote."""
        return np.full(self.n, comb(self.n - 1, self.n // 2) / 2 ** (self.n - 1))


class AsymmetricVotingGame(ReferenceGame):
    """Some votes each; more than a quota wins.

    Parameters
    ----------
    weights : sequence of int
        Positive votes of each player; by default those of the 51 electors of the president of the
        United States.
    quota : int, optional
        What the votes of a winning coalition exceed; by default half of all votes.

    References
    ----------
    Mann & Shapley (1962), Values of large games VI: counting coalitions by size and weight.

    Examples
    --------
    >>> AsymmetricVotingGame().shapley_values()[[0, -1]].round(6)
    array([0.088309, 0.005413])
    """

    def __init__(
        self, weights: Sequence[int] = ELECTORAL_VOTES, *, quota: int | None = None
    ) -> None:
        self.weights = tuple(checked_n_players(weight, "a weight") for weight in weights)
        if not self.weights:
            raise InvalidOptionError("weights must not be empty")
        if quota is None:
            quota = sum(self.weights) // 2
        self.quota = checked_n_players(quota, "quota", least=0)
        parameters = {"weights": list(self.weights), "quota": self.quota}
        super().__init__(len(self.weights), parameters)

    def _evaluate(self, coalitions: BoolArray) -> Any:
        return coalitions @ np.array(self.weights, dtype=np.int64) > self.quota

    def shapley_values(self) -> FloatArray:
        """Return the share of orders of the players in which each turns losing into winning."""
        n = self.n_players
        per_size = np.array([1.0 / (n * comb(n - 1, size)) for size in range(n)])
        return self._swing_sums(per_size)

    def banzhaf_values(self) -> FloatArray:
        """Return the share of coalitions of the others that each turns from losing to winning."""
        n = self.n_players
        return self._swing_sums(np.full(n, 0.5 ** (n - 1)))

    def _swing_sums(self, per_size: FloatArray) -> FloatArray:
        """Return the sum [n] of `per_size` [n] over the losing coalitions that a player saves."""
        by_weight = {
            weight: float(per_size @ self._swing_counts(weight)) for weight in set(self.weights)
        }
        return np.array([by_weight[weight] for weight in self.weights])

    def _swing_counts(self, weight: int) -> FloatArray:
        """Return how many coalitions [n] of each size a player of that weight makes win."""
        others = list(self.weights)
        others.remove(weight)
        # Only sums of positive numbers: no cancellation, whatever the number of players.
        counts = np.zeros((len(self.weights), self.quota + 1))
        counts[0, 0] = 1.0
        for other in others:
            if other <= self.quota:
                counts[1:, other:] += counts[:-1, : self.quota + 1 - other]
        return np.asarray(counts[:, max(self.quota + 1 - weight, 0) :].sum(axis=1), dtype=float)
