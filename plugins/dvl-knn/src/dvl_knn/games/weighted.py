"""The weighted game: whether the nearest neighbours with the right label outweigh the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core.errors import DataError
from dvl_knn.games.base import Neighbours, Shares
from dvl_knn.laws import CoalitionLaw

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dvl_core.protocols import Semivalue

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

__all__ = ["WeightedGame", "inverse_distance", "signed_votes"]

WeightFunction = Callable[[Any], Any]


def inverse_distance(distances: FloatArray) -> FloatArray:
    """Return 1 / distance; points at distance zero have all the weight.

    Examples
    --------
    >>> inverse_distance(np.array([[0.0, 2.0], [0.5, 2.0]]))
    array([[1. , 0. ],
           [2. , 0.5]])
    """
    hit = distances == 0
    some = hit.any(axis=-1, keepdims=True)
    return np.where(some, hit.astype(float), 1 / np.where(hit, 1.0, distances))


def signed_votes(weights: FloatArray, matches: NDArray[Any], n_bits: int) -> IntArray:
    """Return votes [m, n] in -(2^bits - 1) .. 2^bits - 1, positive for matches.

    Weights are scaled so that the largest for a test point gets the largest vote, and rounded.

    Examples
    --------
    >>> signed_votes(np.array([[1.0, 0.5, 0.0]]), np.array([[1.0, 0.0, 1.0]]), 3)
    array([[ 7, -4,  0]])
    """
    largest = weights.max(axis=1, keepdims=True)
    share = np.divide(weights, largest, out=np.zeros_like(weights), where=largest > 0)
    votes = np.rint(share * (2**n_bits - 1)).astype(np.int64)
    return np.where(matches > 0, votes, -votes)


@dataclass(frozen=True, eq=False)
class WeightedGame:
    """u(S) = 1 if the votes of the K nearest of S add up to at least 0, else 0.

    Votes are positive for points with the label of the test point and negative for others; their
    sizes are weights rounded to a few bits. A tie, and the empty set, count as right (Wang, Mittal
    & Jia 2024). Solved by counting coalitions by the number and the sum of their votes, from the
    nearest player to the farthest. What is counted for a player depends on its vote only, so that
    a test point costs O(n K V W), V the distinct votes and W the range of the sums.

    Parameters
    ----------
    k_neighbours : int
        K.
    weigh : callable
        Weights [m, n] of distances [m, n]; not negative.
    n_bits : int
        Bits of a vote, its sign aside.
    weights : str
        What recognises `weigh`.
    joins : float array [K]
        Probability of one coalition of l players to be the one that a player joins, l < K.
    pushes : float array [n]
        Probability that of m given others exactly K given ones are in the coalition.
    """

    k_neighbours: int
    weigh: WeightFunction
    n_bits: int
    weights: str
    joins: FloatArray
    pushes: FloatArray
    by_distance: bool = True
    uses_distances: bool = True

    @classmethod
    def solve(
        cls,
        semivalue: Semivalue,
        n_players: int,
        k_neighbours: int,
        weigh: WeightFunction,
        n_bits: int,
        weights: str,
    ) -> WeightedGame:
        """Return the game for a semivalue."""
        law = CoalitionLaw.for_player(semivalue, n_players)
        others = np.array([n_players - 1])
        joins = [law.pattern(others, size)[0] for size in range(min(k_neighbours, n_players))]
        pushes = law.pattern(np.arange(n_players), k_neighbours)
        return cls(k_neighbours, weigh, n_bits, weights, np.array(joins), pushes)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the values."""
        return {
            "game": "weighted",
            "k": self.k_neighbours,
            "weights": [self.weights, self.n_bits],
            "law": [self.joins.tobytes().hex(), self.pushes.tobytes().hex()],
        }

    def shares(self, neighbours: Neighbours) -> Shares:
        """Return the values of the players for each test point.

        Raises
        ------
        DataError
            If a weight is negative or no finite number.
        """
        weights = np.asarray(self.weigh(neighbours.distances), dtype=float)
        if weights.shape != neighbours.distances.shape:
            raise DataError(
                f"weights of distances of shape {neighbours.distances.shape} must have that shape, "
                f"got {weights.shape}"
            )
        if not np.isfinite(weights).all() or weights.min() < 0:
            raise DataError("the weights of neighbours must be finite and not negative")
        votes = signed_votes(weights, neighbours.matches, self.n_bits)
        return Shares(neighbours.order, np.array([self._of_point(row) for row in votes]))

    def _of_point(self, votes: IntArray) -> FloatArray:
        """Return the values [n] for one test point, given the votes from near to far."""
        n, k = len(votes), len(self.joins)
        distinct, kind = np.unique(votes, return_inverse=True)
        reach = (k - 1) * int(np.abs(votes).max())
        # counts[v, l, reach + s]: coalitions of l players so far with the sum s, without one
        # player of the v-th vote. Row -1: without nobody. A vote that did not come up yet has
        # the counts of row -1 once it does: until then its row is not looked at.
        counts = np.zeros((len(distinct) + 1, k, 2 * reach + 1))
        counts[:, 0, reach] = 1.0
        # tail[t] sums over s >= -t: coalitions that win if t more votes join.
        thresholds = np.clip(reach - distinct, 0, 2 * reach + 1)
        pushed = np.zeros(len(distinct))
        pushed_before = np.empty(n)
        seen = np.zeros(len(distinct), dtype=bool)
        for m, (vote, v) in enumerate(zip(votes.tolist(), kind.tolist(), strict=True)):
            if m >= self.k_neighbours:
                wins = _tails(counts[:-1, -1])
                gained = wins[np.arange(len(distinct)), thresholds] - wins[:, thresholds[v]]
                pushed += np.where(seen, gained * self.pushes[m], 0.0)
            if not seen[v]:
                seen[v] = True
                without = counts[-1].copy()
                _join(counts, vote)
                counts[v] = without
            else:
                _join(counts, vote)
            pushed_before[m] = pushed[v]
        wins = _tails(counts[:-1])
        rows = np.arange(len(distinct))
        joined = wins[rows, :, thresholds] - wins[rows, :, reach]
        values = joined @ self.joins + pushed
        return values[kind] - pushed_before


def _tails(counts: FloatArray) -> FloatArray:
    """Return sums from each position to the end, and 0 beyond it, along the last axis."""
    tails = np.zeros((*counts.shape[:-1], counts.shape[-1] + 1))
    np.cumsum(counts[..., ::-1], axis=-1, out=tails[..., -2::-1])
    return tails


def _join(counts: FloatArray, vote: int) -> None:
    """Let a player join every coalition [..., l, s] that has room, in place."""
    width = counts.shape[-1]
    to, by = slice(max(vote, 0), width + min(vote, 0)), slice(max(-vote, 0), width - max(vote, 0))
    counts[:, 1:, to] += counts[:, :-1, by]
