"""Games that are sums over players, sizes or carriers, and tables of random numbers."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core.errors import InvalidOptionError
from dvl_core.games.base import ReferenceGame, checked_n_players
from dvl_core.games.exact import coalitions_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from dvl_core.protocols import AnyArray, BoolArray, FloatArray

__all__ = ["AdditiveGame", "RandomGame", "SizeGame", "SumOfUnanimityGames", "UnanimityGame"]

_MOST_RANDOM_PLAYERS = 16


def _checked_weights(weights: ArrayLike) -> FloatArray:
    """Return finite `weights` [m], at least one, as a new array."""
    array = np.array(weights, dtype=np.float64)
    if array.ndim != 1 or array.size == 0 or not np.all(np.isfinite(array)):
        raise InvalidOptionError(
            f"weights must be finite numbers, at least one, in one dimension, got {weights!r}"
        )
    return array


def _sum_where(chosen: BoolArray, weights: FloatArray) -> FloatArray:
    """Return the sums [b] of the `weights` [m] that are `chosen` [b, m].

    Accumulated from left to right, so that the rounding is the same in every batch, which a matrix
    product does not promise.
    """
    accumulated = np.add.accumulate(np.where(chosen, weights, 0.0), axis=1)
    return np.asarray(accumulated[:, -1], dtype=float)


class AdditiveGame(ReferenceGame):
    """Each player has a weight; a coalition is worth the sum.

    Every semivalue of a player is its weight.

    Parameters
    ----------
    weights : float array [n]
        What each player adds.

    Examples
    --------
    >>> AdditiveGame([0.5, -1.0]).shapley_values()
    array([ 0.5, -1. ])
    """

    def __init__(self, weights: ArrayLike) -> None:
        self.weights = _checked_weights(weights)
        super().__init__(len(self.weights), {"weights": self.weights.tolist()})

    def _evaluate(self, coalitions: BoolArray) -> Any:
        return _sum_where(coalitions, self.weights)

    def shapley_values(self) -> FloatArray:
        """Return the weights."""
        return self.weights.copy()

    def banzhaf_values(self) -> FloatArray:
        """Return the weights."""
        return self.weights.copy()


class SumOfUnanimityGames(ReferenceGame):
    """A coalition is worth the weights of the carriers that it contains.

    Every game with u(empty) = 0 is such a sum, of at most 2**n - 1 carriers; one of few carriers
    has exact values at any number of players.

    Parameters
    ----------
    carriers : bool array [m, n]
        Members of each carrier; none is empty.
    weights : float array [m]
        What each carrier is worth (its Harsanyi dividend).

    References
    ----------
    Harsanyi (1963), A simplified bargaining model for the n-person cooperative game.

    Examples
    --------
    >>> game = SumOfUnanimityGames([[True, True, False], [False, True, True]], [1.0, 3.0])
    >>> game.shapley_values()
    array([0.5, 2. , 1.5])
    """

    def __init__(self, carriers: ArrayLike, weights: ArrayLike) -> None:
        self.carriers = _checked_carriers(carriers)
        self.weights = _checked_weights(weights)
        if len(self.weights) != len(self.carriers):
            raise InvalidOptionError(
                f"{len(self.carriers)} carriers came with {len(self.weights)} weights"
            )
        n_players = self.carriers.shape[1]
        members = [np.flatnonzero(carrier).tolist() for carrier in self.carriers]
        parameters = {"n": n_players, "carriers": members, "weights": self.weights.tolist()}
        super().__init__(n_players, parameters)

    @classmethod
    def random(cls, n: int, n_carriers: int, seed: int) -> SumOfUnanimityGames:
        """Return a game of random carriers, of 1 to `n` players, with weights from -1 to 1.

        Examples
        --------
        >>> SumOfUnanimityGames.random(100, 20, seed=1).shapley_values().shape
        (100,)
        """
        rng = np.random.default_rng(seed)
        sizes = rng.integers(1, n, size=n_carriers, endpoint=True)
        ranks = rng.random((n_carriers, n)).argsort(axis=1).argsort(axis=1)
        return SumOfUnanimityGames(ranks < sizes[:, None], rng.uniform(-1.0, 1.0, n_carriers))

    def _evaluate(self, coalitions: BoolArray) -> Any:
        # Counts of members are small integers, which floating point adds exactly in any order.
        missing = (~coalitions).astype(float) @ self.carriers.T.astype(float)
        return _sum_where(missing == 0, self.weights)

    def shapley_values(self) -> FloatArray:
        """Return equal shares of each carrier's weight among its members."""
        return self._shared(1.0 / self.carriers.sum(axis=1))

    def banzhaf_values(self) -> FloatArray:
        """Return each carrier's weight times the chance that its other members are in."""
        return self._shared(0.5 ** (self.carriers.sum(axis=1) - 1))

    def _shared(self, share: FloatArray) -> FloatArray:
        """Return the sum [n] of those shares [m] of the weights of the carriers one is in."""
        return np.asarray((self.weights * share) @ self.carriers, dtype=float)


def _checked_carriers(carriers: ArrayLike) -> BoolArray:
    """Return `carriers` [m, n] as a new boolean array without empty rows."""
    array = np.array(carriers)
    if array.dtype != np.bool_ or array.ndim != 2 or array.size == 0:
        raise InvalidOptionError(
            "carriers must be a boolean array of shape [carriers, players], "
            f"got {array.dtype} of shape {array.shape}"
        )
    if not array.any(axis=1).all():
        raise InvalidOptionError(f"carrier {int(array.any(axis=1).argmin())} has no member")
    return array


class UnanimityGame(SumOfUnanimityGames):
    """A coalition is worth 1 if it contains all of the carrier, 0 otherwise.

    Parameters
    ----------
    carrier : bool array [n]
        Its members, at least one.

    Examples
    --------
    >>> UnanimityGame([True, True, True, False]).banzhaf_values()
    array([0.25, 0.25, 0.25, 0.  ])
    """

    def __init__(self, carrier: ArrayLike) -> None:
        super().__init__(np.array([carrier]), [1.0])


class SizeGame(ReferenceGame):
    """A coalition of k players is worth k (k - 1).

    Parameters
    ----------
    n : int
        Number of players.

    Examples
    --------
    >>> SizeGame(3).shapley_values()
    array([2., 2., 2.])
    """

    def __init__(self, n: int) -> None:
        self.n = checked_n_players(n)
        super().__init__(self.n, {"n": self.n})

    def _evaluate(self, coalitions: BoolArray) -> Any:
        sizes = np.count_nonzero(coalitions, axis=1)
        return sizes * (sizes - 1)

    def shapley_values(self) -> FloatArray:
        """Return n - 1 each: one adds twice the size of the coalition that it joins."""
        return np.full(self.n, self.n - 1.0)

    def banzhaf_values(self) -> FloatArray:
        """Return n - 1 each, as the mean size of what one joins is the same."""
        return np.full(self.n, self.n - 1.0)


class RandomGame(ReferenceGame):
    """Every coalition, the empty one included, is worth a random number from 0 to 1.

    Parameters
    ----------
    n : int
        Number of players, at most 16.
    seed : int
        The same seed gives the same game.

    Examples
    --------
    >>> game = RandomGame(3, seed=1)
    >>> everyone = np.ones((1, 3), dtype=bool)
    >>> bool(np.isclose(game.shapley_values().sum(), (game(everyone) - game(~everyone))[0]))
    True
    """

    def __init__(self, n: int, seed: int) -> None:
        self.n = checked_n_players(n)
        if self.n > _MOST_RANDOM_PLAYERS:
            raise InvalidOptionError(
                f"a random game has at most {_MOST_RANDOM_PLAYERS} players, got {self.n}"
            )
        self.seed = checked_n_players(seed, "seed", least=0)
        super().__init__(self.n, {"n": self.n, "seed": self.seed})

    def _evaluate(self, coalitions: BoolArray) -> Any:
        return _random_table(self.n, self.seed)[coalitions @ (1 << np.arange(self.n))]

    def shapley_values(self) -> FloatArray:
        """Return equal shares of the Harsanyi dividend of each coalition among its members."""
        return self._shared(lambda sizes: 1.0 / sizes)

    def banzhaf_values(self) -> FloatArray:
        """Return each Harsanyi dividend times the chance that the other members are in."""
        return self._shared(lambda sizes: 0.5 ** (sizes - 1))

    def _shared(self, share: Any) -> FloatArray:
        """Return the sum [n] of ``share(size)`` of the dividends of the coalitions one is in."""
        dividends = _dividends(_random_table(self.n, self.seed))
        members = coalitions_of(np.arange(1 << self.n), self.n)
        # The empty coalition shares its dividend among nobody.
        sizes = np.maximum(members.sum(axis=1), 1)
        return np.asarray((dividends * share(sizes)) @ members, dtype=float)


@lru_cache(maxsize=8)
def _random_table(n: int, seed: int) -> FloatArray:
    """Return the worth [2**n] of each coalition; kept out of the game, which travels to workers."""
    table = np.random.default_rng(seed).random(1 << n)
    table.flags.writeable = False
    return table


def _dividends(table: FloatArray) -> FloatArray:
    """Return the Harsanyi dividends [2**n] of a table [2**n]: its Moebius transform."""
    dividends: AnyArray = table.copy()
    step = 1
    while step < len(table):
        pairs = dividends.reshape(-1, 2, step)
        pairs[:, 1] -= pairs[:, 0]
        step *= 2
    return dividends
