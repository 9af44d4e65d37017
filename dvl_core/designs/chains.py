"""Chains: players join in the order of a permutation, each giving one marginal."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from dvl_core.designs.orders import INDEPENDENT
from dvl_core.errors import InvalidOptionError
from dvl_core.statistics import Estimate, RowMoments

if TYPE_CHECKING:
    from dvl_core.designs.orders import OrderDraw
    from dvl_core.protocols import (
        Accumulator,
        AnyArray,
        BoolArray,
        FloatArray,
        Guarantee,
        IntArray,
    )

__all__ = ["ChainDesign", "Truncation"]

MOST_PLAYERS_TO_ENUMERATE = 10
EVALUATIONS_A_BLOCK = 64
CELLS_A_CALL = 1 << 24
"""Coalition matrices are handed to the utility in slices of at most this many entries."""


class Truncation(Protocol):
    """Says when the rest of a chain may be taken as worthless."""

    @property
    def identity(self) -> dict[str, Any]:
        """JSON-able description."""

    def stop(self, n_players: int, path: FloatArray, full: float) -> BoolArray:
        """Return which chains [m] end.

        Parameters
        ----------
        n_players : int
            Players that join if nobody says stop.
        path : float array [m, size + 1]
            Utilities of the prefixes of each chain, from the empty one to that of `size` players.
        full : float
            Utility of all players.
        """


@dataclass(frozen=True, eq=False)
class ChainDesign:
    """Marginals along permutations: u(prefix + i) - u(prefix).

    A player meets every prefix size equally often, so the weight of a marginal at size k is
    n p(k), 1 for Shapley (Castro, Gomez & Tejada 2009).

    Parameters
    ----------
    weights : float array [n]
        Importance weight of a marginal by the size of its prefix.
    sampler : str
        Name of the sampler, part of the identity.
    draw : OrderDraw
        How permutations are drawn, and how many are one replicate.
    truncation : Truncation, optional
        Cut chains short; the players left out get a marginal of zero.
    enumerate_all : bool
        Visit all n! permutations instead of drawing them: exact for every semivalue.
    """

    weights: FloatArray
    sampler: str
    draw: OrderDraw = INDEPENDENT
    truncation: Truncation | None = None
    enumerate_all: bool = False

    def __post_init__(self) -> None:
        if self.enumerate_all and self.n_players > MOST_PLAYERS_TO_ENUMERATE:
            raise InvalidOptionError(
                f"all permutations of {self.n_players} players are too many to visit; "
                f"the limit is {MOST_PLAYERS_TO_ENUMERATE}: draw permutations instead"
            )

    @property
    def n_players(self) -> int:
        """Number of players."""
        return len(self.weights)

    @property
    def replicates_per_block(self) -> int:
        """Independent observations of every marginal in one block."""
        if self.enumerate_all:
            return math.factorial(min(self.n_players, 6))
        evaluations = max(self.n_players - 1, 1) * self.draw.per_replicate
        return max(1, EVALUATIONS_A_BLOCK // evaluations)

    @property
    def n_blocks(self) -> int | None:
        """Blocks until all is known: one for a single player, else only if enumerating."""
        if self.enumerate_all:
            return math.factorial(self.n_players) // self.replicates_per_block
        return 1 if self.n_players == 1 else None

    @property
    def block_evaluations(self) -> int:
        """The most utility values that one block uses."""
        chains = 1 if self.enumerate_all else self.draw.per_replicate
        return self.replicates_per_block * chains * (self.n_players - 1)

    @property
    def guarantee(self) -> Guarantee:
        """Exact, biased by truncation, or unbiased."""
        if self.enumerate_all:
            return "exact"
        return "unbiased" if self.truncation is None else "biased-by-option"

    @property
    def size_law(self) -> FloatArray:
        """Law [n] of the size of the prefix that a player joins."""
        return np.full(self.n_players, 1.0 / self.n_players)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the coalitions of a block, and what they are folded into."""
        return {
            "sampler": self.sampler,
            "n_players": self.n_players,
            "replicates_per_block": self.replicates_per_block,
            "draw": self.draw.identity,
            "truncation": None if self.truncation is None else self.truncation.identity,
            "weights": self.weights.tobytes().hex(),
        }

    def anchors(self) -> BoolArray:
        """Return the empty and the full coalition [2, n]."""
        return np.array([[False] * self.n_players, [True] * self.n_players])

    def evaluate(
        self,
        block: int,
        utility: Callable[[BoolArray], FloatArray],
        rng: np.random.Generator,
        anchor_values: FloatArray,
    ) -> dict[str, AnyArray]:
        """Follow the permutations of one block; ``rows`` [m, n] holds a marginal per player."""
        permutations = self._permutations(block, rng)
        empty, full = float(anchor_values[0]), float(anchor_values[1])
        walk = self._walk if self.truncation is None else self._walk_truncated
        values = walk(permutations, utility, empty, full)
        marginals = np.diff(values, axis=1) * self.weights
        rows = np.empty_like(marginals)
        np.put_along_axis(rows, permutations, marginals, axis=1)
        together = -1, self.replicates_per_block, self.n_players
        return {"rows": rows.reshape(together).mean(axis=0)}

    def accumulator(self) -> Accumulator:
        """Return means and spreads of the marginals."""
        if self.enumerate_all or self.n_players == 1:
            complete = math.factorial(self.n_players) if self.enumerate_all else 1
            return _CompleteMoments(self.n_players, complete)
        return RowMoments(self.n_players)

    def _permutations(self, block: int, rng: np.random.Generator) -> IntArray:
        """Return the permutations [m, n] of a block, one of every replicate after the other."""
        n, m = self.n_players, self.replicates_per_block
        if self.enumerate_all:
            return _lexicographic(n, block * m, m)
        return self.draw(rng, m, n).reshape(-1, n)

    def _walk(
        self,
        permutations: IntArray,
        utility: Callable[[BoolArray], FloatArray],
        empty: float,
        full: float,
    ) -> FloatArray:
        """Return the utilities [m, n + 1] of all prefixes."""
        m, n = permutations.shape
        values = np.empty((m, n + 1))
        values[:, 0], values[:, n] = empty, full
        if n == 1:
            return values
        coalitions = _prefixes(permutations)
        if self.enumerate_all:
            # Permutations share most of their prefixes: each is evaluated once a block.
            coalitions, inverse = np.unique(coalitions, axis=0, return_inverse=True)
        rows_a_call = max(1, CELLS_A_CALL // n)
        parts = [
            utility(coalitions[start : start + rows_a_call])
            for start in range(0, len(coalitions), rows_a_call)
        ]
        evaluated = np.concatenate(parts)
        if self.enumerate_all:
            evaluated = evaluated[inverse.ravel()]
        values[:, 1:n] = evaluated.reshape(m, n - 1)
        return values

    def _walk_truncated(
        self,
        permutations: IntArray,
        utility: Callable[[BoolArray], FloatArray],
        empty: float,
        full: float,
    ) -> FloatArray:
        """Return the utilities [m, n + 1]; constant from where a chain is cut."""
        assert self.truncation is not None
        m, n = permutations.shape
        values = np.empty((m, n + 1))
        values[:, 0] = empty
        active = np.arange(m)
        coalitions = np.zeros((m, n), dtype=bool)
        for size in range(n):
            ended = self.truncation.stop(n, values[active, : size + 1], full)
            stopped = active[ended]
            values[stopped, size + 1 :] = values[stopped, size, None]
            active = active[~ended]
            if len(active) == 0:
                break
            coalitions[active, permutations[active, size]] = True
            last = size == n - 1
            values[active, size + 1] = full if last else utility(coalitions[active])
        return values


class _CompleteMoments(RowMoments):
    """Means over a finite population: without error once all of it was seen."""

    def __init__(self, n: int, complete: int) -> None:
        super().__init__(n)
        self.complete = complete

    def estimate(self) -> Estimate:
        """Return the means; nothing is certain until the enumeration is complete."""
        done = self.count >= self.complete
        values = np.where(done, self.mean, np.nan)
        exact = np.where(done, 0.0, np.inf)
        return Estimate(values, np.zeros_like(values), np.where(done, self.count, 0), exact)


def _prefixes(permutations: IntArray) -> BoolArray:
    """Return the proper non-empty prefixes of each permutation, [m (n - 1), n]."""
    m, n = permutations.shape
    position = np.empty_like(permutations)
    np.put_along_axis(position, permutations, np.arange(n)[None, :], axis=1)
    sizes = np.arange(1, n)
    return (position[:, None, :] < sizes[None, :, None]).reshape(m * (n - 1), n)


def _lexicographic(n: int, start: int, count: int) -> IntArray:
    """Return permutations number `start` .. `start + count - 1` [count, n] in order."""
    rest = np.arange(start, start + count)
    result = np.empty((count, n), dtype=np.int64)
    free = np.tile(np.arange(n), (count, 1))
    rows = np.arange(count)
    for position in range(n):
        digit, rest = np.divmod(rest, math.factorial(n - 1 - position))
        result[:, position] = free[rows, digit]
        keep = np.ones(free.shape, dtype=bool)
        keep[rows, digit] = False
        free = free[keep].reshape(count, -1)
    return result
