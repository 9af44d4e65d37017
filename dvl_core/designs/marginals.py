"""Marginals: pairs (S, S + i), each drawn for one player."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from dvl_core.designs.weights import importance_weights
from dvl_core.errors import InvalidOptionError
from dvl_core.semivalues import checked_size_law
from dvl_core.statistics import Estimate, RunningMoments

if TYPE_CHECKING:
    from dvl_core.protocols import (
        Accumulator,
        AnyArray,
        BoolArray,
        FloatArray,
        Guarantee,
        IntArray,
        Semivalue,
    )

__all__ = ["MarginalDesign", "MarginalDraw", "PlayerOrder", "check_order", "marginal_design"]

PlayerOrder = Literal["in-turn", "random"]
"""Whose marginals are drawn: of every player in turn, or of players drawn at random."""

PAIRS_A_BLOCK = 32
"""Marginals of a block, as far as the replicates of a player allow."""


class MarginalDraw(Protocol):
    """Draws the coalitions that players join."""

    @property
    def identity(self) -> dict[str, Any]:
        """JSON-able description of what decides the draws."""

    @property
    def replicate_weights(self) -> FloatArray:
        """Weights [replicates], of mean 1, of the coalitions drawn together for a player.

        The weighted mean of their marginals is one independent observation.
        """

    def size_law(self, n_players: int) -> FloatArray:
        """Return q [n]: the law of the size of what is drawn."""

    def __call__(self, rng: np.random.Generator, players: IntArray, n_players: int) -> BoolArray:
        """Return coalitions [replicates, m, n]; column j lacks ``players[j]``."""


@dataclass(frozen=True, eq=False)
class MarginalDesign:
    """Marginals u(S + i) - u(S), the players taking turns.

    Parameters
    ----------
    weights : float array [n]
        Importance weight of a marginal by the size of S.
    draw : MarginalDraw
        How S is drawn; picklable.
    sampler : str
        Name of the sampler, part of the identity.
    once : bool
        One marginal a player is all there is to know (leave-one-out).
    biased : bool
        The sizes drawn only come close to the law that the weights take for granted.
    order : str
        "in-turn": the players take turns. "random": whose turn it is is drawn.
    """

    weights: FloatArray
    draw: MarginalDraw
    sampler: str
    once: bool = False
    biased: bool = False
    order: PlayerOrder = "in-turn"

    @property
    def n_players(self) -> int:
        """Number of players."""
        return len(self.weights)

    @property
    def n_blocks(self) -> int | None:
        """Blocks until every player had its turn, if one turn is enough."""
        if not self.once and self.n_players > 1:
            return None
        return -(-self.n_players // self.players_per_block)

    @property
    def players_per_block(self) -> int:
        """How many players have their turn in a block."""
        return max(1, PAIRS_A_BLOCK // len(self.draw.replicate_weights))

    @property
    def block_evaluations(self) -> int:
        """The most utility values that one block uses."""
        replicates = len(self.draw.replicate_weights)
        pairs = self.players_per_block * replicates
        if self.n_players == 1:
            return 0
        if self.once:
            return min(pairs, self.n_players * replicates)
        return 2 * pairs

    @property
    def guarantee(self) -> Guarantee:
        """Exact if one turn is all there is to know, else unbiased or biased by option."""
        if self.once or self.n_players == 1:
            return "exact"
        return "biased-by-option" if self.biased else "unbiased"

    @property
    def size_law(self) -> FloatArray:
        """Law [n] of the size of the coalition that a player joins."""
        return self.draw.size_law(self.n_players)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the coalitions of a block, and what they are folded into."""
        return {
            "sampler": self.sampler,
            "n_players": self.n_players,
            "players_per_block": self.players_per_block,
            "draw": self.draw.identity,
            "order": self.order,
            "weights": self.weights.tobytes().hex(),
        }

    def anchors(self) -> BoolArray:
        """Return the empty and the full coalition, as far as the draw can meet them."""
        law = self.size_law
        needed = [full for full, size in ((False, 0), (True, -1)) if law[size] > 0]
        return np.repeat(np.array(needed, dtype=bool)[:, None], self.n_players, axis=1)

    def evaluate(
        self,
        block: int,
        utility: Callable[[BoolArray], FloatArray],
        rng: np.random.Generator,
        anchor_values: FloatArray,
    ) -> dict[str, AnyArray]:
        """Draw one block; ``players`` [m] and their weighted ``marginals`` [m]."""
        count = self.players_per_block
        turns = np.arange(block * count, (block + 1) * count)
        if self.n_blocks is not None:
            turns = turns[turns < self.n_players]
        players = turns % self.n_players
        if self.order == "random":
            players = rng.integers(self.n_players, size=len(turns))
        without = self.draw(rng, players, self.n_players)
        with_player = without.copy()
        with_player[:, np.arange(len(players)), players] = True
        pairs = np.stack([with_player, without])
        values = self._values(pairs.reshape(-1, self.n_players), utility, anchor_values)
        values = values.reshape(pairs.shape[:-1])
        marginals = (values[0] - values[1]) * self.weights[without.sum(axis=-1)]
        shares = self.draw.replicate_weights / len(marginals)
        return {"players": players, "marginals": shares @ marginals}

    def accumulator(self) -> Accumulator:
        """Return means and spreads of the marginals."""
        if self.guarantee == "exact":
            return _Exact(self.n_players)
        return _Drawn(self.n_players)

    def _values(
        self,
        coalitions: BoolArray,
        utility: Callable[[BoolArray], FloatArray],
        anchor_values: FloatArray,
    ) -> FloatArray:
        """Return utilities [m], those of the anchors from `anchor_values`."""
        values = np.empty(len(coalitions))
        open_rows = np.ones(len(coalitions), dtype=bool)
        sizes = coalitions.sum(axis=1)
        for anchor, value in zip(self.anchors(), anchor_values, strict=True):
            known = sizes == anchor.sum()
            values[known] = value
            open_rows &= ~known
        if open_rows.any():
            values[open_rows] = utility(coalitions[open_rows])
        return values


class _Drawn(RunningMoments):
    """Moments of drawn marginals."""

    def fold(self, sample: Mapping[str, AnyArray]) -> None:
        """Take in the marginals of a block."""
        self.add_observations(sample["players"], sample["marginals"])


class _Exact(_Drawn):
    """One marginal a player, which two evaluations decide without error."""

    def estimate(self) -> Estimate:
        """Return the marginals."""
        seen = self.count > 0
        return Estimate(
            np.where(seen, self.mean, np.nan),
            np.zeros(len(seen)),
            np.where(seen, 2, 0),
            np.where(seen, 0.0, np.inf),
        )


def marginal_design(
    sampler: str,
    draw: MarginalDraw,
    n_players: int,
    semivalue: Semivalue,
    once: bool = False,
    order: PlayerOrder = "in-turn",
) -> MarginalDesign:
    """Return the design that weighs what is drawn to the law that a semivalue asks for.

    Raises
    ------
    UnsupportedSemivalueError
        If the semivalue gives weight to a size that is never drawn.

    Warns
    -----
    DvlWarning
        If the weights are so uneven that few of the draws count.
    """
    wanted = checked_size_law(semivalue, n_players)
    weights = importance_weights(wanted, draw.size_law(n_players), sampler, semivalue.name)
    return MarginalDesign(weights, draw, sampler, once=once, order=order)


def check_order(order: str) -> None:
    """Refuse an order of players that there is not."""
    if order not in ("in-turn", "random"):
        raise InvalidOptionError(f"order must be 'in-turn' or 'random', got {order!r}")
