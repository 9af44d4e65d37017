"""Environments: points of the other classes that a model is fitted on besides the coalition."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from dvl_core.semivalues import log_binomials

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Environments"]


@dataclass(frozen=True, eq=False)
class Environments:
    """The subsets of the other classes that have at least so many players of each of them.

    Parameters
    ----------
    others : tuple of int arrays
        Players of each other class.
    least : int
        Players that each must have; of a smaller class, all.

    Examples
    --------
    >>> environments = Environments((np.array([0, 2]), np.array([3])), least=1)
    >>> environments.count
    3
    >>> [environments[number].tolist() for number in range(3)]
    [[0, 3], [2, 3], [0, 2, 3]]
    """

    others: tuple[NDArray[np.int64], ...]
    least: int

    @property
    def count(self) -> int:
        """Number of environments."""
        counts = []
        for players in self.others:
            n = len(players)
            too_small = sum(math.comb(n, size) for size in range(self._sizes(players).start))
            counts.append((1 << n) - too_small)
        return math.prod(counts)

    def __getitem__(self, number: int) -> NDArray[np.int64]:
        """Return the players of environment `number`, below `count`."""
        parts = []
        for players, subsets in zip(self.others, self._subsets, strict=True):
            number, digit = divmod(number, len(subsets))
            parts.append(players[list(subsets[digit])])
        return _joined(parts)

    def draw(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the players of a uniformly drawn environment."""
        parts = []
        for players in self.others:
            sizes = self._sizes(players)
            log_counts = log_binomials(len(players))[sizes.start : sizes.stop]
            law = np.exp(log_counts - log_counts.max())
            size = rng.choice(np.array(sizes), p=law / law.sum())
            parts.append(rng.permutation(players)[:size])
        return _joined(parts)

    def _sizes(self, players: NDArray[np.int64]) -> range:
        """Return how many players of a class there can be."""
        return range(min(self.least, len(players)), len(players) + 1)

    @cached_property
    def _subsets(self) -> list[list[tuple[int, ...]]]:
        """The subsets of each class, as positions within it."""
        return [
            [
                subset
                for size in self._sizes(players)
                for subset in itertools.combinations(range(len(players)), size)
            ]
            for players in self.others
        ]


def _joined(parts: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(0, dtype=np.int64), *parts])
