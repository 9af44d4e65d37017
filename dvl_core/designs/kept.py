"""Coalitions that are kept, so that an estimate can be made from all of them at once.

Least squares and control variates look at the whole sample: they cannot be folded block by block.
A kept coalition takes n / 8 bytes, which is little beside the training of a model.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from dvl_core.errors import DvlWarning
from dvl_core.statistics import Estimate

if TYPE_CHECKING:
    from dvl_core.protocols import AnyArray, BoolArray, FloatArray, Guarantee, IntArray

__all__ = [
    "KeptCoalitionsDesign",
    "KeptEstimator",
    "KeptSample",
    "evaluated_units",
    "growth_for",
    "sized_coalitions",
    "warn_of_too_few",
]

UNITS_A_BLOCK = 32
MANY_PLAYERS = 500


@dataclass(frozen=True, eq=False)
class KeptSample:
    """Coalitions and their utilities, in units that are independent of each other.

    Parameters
    ----------
    coalitions : bool array [u, r, n]
        r coalitions a unit: one, or a pair of complements.
    values : float array [u, r]
        Their utilities.
    ends : float array [2]
        Utilities of the empty and the full coalition.
    """

    coalitions: BoolArray
    values: FloatArray
    ends: FloatArray

    def __len__(self) -> int:
        """Return the number of units."""
        return len(self.values)


class KeptEstimator(Protocol):
    """Makes values of a sample; immutable and picklable."""

    @property
    def identity(self) -> dict[str, Any]:
        """JSON-able description of what decides the values."""

    @property
    def size_law(self) -> FloatArray:
        """Law [n + 1] of the sizes to draw; those of pairs must be symmetric."""

    @property
    def paired(self) -> bool:
        """Whether every coalition comes with its complement."""

    @property
    def least_units(self) -> int:
        """Units below which nothing can be estimated."""

    @property
    def growth(self) -> float:
        """How much larger than at the last estimate a sample must be for another one."""

    def estimate(self, sample: KeptSample) -> Estimate:
        """Return values and standard errors."""


@dataclass(frozen=True, eq=False)
class KeptCoalitionsDesign:
    """Draws coalitions by size and keeps them; the estimator sees them all.

    Parameters
    ----------
    n_players : int
        Number of players.
    estimator : KeptEstimator
        Makes values of the sample.
    sampler : str
        Name of the sampler, part of the identity.
    guarantee : str
        What the estimates are.
    """

    n_players: int
    estimator: KeptEstimator
    sampler: str
    guarantee: Guarantee = "consistent"
    n_blocks: None = None

    @property
    def block_evaluations(self) -> int:
        """The most utility values that one block uses."""
        return UNITS_A_BLOCK * (2 if self.estimator.paired else 1)

    @property
    def size_law(self) -> FloatArray:
        """Law [n + 1] of the size of what is evaluated: the ends are anchors."""
        law = self.estimator.size_law.copy()
        law[[0, -1]] = 0.0
        return np.asarray(law / law.sum())

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the coalitions of a block, and what is made of them."""
        return {
            "sampler": self.sampler,
            "n_players": self.n_players,
            "units_per_block": UNITS_A_BLOCK,
            "estimator": self.estimator.identity,
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
        """Draw one block; ``members`` [u, r, n / 8] (packed bits), ``values`` [u, r], ``ends``."""
        law, paired = self.estimator.size_law, self.estimator.paired
        return evaluated_units(law, paired, utility, rng, anchor_values)

    def accumulator(self) -> _Kept:
        """Return the sample, empty."""
        return _Kept(self.n_players, self.estimator)


class _Kept:
    """All units so far, and the latest estimate made of them."""

    def __init__(self, n_players: int, estimator: KeptEstimator) -> None:
        self.n_players = n_players
        self.estimator = estimator
        per_unit = 2 if estimator.paired else 1
        self.members: list[AnyArray] = [np.zeros((0, per_unit, -(-n_players // 8)), dtype=np.uint8)]
        self.values: list[FloatArray] = [np.zeros((0, per_unit))]
        self.ends = np.full(2, np.nan)
        self.count = 0
        self.estimated_at = 0
        self.latest = self._unknown()

    def fold(self, sample: Mapping[str, AnyArray]) -> None:
        """Keep the units of a block."""
        self.members.append(sample["members"])
        self.values.append(sample["values"])
        self.ends = sample["ends"]
        self.count += len(sample["values"])
        enough = self.count >= self.estimator.least_units
        if enough and self.count >= self.estimator.growth * self.estimated_at:
            self._estimate(self.count)

    def estimate(self) -> Estimate:
        """Return the latest estimate: the last units are not in it yet."""
        return self.latest

    def finish(self) -> tuple[Estimate, dict[str, Any]]:
        """Return the estimate from all units."""
        if self.count >= self.estimator.least_units:
            if self.estimated_at < self.count:
                self._estimate(self.count)
        elif self.count:
            per_unit = self.values[0].shape[1]
            needed = self.estimator.least_units * per_unit
            warn_of_too_few(self.count * per_unit, needed, self.n_players)
        return self.latest, {}

    def state(self) -> dict[str, AnyArray]:
        """Return the arrays that `restore` needs."""
        return {
            "members": self._joined_members(),
            "values": self._joined_values(),
            "ends": self.ends,
            "estimated_at": np.array(self.estimated_at),
        }

    def restore(self, state: Mapping[str, AnyArray]) -> None:
        """Go back to a saved state; the latest estimate is made again of what it was made of."""
        self.members, self.values = [state["members"]], [state["values"]]
        self.ends = state["ends"]
        self.count = len(state["values"])
        if int(state["estimated_at"]):
            self._estimate(int(state["estimated_at"]))

    def _estimate(self, count: int) -> None:
        """Make the estimate of the first units."""
        members = self._joined_members()[:count]
        coalitions = np.unpackbits(members, axis=2, count=self.n_players).astype(bool)
        sample = KeptSample(coalitions, self._joined_values()[:count], self.ends)
        self.latest = self.estimator.estimate(sample)
        self.estimated_at = count

    def _joined_members(self) -> AnyArray:
        self.members = [np.concatenate(self.members)]
        return self.members[0]

    def _joined_values(self) -> FloatArray:
        self.values = [np.concatenate(self.values)]
        return self.values[0]

    def _unknown(self) -> Estimate:
        n = self.n_players
        nothing = np.zeros(n, dtype=np.int64)
        return Estimate(np.full(n, np.nan), np.zeros(n), nothing, np.full(n, np.inf))


def growth_for(n_players: int) -> float:
    """Return how much larger a sample must be for another estimate that costs O(n^2) a unit.

    Examples
    --------
    >>> growth_for(100), growth_for(1000)
    (1.2, 2.0)
    """
    return 1.2 if n_players <= MANY_PLAYERS else 2.0


def warn_of_too_few(n_evaluations: int, needed: int, n_players: int) -> None:
    """Warn that so many evaluations say nothing yet of any player."""
    warnings.warn(
        f"{n_evaluations:,} evaluations are too few for {n_players} players: this estimator needs "
        f"{needed:,}; give it a larger budget, or follow permutations",
        DvlWarning,
        stacklevel=3,
    )


def evaluated_units(
    law: FloatArray,
    paired: bool,
    utility: Callable[[BoolArray], FloatArray],
    rng: np.random.Generator,
    anchor_values: FloatArray,
) -> dict[str, AnyArray]:
    """Draw one block and evaluate it.

    Parameters
    ----------
    law : float array [n + 1]
        Of the sizes.
    paired : bool
        Follow every coalition by its complement.
    utility : callable
        Worth [b] of coalitions [b, n].
    rng : Generator
        Source of the draws.
    anchor_values : float array [2]
        Utilities of the empty and the full coalition.

    Returns
    -------
    dict
        ``members`` [u, r, n / 8] (packed bits), ``values`` [u, r], and the ``ends`` [2].
    """
    n = len(law) - 1
    drawn = sized_coalitions(rng, law, UNITS_A_BLOCK)
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
    sizes = rng.permutation(sizes)
    keys = rng.random((count, n))
    coalitions = np.zeros((count, n), dtype=bool)
    for row, size in enumerate(sizes):
        if size == n:
            coalitions[row] = True
        elif size > 0:
            coalitions[row] = keys[row] <= np.partition(keys[row], size - 1)[size - 1]
    return coalitions
