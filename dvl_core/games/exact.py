"""Semivalues by enumeration of all coalitions."""

from __future__ import annotations

from math import comb
from typing import TYPE_CHECKING

import numpy as np

from dvl_core.errors import InvalidOptionError
from dvl_core.semivalues import checked_size_law

if TYPE_CHECKING:
    from dvl_core.protocols import BoolArray, FloatArray, IntArray, Semivalue, Utility

__all__ = ["all_values", "coalitions_of", "exact_values"]

_MOST_PLAYERS = 20
_CHUNK = 1 << 14


def coalitions_of(masks: IntArray, n_players: int) -> BoolArray:
    """Return the coalitions [b, n] whose bits are `masks` [b]; player 0 is the lowest bit.

    Examples
    --------
    >>> coalitions_of(np.array([1, 6]), 3)
    array([[ True, False, False],
           [False,  True,  True]])
    """
    return ((masks[:, None] >> np.arange(n_players)) & 1).astype(bool)


def all_values(game: Utility) -> FloatArray:
    """Return the worth [2**n] of every coalition of `game`, in the order of their masks."""
    n = _enumerable_players(game)
    values = np.empty(1 << n)
    for start in range(0, len(values), _CHUNK):
        masks = np.arange(start, min(start + _CHUNK, len(values)))
        values[start : start + len(masks)] = game(coalitions_of(masks, n))
    return values


def exact_values(game: Utility, semivalue: Semivalue) -> FloatArray:
    """Compute a semivalue of a small game by enumeration.

    Parameters
    ----------
    game : Utility
        A game of at most 20 players, bound to its data.
    semivalue : Semivalue
        The law of the size of the coalition that a player joins.

    Returns
    -------
    float array [n]
        The value of each player.

    Raises
    ------
    InvalidOptionError
        If the game has more than 20 players or is not bound to data, or `semivalue` gives no law.

    References
    ----------
    Dubey, Neyman & Weber (1981), Value theory without efficiency, theorem 1.

    Examples
    --------
    >>> from dvl_core.games import ShoesGame
    >>> from dvl_core.semivalues import ShapleySemivalue
    >>> exact_values(ShoesGame(1, 3), ShapleySemivalue()).round(6)
    array([0.75    , 0.083333, 0.083333, 0.083333])
    """
    n = _enumerable_players(game)
    law = checked_size_law(semivalue, n)
    weights = law / np.array([comb(n - 1, size) for size in range(n)], dtype=float)
    utilities = all_values(game)
    values = np.empty(n)
    for player in range(n):
        # The middle axis is the player: out at 0, in at 1.
        pairs = utilities.reshape(-1, 2, 1 << player)
        without = _sizes(n - 1).reshape(-1, 1 << player)
        values[player] = np.sum(weights[without] * (pairs[:, 1] - pairs[:, 0]))
    return values


def _enumerable_players(game: Utility) -> int:
    """Return the number of players of a game that can be enumerated."""
    n = game.n_players
    if n is None or n > _MOST_PLAYERS:
        raise InvalidOptionError(
            f"only games of at most {_MOST_PLAYERS} players are enumerated, this one has "
            f"{'not been bound to data' if n is None else n}"
        )
    return n


def _sizes(n_players: int) -> IntArray:
    """Return the sizes [2**n] of all coalitions, in the order of their masks."""
    sizes = np.zeros(1, dtype=np.int64)
    for _ in range(n_players):
        sizes = np.concatenate([sizes, sizes + 1])
    return sizes
