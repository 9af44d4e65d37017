"""Coalitions: one evaluation informs every player, as a member or as an outsider."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core.designs.draws import random_bits
from dvl_core.designs.weights import refuse_uncovered, warn_if_ruinous
from dvl_core.errors import InvalidOptionError
from dvl_core.semivalues import BanzhafSemivalue, log_binomials
from dvl_core.statistics import Estimate

if TYPE_CHECKING:
    from dvl_core.protocols import AnyArray, BoolArray, FloatArray, Guarantee

__all__ = ["AllSubsetsDesign", "BernoulliDesign"]

MOST_PLAYERS_TO_ENUMERATE = 24
COALITIONS_A_BLOCK = 64
SUBSETS_A_BLOCK = 1 << 12


@dataclass(frozen=True, eq=False)
class AllSubsetsDesign:
    """All 2^n coalitions, each evaluated once: exact for every semivalue.

    Parameters
    ----------
    law : float array [n]
        Size law of the semivalue.
    sampler : str
        Name of the sampler, part of the identity.
    """

    law: FloatArray
    sampler: str
    guarantee: Guarantee = "exact"

    def __post_init__(self) -> None:
        if self.n_players > MOST_PLAYERS_TO_ENUMERATE:
            raise InvalidOptionError(
                f"all subsets of {self.n_players} players are too many to visit; the limit is "
                f"{MOST_PLAYERS_TO_ENUMERATE}: use a sampler that draws"
            )

    @property
    def n_players(self) -> int:
        """Number of players."""
        return len(self.law)

    @property
    def n_blocks(self) -> int:
        """Blocks until all coalitions were visited."""
        return max(1, (1 << self.n_players) // SUBSETS_A_BLOCK)

    @property
    def block_evaluations(self) -> int:
        """The utility values that one block uses."""
        return min(1 << self.n_players, SUBSETS_A_BLOCK)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the coalitions of a block, and what they are folded into."""
        return {
            "sampler": self.sampler,
            "n_players": self.n_players,
            "subsets_per_block": self.block_evaluations,
            "law": self.law.tobytes().hex(),
        }

    def anchors(self) -> BoolArray:
        """Return no coalitions: the blocks hold them all."""
        return np.zeros((0, self.n_players), dtype=bool)

    def evaluate(
        self,
        block: int,
        utility: Callable[[BoolArray], FloatArray],
        rng: np.random.Generator,
        anchor_values: FloatArray,
    ) -> dict[str, AnyArray]:
        """Evaluate the next coalitions; ``sums`` [n] is their share of the values."""
        size = self.block_evaluations
        numbers = np.arange(block * size, (block + 1) * size)
        coalitions = (numbers[:, None] >> np.arange(self.n_players)) & 1 == 1
        values = utility(coalitions)
        n = self.n_players
        sizes = coalitions.sum(axis=1)
        per_subset = self.law * np.exp(-log_binomials(n - 1))
        gain = np.concatenate([[0.0], per_subset])[sizes] * values
        loss = np.concatenate([per_subset, [0.0]])[sizes] * values
        return {"sums": gain @ coalitions - loss @ ~coalitions}

    def accumulator(self) -> _Sums:
        """Return the running sums."""
        return _Sums(self.n_players, self.n_blocks)


class _Sums:
    """Sums over all coalitions; no value before the last of them."""

    def __init__(self, n: int, n_blocks: int) -> None:
        self.sums = np.zeros(n)
        self.missing = n_blocks

    def fold(self, sample: Mapping[str, AnyArray]) -> None:
        """Add the share of a block."""
        self.sums = self.sums + sample["sums"]
        self.missing -= 1

    def estimate(self) -> Estimate:
        """Return the values once they are complete, NaN before."""
        n = len(self.sums)
        if self.missing:
            unknown = np.full(n, np.inf)
            return Estimate(np.full(n, np.nan), np.zeros(n), np.zeros(n, dtype=np.int64), unknown)
        counts = np.full(n, 1 << n, dtype=np.int64)
        return Estimate(self.sums.copy(), np.zeros(n), counts, np.zeros(n))

    def state(self) -> dict[str, AnyArray]:
        """Return the arrays that `restore` needs."""
        return {"sums": self.sums.copy(), "missing": np.array(self.missing)}

    def restore(self, state: Mapping[str, AnyArray]) -> None:
        """Go back to a saved state."""
        self.sums = np.array(state["sums"], dtype=float)
        self.missing = int(state["missing"])


@dataclass(frozen=True, eq=False)
class BernoulliDesign:
    """Every player is in with probability p; members are compared with outsiders.

    Maximum sample reuse (Wang & Jia 2023, eq. 8): the value is the weighted mean utility of the
    coalitions with the player minus that of the coalitions without. The weights turn the binomial
    size law into that of the semivalue; for Banzhaf with the same p they are all 1.

    Parameters
    ----------
    law : float array [n]
        Size law of the semivalue.
    p : float
        Probability of membership.
    sampler, semivalue : str
        Names, for the identity and for messages.
    """

    law: FloatArray
    p: float
    sampler: str
    semivalue: str
    guarantee: Guarantee = "consistent"
    n_blocks: None = None

    def __post_init__(self) -> None:
        others = BanzhafSemivalue(self.p).size_law(self.n_players)
        refuse_uncovered(self.law, others > 0, self.sampler, self.semivalue)
        # Given membership, or given none, the size of the rest follows the binomial law `others`.
        weights = self._weights()[1][:-1]
        warn_if_ruinous(weights, others, self.sampler, self.semivalue)

    @property
    def n_players(self) -> int:
        """Number of players."""
        return len(self.law)

    @property
    def block_evaluations(self) -> int:
        """The utility values that one block uses."""
        return COALITIONS_A_BLOCK

    @property
    def size_law(self) -> FloatArray:
        """Law [n + 1] of the size of a coalition."""
        return BanzhafSemivalue(self.p).size_law(self.n_players + 1)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the coalitions of a block, and what they are folded into."""
        return {
            "sampler": self.sampler,
            "n_players": self.n_players,
            "p": self.p,
            "coalitions_per_block": COALITIONS_A_BLOCK,
            "law": self.law.tobytes().hex(),
        }

    def anchors(self) -> BoolArray:
        """Return no coalitions: none is special."""
        return np.zeros((0, self.n_players), dtype=bool)

    def evaluate(
        self,
        block: int,
        utility: Callable[[BoolArray], FloatArray],
        rng: np.random.Generator,
        anchor_values: FloatArray,
    ) -> dict[str, AnyArray]:
        """Draw one block; ``members`` (packed bits) and ``values`` [b]."""
        if self.p == 0.5:
            n_bytes = -(-self.n_players // 8)
            members = random_bits(rng, COALITIONS_A_BLOCK * n_bytes).reshape(-1, n_bytes)
            coalitions = np.unpackbits(members, axis=1, count=self.n_players).view(bool)
        else:
            coalitions = rng.random((COALITIONS_A_BLOCK, self.n_players)) < self.p
            members = np.packbits(coalitions, axis=1)
        return {"members": members, "values": utility(coalitions)}

    def accumulator(self) -> _WeightedMeans:
        """Return the weighted means of members and outsiders."""
        return _WeightedMeans(*self._weights())

    def _weights(self) -> tuple[FloatArray, FloatArray]:
        """Return the weights [n + 1] by size of a coalition for members and outsiders.

        Given membership the other players are binomial, so the weight is a ratio of size laws; it
        is constant, hence set to 1, where the semivalue is Banzhaf with this p.
        """
        others = BanzhafSemivalue(self.p).size_law(self.n_players)
        ratio = np.divide(self.law, others, out=np.zeros_like(others), where=others > 0)
        if np.allclose(ratio, 1.0, rtol=1e-9, atol=0.0):
            ratio = np.ones_like(ratio)
        return np.concatenate([[0.0], ratio]), np.concatenate([ratio, [0.0]])


class _WeightedMeans:
    """Self-normalised weighted means of utilities, of members and of outsiders.

    Sums are taken about the mean of the first block: the difference of two means does not depend
    on the origin, and the sums of squares do not cancel.
    """

    def __init__(self, member_weights: FloatArray, outsider_weights: FloatArray) -> None:
        self.by_size = (member_weights, outsider_weights)
        n = len(member_weights) - 1
        # Per side and player: count, w, w^2, w u, w^2 u, w^2 u^2.
        self.sums = np.zeros((2, 6, n))
        self.origin = np.nan
        self.total = 0

    def fold(self, sample: Mapping[str, AnyArray]) -> None:
        """Take in the coalitions and values of a block."""
        n = self.sums.shape[2]
        members = np.unpackbits(sample["members"], axis=1, count=n).astype(float)
        values = sample["values"]
        if self.total == 0:
            self.origin = float(values.mean())
        u = values - self.origin
        sizes = members.sum(axis=1).astype(np.int64)
        for side, present in enumerate((members, 1.0 - members)):
            w = self.by_size[side][sizes]
            moments = np.stack([np.ones_like(w), w, w * w, w * u, w * w * u, w * w * u * u])
            self.sums[side] += moments @ present
        self.total += len(values)

    def estimate(self) -> Estimate:
        """Return differences of means, with standard errors by the delta method."""
        count, w, w2, wu, w2u, w2u2 = self.sums.swapaxes(0, 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = wu / w
            spread = np.maximum(w2u2 - mean * (2 * w2u - mean * w2), 0.0) / (w * w)
            squared_errors = np.where(count > 1, spread * count / (count - 1), np.inf).sum(axis=0)
        values = mean[0] - mean[1]
        known = np.isfinite(values)
        counts = np.where(known, self.total, 0)
        stderr = np.where(known, np.sqrt(squared_errors), np.inf)
        variances = np.where(np.isfinite(stderr), stderr, 0.0) ** 2 * counts
        return Estimate(np.where(known, values, np.nan), variances, counts, stderr)

    def state(self) -> dict[str, AnyArray]:
        """Return the arrays that `restore` needs."""
        return {
            "sums": self.sums.copy(),
            "origin": np.array(self.origin),
            "total": np.array(self.total),
        }

    def restore(self, state: Mapping[str, AnyArray]) -> None:
        """Go back to a saved state."""
        self.sums = np.array(state["sums"], dtype=float)
        self.origin = float(state["origin"])
        self.total = int(state["total"])
