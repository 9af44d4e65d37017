"""Coalitions that are kept, so that an estimate can be made from all of them at once.

Least squares and control variates look at the whole sample: they cannot be folded block by block.
A kept coalition takes n / 8 bytes, which is little beside the training of a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from dvl_core.designs.enumeration import EnumerationSchedule
from dvl_core.designs.kept_sample import KeptAccumulator
from dvl_core.designs.sized import SizedDesign, units_a_block

if TYPE_CHECKING:
    from dvl_core.designs.kept_sample import KeptSample
    from dvl_core.protocols import FloatArray, Guarantee
    from dvl_core.statistics import Estimate

__all__ = ["KeptCoalitionsDesign", "KeptEstimator", "growth_for"]

MANY_PLAYERS = 500


class KeptEstimator(Protocol):
    """Makes values of a sample; immutable and picklable."""

    @property
    def identity(self) -> dict[str, Any]:
        """JSON-able description of what decides the values."""

    @property
    def law(self) -> FloatArray:
        """Size law [n] of the semivalue."""

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
class KeptCoalitionsDesign(SizedDesign):
    """Draws coalitions by size and keeps them; the estimator sees them all.

    Sizes of which there are few coalitions are enumerated on the way, see `EnumerationSchedule`.
    Once that is true of all of them, the values are exact.

    Parameters
    ----------
    estimator : KeptEstimator
        Makes values of the sample.
    sampler : str
        Name of the sampler, part of the identity.
    guarantee : str
        What the estimates are.
    """

    estimator: KeptEstimator
    sampler: str
    guarantee: Guarantee = "consistent"

    @cached_property
    def schedule(self) -> EnumerationSchedule:  # type: ignore[override]
        """Which blocks draw, and which enumerate."""
        estimator = self.estimator
        units = units_a_block(len(estimator.law), estimator.paired)
        return EnumerationSchedule(estimator.size_law, estimator.paired, units)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the coalitions of a block, and what is made of them."""
        return {
            "sampler": self.sampler,
            "n_players": self.n_players,
            "units_per_block": self.schedule.units_a_block,
            "estimator": self.estimator.identity,
        }

    def accumulator(self) -> KeptAccumulator:
        """Return the sample, empty."""
        return KeptAccumulator(self.estimator, self.schedule)


def growth_for(n_players: int) -> float:
    """Return how much larger a sample must be for another estimate that costs O(n^2) a unit.

    Examples
    --------
    >>> growth_for(100), growth_for(1000)
    (1.2, 2.0)
    """
    return 1.2 if n_players <= MANY_PLAYERS else 2.0
