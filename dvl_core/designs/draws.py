"""How a coalition is drawn for a player to join."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core.semivalues import BanzhafSemivalue, LOOSemivalue

if TYPE_CHECKING:
    from dvl_core.protocols import AnyArray, BoolArray, ByteArray, FloatArray, IntArray

__all__ = ["AllOthers", "FairCoins", "SizedSubsets", "random_bits", "uniform_subsets"]

KEYS_A_CHUNK = 1 << 14
"""Random numbers that are looked at together: they stay in the cache of a core."""
LARGEST_KEY = 2**32 - 1
MOST_TO_SORT = 500
"""Up to here sorting many rows at a time is faster than to part them one by one."""


@dataclass(frozen=True)
class FairCoins:
    """Every other player is in with probability 1/2.

    Parameters
    ----------
    antithetic : bool
        The complement follows, and the pair is one observation.
    """

    antithetic: bool

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the draws."""
        return {"antithetic": self.antithetic}

    @property
    def replicate_weights(self) -> FloatArray:
        """One coalition, or a pair."""
        return np.ones(2 if self.antithetic else 1)

    def size_law(self, n_players: int) -> FloatArray:
        """Return the law [n] of the size: binomial."""
        return BanzhafSemivalue().size_law(n_players)

    def __call__(self, rng: np.random.Generator, players: IntArray, n_players: int) -> BoolArray:
        """Return coalitions [1 or 2, m, n]."""
        bits = random_bits(rng, len(players) * -(-n_players // 8)).reshape(len(players), -1)
        drawn = np.unpackbits(bits, axis=1, count=n_players).view(bool)[None]
        both = np.concatenate([drawn, ~drawn]) if self.antithetic else drawn
        both[:, np.arange(len(players)), players] = False
        return both


@dataclass(frozen=True)
class AllOthers:
    """The coalition of all other players."""

    @property
    def identity(self) -> dict[str, Any]:
        """Nothing is drawn."""
        return {}

    @property
    def replicate_weights(self) -> FloatArray:
        """There is one such coalition."""
        return np.ones(1)

    def size_law(self, n_players: int) -> FloatArray:
        """Return the law [n] of the size: always n - 1."""
        return LOOSemivalue().size_law(n_players)

    def __call__(self, rng: np.random.Generator, players: IntArray, n_players: int) -> BoolArray:
        """Return coalitions [1, m, n]."""
        others = np.ones((1, len(players), n_players), dtype=bool)
        others[0, np.arange(len(players)), players] = False
        return others


@dataclass(frozen=True, eq=False)
class SizedSubsets:
    """A size by a given law, then a uniformly drawn subset of that size.

    Parameters
    ----------
    law : float array [n]
        Probability of each size.
    n_sizes : int
        Coalitions drawn together for a player: one from each of so many equal shares of the law,
        so that sizes are spread more evenly than by independent draws.
    """

    law: FloatArray
    n_sizes: int = 1

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the draws."""
        return {"law": self.law.tobytes().hex(), "n_sizes": self.n_sizes}

    @property
    def replicate_weights(self) -> FloatArray:
        """All shares of the law count alike."""
        return np.ones(self.n_sizes)

    def size_law(self, n_players: int) -> FloatArray:
        """Return the law [n] of the size."""
        return self.law

    def __call__(self, rng: np.random.Generator, players: IntArray, n_players: int) -> BoolArray:
        """Return coalitions [n_sizes, m, n]."""
        shape = (self.n_sizes, len(players))
        levels = (np.arange(self.n_sizes)[:, None] + rng.random(shape)) / self.n_sizes
        cumulative = np.cumsum(self.law)
        sizes = np.searchsorted(cumulative / cumulative[-1], levels, side="right")
        never = np.tile(players, self.n_sizes)
        return uniform_subsets(rng, sizes.ravel(), n_players, never).reshape(*shape, n_players)


def uniform_subsets(
    rng: np.random.Generator, sizes: IntArray, n_players: int, never: IntArray | None = None
) -> BoolArray:
    """Return a coalition [m, n] of each of `sizes` [m], all of that size equally likely.

    Parameters
    ----------
    rng : Generator
        Source of the draws.
    sizes : int array [m]
        From 0 to n, to n - 1 with `never`.
    n_players : int
        n.
    never : int array [m], optional
        A player that is not to be in the coalition.

    Examples
    --------
    >>> uniform_subsets(np.random.default_rng(0), np.array([0, 2, 3]), 3).sum(axis=1).tolist()
    [0, 2, 3]
    """
    coalitions = np.empty((len(sizes), n_players), dtype=bool)
    step = max(1, KEYS_A_CHUNK // n_players)
    for start in range(0, len(sizes), step):
        rows = slice(start, start + step)
        drawn = coalitions[rows]
        keys = random_bits(rng, 4 * drawn.size).view("<u4").reshape(drawn.shape)
        if never is not None:
            keys[np.arange(len(keys)), never[rows]] = LARGEST_KEY
        # Those with the smallest keys are in: up to the key of that rank, counted from 0.
        last = np.maximum(sizes[rows] - 1, 0)
        ranked = keys.copy()
        if n_players <= MOST_TO_SORT:
            ranked.sort(axis=1)
        else:
            for row, rank in zip(ranked, last.tolist(), strict=True):
                row.partition(rank)
        np.less_equal(keys, ranked[np.arange(len(keys)), last][:, None], out=drawn)
    coalitions[sizes == 0] = False
    # Equal keys at the cut, once in some million rows, favour nobody, but let in too many.
    tied = np.flatnonzero(coalitions.sum(axis=1) != sizes)
    if len(tied):
        others = None if never is None else never[tied]
        coalitions[tied] = uniform_subsets(rng, sizes[tied], n_players, others)
    return coalitions


def random_bits(rng: np.random.Generator, n_bytes: int) -> ByteArray:
    """Return fair random bits, eight to each of `n_bytes` bytes."""
    words: AnyArray = rng.bit_generator.random_raw(-(-n_bytes // 8))
    return words.astype("<u8", copy=False).view(np.uint8)[:n_bytes]
