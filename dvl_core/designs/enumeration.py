"""Sizes of which there are so few coalitions that all of them are evaluated, and when.

Drawing from a handful of coalitions repeats some and misses others. Once as many draws as half of
them would have been spent on the coalitions of a size, all of them are evaluated, each once, and
the size is not drawn any more: what it adds to the values is then known. Of few players that is so
soon that the first such size comes first of all: to draw from it before would be a waste.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from dvl_core.protocols import BoolArray, FloatArray, IntArray

__all__ = [
    "FEW_PLAYERS",
    "Enumeration",
    "EnumerationSchedule",
    "first_of_complete_sizes",
    "level_means",
    "without_sizes",
]

SHARE_DRAWN = 0.5
"""Of the coalitions of a size, how many draws come before all of them are evaluated."""
FEW_PLAYERS = 32
SOON = 8
"""Evaluations a player."""
MOST_COALITIONS = 20_000
"""Of a size; the i-th of more takes too long to find."""
LAST_BLOCK = 1 << 40


class Enumeration(NamedTuple):
    """Blocks in which all coalitions of a size are evaluated, with their complements if paired.

    Parameters
    ----------
    start, stop : int
        Numbers of the first block, and of the first one after.
    size : int
        Of the coalitions; complements have n - `size`.
    units : int
        Coalitions, or pairs of complements.
    """

    start: int
    stop: int
    size: int
    units: int


@dataclass(frozen=True, eq=False)
class EnumerationSchedule:
    """Which blocks draw, and which evaluate all coalitions of a size.

    Parameters
    ----------
    law : float array [n + 1]
        Of the sizes that are drawn; symmetric if `paired`.
    paired : bool
        Whether every coalition comes with its complement.
    units_a_block : int
        Coalitions, or pairs, in a block.

    Examples
    --------
    >>> schedule = EnumerationSchedule(np.array([0.0, 0.5, 0.5, 0.0]), True, 32)
    >>> schedule.enumerations, schedule.n_blocks
    ([Enumeration(start=0, stop=1, size=1, units=3)], 1)
    """

    law: FloatArray
    paired: bool
    units_a_block: int

    @cached_property
    def enumerations(self) -> list[Enumeration]:
        """All of them, in order."""
        n, law = len(self.law) - 1, without_sizes(self.law, [0, len(self.law) - 1])
        drawn, found, block = np.zeros(n + 1), list[Enumeration](), 0
        units = {size: self._units(size) for size in np.flatnonzero(law).tolist()}
        units = {size: count for size, count in units.items() if 0 < count <= MOST_COALITIONS}
        while units:
            a_block = self.units_a_block * law * (2 if self.paired else 1)
            missing = {
                size: max(SHARE_DRAWN * math.comb(n, size) - drawn[size], 0.0) / a_block[size]
                for size in units
            }
            size = min(missing, key=lambda candidate: missing[candidate])
            blocks = int(missing[size])
            if n <= FEW_PLAYERS and not found and blocks * a_block.sum() <= SOON * n:
                blocks = 0
            if block + blocks > LAST_BLOCK:
                break
            drawn += blocks * a_block
            count, start = units.pop(size), block + blocks
            block = start + -(-count // self.units_a_block)
            found.append(Enumeration(start, block, size, count))
            law = without_sizes(law, self.sizes(size))
        return found

    @cached_property
    def n_blocks(self) -> int | None:
        """Blocks after which all that the law draws is known; None if that is never."""
        if without_sizes(self._laws[-1], [0, len(self.law) - 1]).any():
            return None
        return self.enumerations[-1].stop if self.enumerations else 0

    def sizes(self, size: int) -> list[int]:
        """Return the sizes that are evaluated together with `size`."""
        return [size, len(self.law) - 1 - size] if self.paired else [size]

    def place(self, block: int) -> tuple[int, FloatArray]:
        """Return the number of the enumeration that a block is part of, or -1, and the law [n + 1].

        The law is that of the sizes to draw: none that blocks before have enumerated.
        """
        for number, one in enumerate(self.enumerations):
            if block < one.stop:
                return -1 if block < one.start else number, self._laws[number]
        return -1, self._laws[-1]

    @cached_property
    def _laws(self) -> list[FloatArray]:
        """The laws before each enumeration and after the last."""
        laws = [self.law]
        for one in self.enumerations:
            laws.append(without_sizes(laws[-1], self.sizes(one.size)))
        return laws

    def units_until(self, drawn: int) -> int:
        """Return how many units are evaluated until so many are drawn, or all are known."""
        enumerated, stop = 0, 0
        for one in self.enumerations:
            drawn_before = (one.start - stop) * self.units_a_block
            if drawn_before >= drawn:
                break
            drawn -= drawn_before
            enumerated += drawn_before + one.units
            stop = one.stop
        else:
            if self.n_blocks is not None:
                return enumerated
        return enumerated + -(-drawn // self.units_a_block) * self.units_a_block

    def coalitions(self, number: int, block: int) -> BoolArray:
        """Return the coalitions [u, n] that a block of enumeration `number` evaluates."""
        one, n = self.enumerations[number], len(self.law) - 1
        first = (block - one.start) * self.units_a_block
        last = min(first + self.units_a_block, one.units)
        members = list(islice(combinations(range(n), one.size), first, last))
        coalitions = np.zeros((len(members), n), dtype=bool)
        np.put_along_axis(coalitions, np.array(members, dtype=np.int64), True, axis=1)
        return coalitions

    def _units(self, size: int) -> int:
        """Return how many units hold all coalitions of a size; 0 if another size brings them."""
        n = len(self.law) - 1
        if not self.paired or 2 * size < n:
            return math.comb(n, size)
        # Of two complementary halves the one with player 0 comes first in lexicographic order.
        return math.comb(n, size) // 2 if 2 * size == n else 0


def without_sizes(law: FloatArray, sizes: list[int]) -> FloatArray:
    """Return a law [n + 1] without some sizes; all zero if nothing is left.

    Examples
    --------
    >>> without_sizes(np.full(4, 0.25), [0, 3])
    array([0. , 0.5, 0.5, 0. ])
    """
    rest = law.copy()
    rest[sizes] = 0.0
    total = rest.sum()
    return rest / total if total > 0 else rest


def first_of_complete_sizes(coalitions: BoolArray) -> IntArray:
    """Return where each coalition is first found, of the sizes of which all coalitions are there.

    Parameters
    ----------
    coalitions : bool array [u, n]
        In any order, with repetitions.

    Examples
    --------
    >>> singles_and_a_pair = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]])
    >>> first_of_complete_sizes(singles_and_a_pair.astype(bool))
    array([0, 2, 4])
    """
    n = coalitions.shape[1]
    packed = np.packbits(coalitions, axis=1)
    first = np.sort(np.unique(packed, axis=0, return_index=True)[1])
    sizes: IntArray = coalitions[first].sum(axis=1)
    counts = np.bincount(sizes, minlength=n + 1)
    complete = [count == math.comb(n, size) for size, count in enumerate(counts.tolist())]
    return np.asarray(first[np.array(complete)[sizes]])


def level_means(law: FloatArray, coalitions: BoolArray, values: FloatArray) -> FloatArray:
    """Return what the coalitions of some sizes, all of them, add to the values [n].

    The semivalue is the sum over sizes s of p(s-1) times the mean worth of the coalitions of that
    size with the player, less p(s) times that of those without it.

    Parameters
    ----------
    law : float array [n]
        Size law p of the semivalue.
    coalitions : bool array [u, n]
        All of every size that there is.
    values : float array [u]
        Their worth.

    Examples
    --------
    >>> all_pairs = np.array([[True, True, False], [True, False, True], [False, True, True]])
    >>> level_means(np.full(3, 1 / 3), all_pairs, np.array([1.0, 2.0, 3.0])).round(3)
    array([-0.5,  0. ,  0.5])
    """
    n = len(law)
    sizes: IntArray = coalitions.sum(axis=1)
    of_size = np.bincount(sizes, minlength=n + 1)[sizes]
    with_player = of_size * sizes / n
    member = np.append(0.0, law)[sizes] * values / np.maximum(with_player, 1)
    outsider = np.append(law, 0.0)[sizes] * values / np.maximum(of_size - with_player, 1)
    return np.asarray((member + outsider) @ coalitions - outsider.sum())
