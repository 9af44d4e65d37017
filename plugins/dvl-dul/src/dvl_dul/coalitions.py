"""Which coalitions a utility is learned from, and what they are worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dvl_core.digests import digest
from dvl_core.statistics import Estimate

if TYPE_CHECKING:
    from dvl_core.protocols import AnyArray, BoolArray, ByteArray, FloatArray, Guarantee

__all__ = ["Sizes", "TrainingDesign", "training_coalitions"]

Sizes = Literal["uniform", "binomial"]

BLOCK_COALITIONS = 32
MOST_ENUMERATED_PLAYERS = 30


def training_coalitions(
    n_players: int, n_training: int, sizes: Sizes, rng: np.random.Generator
) -> BoolArray:
    """Draw different coalitions: the empty one, the full one, then others in random order.

    Parameters
    ----------
    n_players : int
        Number of players.
    n_training : int
        How many to draw; all, if there are not as many.
    sizes : {"uniform", "binomial"}
        Every size from 1 to n - 1 is as likely, or every coalition.
    rng : Generator
        Draws them.

    Returns
    -------
    bool array [min(n_training, 2^n), n]

    Examples
    --------
    >>> training_coalitions(2, 10, "uniform", np.random.default_rng(0)).sum(axis=1)
    array([0, 2, 1, 1])
    """
    ends = np.array([[False] * n_players, [True] * n_players])
    if n_players < MOST_ENUMERATED_PLAYERS and 2**n_players <= n_training:
        inner = rng.permutation(np.arange(1, 2**n_players - 1))
        return np.concatenate([ends, (inner[:, None] >> np.arange(n_players)) & 1 == 1])
    wanted = n_training - len(ends)
    # In the order in which they were drawn first: a dict is a set that remembers.
    drawn: dict[bytes, None] = {}
    outer = {row.tobytes() for row in np.packbits(ends, axis=1)}
    while len(drawn) < wanted:
        for row in np.packbits(_draw(n_players, wanted, sizes, rng), axis=1):
            if row.tobytes() not in outer and len(drawn) < wanted:
                drawn[row.tobytes()] = None
    packed = np.frombuffer(b"".join(drawn), dtype=np.uint8).reshape(wanted, -1)
    return np.concatenate([ends, np.unpackbits(packed, axis=1, count=n_players).astype(bool)])


def _draw(n_players: int, count: int, sizes: Sizes, rng: np.random.Generator) -> BoolArray:
    """Return coalitions [count, n], some of them equal perhaps."""
    keys = rng.random((count, n_players))
    if sizes == "binomial":
        return keys < 0.5
    wanted = rng.integers(1, n_players, size=count)
    return keys.argsort(axis=1).argsort(axis=1) < wanted[:, None]


@dataclass(frozen=True, eq=False)
class TrainingDesign:
    """Evaluates given coalitions, a few a block, and keeps what they are worth.

    Parameters
    ----------
    packed : byte array [m, ceil(n / 8)]
        The coalitions, as `numpy.packbits` makes them.
    n_players : int
        Number of players.
    """

    packed: ByteArray
    n_players: int
    guarantee: Guarantee = "exact"
    block_evaluations: int = BLOCK_COALITIONS

    @property
    def n_blocks(self) -> int:
        """Blocks until all coalitions were evaluated."""
        return -(-len(self.packed) // BLOCK_COALITIONS)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the coalitions."""
        return {
            "method": "utility-learning",
            "coalitions": digest(self.packed, self.n_players),
            "block": BLOCK_COALITIONS,
        }

    def anchors(self) -> BoolArray:
        """Return no coalitions: no block needs another one's."""
        return np.zeros((0, self.n_players), dtype=bool)

    def evaluate(
        self,
        block: int,
        utility: Callable[[BoolArray], FloatArray],
        rng: np.random.Generator,
        anchor_values: FloatArray,
    ) -> dict[str, AnyArray]:
        """Return the worth of the coalitions of a block."""
        first = block * BLOCK_COALITIONS
        rows = self.packed[first : first + BLOCK_COALITIONS]
        members = np.unpackbits(rows, axis=1, count=self.n_players)
        return {"utilities": utility(members.astype(bool))}

    def accumulator(self) -> _Utilities:
        """Return the list of worths, empty yet."""
        return _Utilities(self.n_players)


class _Utilities:
    """What the coalitions so far are worth, in their order."""

    def __init__(self, n_players: int) -> None:
        self.n_players = n_players
        self.utilities = [np.zeros(0)]

    def fold(self, sample: Mapping[str, AnyArray]) -> None:
        """Take in a block."""
        self.utilities.append(sample["utilities"])

    def estimate(self) -> Estimate:
        """Return no values: nobody is valued here."""
        n = self.n_players
        unknown = np.full(n, np.nan)
        return Estimate(unknown, np.zeros(n), np.zeros(n, dtype=np.int64), np.full(n, np.inf))

    def finish(self) -> tuple[Estimate, dict[str, Any]]:
        """Return the worths [m] as an extra."""
        return self.estimate(), {"utilities": np.concatenate(self.utilities)}

    def state(self) -> dict[str, AnyArray]:
        """Return the arrays that `restore` needs."""
        return {"utilities": np.concatenate(self.utilities)}

    def restore(self, state: Mapping[str, AnyArray]) -> None:
        """Go back to a saved state."""
        self.utilities = [state["utilities"]]
