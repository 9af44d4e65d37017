"""Coalitions drawn by size: how a block of them is drawn and evaluated."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from dvl_core.designs.draws import uniform_subsets
from dvl_core.designs.enumeration import FEW_PLAYERS, EnumerationSchedule, without_sizes

if TYPE_CHECKING:
    from dvl_core.protocols import AnyArray, BoolArray, FloatArray, IntArray

__all__ = ["SizedDesign", "evaluated", "sized_coalitions", "units_a_block"]

EVALUATIONS_A_BLOCK = ((FEW_PLAYERS, 16), (64, 64))
MOST_EVALUATIONS_A_BLOCK = 128


def units_a_block(n_players: int, paired: bool) -> int:
    """Return how many coalitions, or pairs of complements, one block holds.

    Models that are trained together take less time each the more there are. But a budget is spent
    in whole blocks: that of few players would be left over in large part.

    Examples
    --------
    >>> units_a_block(24, paired=True), units_a_block(100, paired=True)
    (8, 64)
    """
    evaluations = MOST_EVALUATIONS_A_BLOCK
    for most_players, fewer in reversed(EVALUATIONS_A_BLOCK):
        if n_players <= most_players:
            evaluations = fewer
    return evaluations // 2 if paired else evaluations


class SizedDesign:
    """The part of a design that draws coalitions by size, and enumerates sizes that have few.

    A subclass says by which `schedule`.
    """

    schedule: EnumerationSchedule

    @property
    def n_players(self) -> int:
        """Number of players."""
        return len(self.schedule.law) - 1

    @property
    def n_blocks(self) -> int | None:
        """Blocks until everything is known; None if that is out of reach."""
        return self.schedule.n_blocks

    @property
    def block_evaluations(self) -> int:
        """The most utility values that one block uses."""
        return self.schedule.units_a_block * self._per_unit

    def evaluations_in(self, block: int) -> int:
        """Return how many utility values a block uses: the last of an enumeration has fewer."""
        number, _ = self.schedule.place(block)
        if number < 0:
            return self.block_evaluations
        one = self.schedule.enumerations[number]
        before = (block - one.start) * self.schedule.units_a_block
        return min(one.units - before, self.schedule.units_a_block) * self._per_unit

    @property
    def size_law(self) -> FloatArray:
        """Law [n + 1] of the size of what is drawn, until one is enumerated; ends are anchors."""
        return without_sizes(self.schedule.law, [0, self.n_players])

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
        """Evaluate a block; ``members`` [u, r, n / 8] (packed bits), ``values`` [u, r], ``ends``.

        ``enumeration`` is the number of the one that the block belongs to, -1 if it was drawn.
        """
        number, law = self.schedule.place(block)
        if number < 0:
            drawn = sized_coalitions(rng, law, self.schedule.units_a_block)
        else:
            drawn = self.schedule.coalitions(number, block)
        sample = evaluated(drawn, self.schedule.paired, utility, anchor_values)
        return sample | {"enumeration": np.array(number)}

    @property
    def _per_unit(self) -> int:
        return 2 if self.schedule.paired else 1


def evaluated(
    drawn: BoolArray,
    paired: bool,
    utility: Callable[[BoolArray], FloatArray],
    anchor_values: FloatArray,
) -> dict[str, AnyArray]:
    """Evaluate the coalitions of a block.

    Parameters
    ----------
    drawn : bool array [u, n]
        The coalitions.
    paired : bool
        Follow every coalition by its complement.
    utility : callable
        Worth [b] of coalitions [b, n].
    anchor_values : float array [2]
        Utilities of the empty and the full coalition.

    Returns
    -------
    dict
        ``members`` [u, r, n / 8] (packed bits), ``values`` [u, r], and the ``ends`` [2].
    """
    n = drawn.shape[1]
    units = np.stack([drawn, ~drawn], axis=1) if paired else drawn[:, None]
    coalitions = units.reshape(-1, n)
    sizes = coalitions.sum(axis=1)
    values = np.where(sizes == 0, anchor_values[0], anchor_values[1])
    proper = (sizes > 0) & (sizes < n)
    if proper.any():
        values[proper] = utility(coalitions[proper])
    return {
        "members": np.packbits(units, axis=2),
        "values": values.reshape(units.shape[:2]),
        "ends": anchor_values,
    }


def sized_coalitions(rng: np.random.Generator, law: FloatArray, count: int) -> BoolArray:
    """Return coalitions [count, n] whose sizes are spread evenly over a law [n + 1].

    One size is drawn from each of `count` equal shares of the law, in random order.

    Examples
    --------
    >>> law = np.array([0.0, 0.5, 0.5, 0.0])
    >>> sized_coalitions(np.random.default_rng(0), law, 2).sum(axis=1).tolist()
    [2, 1]
    """
    n = len(law) - 1
    levels = (np.arange(count) + rng.random(count)) / count
    cumulative = np.cumsum(law)
    sizes: IntArray = np.searchsorted(cumulative / cumulative[-1], levels, side="right")
    return uniform_subsets(rng, rng.permutation(sizes), n)
