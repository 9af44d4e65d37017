"""Games of sharing what a coalition earns or costs."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core.errors import InvalidOptionError
from dvl_core.games.base import ReferenceGame, checked_n_players

if TYPE_CHECKING:
    from dvl_core.protocols import BoolArray, FloatArray

__all__ = ["AirportGame", "MinerGame", "MinimumSpanningTreeGame", "ShoesGame"]


class ShoesGame(ReferenceGame):
    """Each player has a left or a right shoe; a coalition is worth its number of pairs.

    Players 0 .. left-1 have left shoes, the others right ones.

    Parameters
    ----------
    left, right : int
        Number of players with a left and with a right shoe.

    References
    ----------
    Castro, Gomez & Tejada (2009), Polynomial calculation of the Shapley value based on sampling.

    Examples
    --------
    >>> ShoesGame(1, 2).shapley_values().round(6)
    array([0.666667, 0.166667, 0.166667])
    """

    def __init__(self, left: int, right: int) -> None:
        self.left = checked_n_players(left, "left", least=0)
        self.right = checked_n_players(right, "right", least=0)
        n_players = checked_n_players(self.left + self.right, "left + right")
        super().__init__(n_players, {"left": self.left, "right": self.right})

    def _evaluate(self, coalitions: BoolArray) -> Any:
        left = np.count_nonzero(coalitions[:, : self.left], axis=1)
        right = np.count_nonzero(coalitions[:, self.left :], axis=1)
        return np.minimum(left, right)

    def shapley_values(self) -> FloatArray:
        """Return the chance of completing a pair, all sizes of the others being as likely."""
        n = self.n_players

        def value(own: int, other: int) -> float:
            counts = _incomplete_counts(own, other)
            return sum(count / comb(n - 1, size) for size, count in enumerate(counts)) / n

        return self._per_side(value)

    def banzhaf_values(self) -> FloatArray:
        """Return the chance of completing a pair, all coalitions being as likely."""
        n = self.n_players
        return self._per_side(lambda own, other: sum(_incomplete_counts(own, other)) / 2 ** (n - 1))

    def _per_side(self, value: Any) -> FloatArray:
        """Return ``value(own, other)`` [n] for each player, given the numbers of shoes."""
        left = value(self.left, self.right) if self.left else 0.0
        right = value(self.right, self.left) if self.right else 0.0
        return np.repeat([left, right], [self.left, self.right])


def _incomplete_counts(own: int, other: int) -> list[int]:
    """Count coalitions [n], by size, that an owner of one of `own` shoes joins to make a pair.

    They have fewer shoes of the owner's side than of the other.
    """
    counts = [0] * (own + other)
    for same in range(own):
        for opposite in range(same + 1, other + 1):
            counts[same + opposite] += comb(own - 1, same) * comb(other, opposite)
    return counts


class AirportGame(ReferenceGame):
    """Aeroplanes share a runway: a coalition costs what its largest one needs.

    Parameters
    ----------
    class_sizes : sequence of int
        Number of players of each class.
    costs : sequence of float
        Runway cost of each class: not negative, not falling.

    References
    ----------
    Littlechild & Owen (1973), A simple expression for the Shapley value in a special case. The
    default classes are those of Castro, Gomez & Tejada (2009).

    Examples
    --------
    >>> AirportGame().shapley_values()[[0, 8, -1]].round(6)
    array([0.01   , 0.02087, 0.28937])
    """

    def __init__(
        self,
        class_sizes: Sequence[int] = (8, 12, 6, 14, 8, 9, 13, 10, 10, 10),
        costs: Sequence[float] = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
    ) -> None:
        self.class_sizes = tuple(checked_n_players(size, "a class size") for size in class_sizes)
        self.costs = tuple(float(cost) for cost in costs)
        if len(self.class_sizes) != len(self.costs) or not self.costs:
            raise InvalidOptionError(
                "class_sizes and costs must be of the same length, at least 1, "
                f"got {len(self.class_sizes)} and {len(self.costs)}"
            )
        steps = np.diff(self.costs, prepend=0.0)
        if not np.all(steps >= 0) or not np.isfinite(self.costs[-1]):
            raise InvalidOptionError(
                f"costs must be finite, not negative and not falling, got {list(self.costs)}"
            )
        parameters = {"class_sizes": list(self.class_sizes), "costs": list(self.costs)}
        super().__init__(sum(self.class_sizes), parameters)

    def _evaluate(self, coalitions: BoolArray) -> Any:
        player_costs = np.repeat(self.costs, self.class_sizes)
        return np.max(np.where(coalitions, player_costs, 0.0), axis=1)

    def shapley_values(self) -> FloatArray:
        """Return equal shares of each piece of the runway among those who need it."""
        return self._shared(1.0 / self._users())

    def banzhaf_values(self) -> FloatArray:
        """Return each piece of the runway times the chance to be the only one to need it."""
        return self._shared(0.5 ** (self._users() - 1))

    def _users(self) -> FloatArray:
        """Return how many players need the piece of the runway that each class adds."""
        return np.cumsum(np.array(self.class_sizes, dtype=float)[::-1])[::-1]

    def _shared(self, share: FloatArray) -> FloatArray:
        """Return the cost [n] of each player, who pays that share of each piece of its runway."""
        pieces = np.diff(self.costs, prepend=0.0)
        return np.repeat(np.cumsum(pieces * share), self.class_sizes)


class MinimumSpanningTreeGame(ReferenceGame):
    """Players on a ring connect to a source as cheaply as they can.

    Neighbours on the ring connect at cost 1, anyone connects to the source at cost n + 1, nothing
    else is possible. A coalition costs its minimum spanning tree: one connection to the source for
    each arc of neighbours, and the ring within the arcs.

    Parameters
    ----------
    n : int
        Number of players; the source is none of them.

    References
    ----------
    Castro, Gomez & Tejada (2009), Polynomial calculation of the Shapley value based on sampling.

    Examples
    --------
    >>> MinimumSpanningTreeGame(4).shapley_values()
    array([2., 2., 2., 2.])
    """

    def __init__(self, n: int) -> None:
        self.n = checked_n_players(n)
        super().__init__(self.n, {"n": self.n})

    def _evaluate(self, coalitions: BoolArray) -> Any:
        sizes = np.count_nonzero(coalitions, axis=1)
        arcs = np.count_nonzero(coalitions & ~np.roll(coalitions, 1, axis=1), axis=1)
        # The full ring has no beginning, and still needs the source once.
        arcs += sizes == self.n
        return sizes + self.n * arcs

    def shapley_values(self) -> FloatArray:
        """Return 2 each: equal shares of the full tree, which costs 2 n."""
        return np.full(self.n, 2.0)

    def banzhaf_values(self) -> FloatArray:
        """Return 1 + n / 2**(n - 1) each: closing the ring is what removes no connection."""
        return np.full(self.n, 1.0 + self.n * 0.5 ** (self.n - 1))


class MinerGame(ReferenceGame):
    """Two miners carry one gold bar: a coalition is worth half its size, rounded down.

    Parameters
    ----------
    n : int
        Number of players.

    Examples
    --------
    >>> MinerGame(5).shapley_values()
    array([0.4, 0.4, 0.4, 0.4, 0.4])
    """

    def __init__(self, n: int) -> None:
        self.n = checked_n_players(n)
        super().__init__(self.n, {"n": self.n})

    def _evaluate(self, coalitions: BoolArray) -> Any:
        return np.count_nonzero(coalitions, axis=1) // 2

    def shapley_values(self) -> FloatArray:
        """Return equal shares of all bars."""
        return np.full(self.n, (self.n // 2) / self.n)

    def banzhaf_values(self) -> FloatArray:
        """Return 1/2: the others are as likely odd as even. One player alone carries nothing."""
        return np.full(self.n, 0.5 if self.n > 1 else 0.0)
