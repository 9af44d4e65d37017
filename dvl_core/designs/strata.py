"""Strata: mean utilities by player, size and membership, from coalitions that all players share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dvl_core.designs.enumeration import EnumerationSchedule
from dvl_core.designs.sized import SizedDesign, units_a_block
from dvl_core.designs.strata_sums import StrataAccumulator
from dvl_core.errors import InvalidOptionError

if TYPE_CHECKING:
    from dvl_core.protocols import FloatArray, Guarantee

__all__ = ["MOST_PLAYERS", "StrataDesign"]

MOST_PLAYERS = 6_000
"""Strata of more players would take more than a gigabyte."""


@dataclass(frozen=True, eq=False)
class StrataDesign(SizedDesign):
    """A mean for every player and size, of the coalitions with the player and of those without.

    With A[i, s] and B[i, s] the mean utilities of coalitions of size s with and without player i,
    the value is sum_s p(s-1) A[i, s] - p(s) B[i, s] (Li & Yu 2024, eq. 4; Kolpaczki et al. 2024).
    Of pairs of complements, a stratum has those in which the side of the player has size s, and
    averages p(s-1) u(side) - p(n-s) u(other side): for Shapley the complementary contributions of
    Zhang et al. (2023).

    A stratum that is still empty takes the value at its size of a smooth function that is fitted to
    all utilities, and what the others have beyond that is weighed by 1 / P(not empty), which the
    law of the sizes tells: nothing is lost on average while evaluations are few. Sizes of which
    there are few coalitions are enumerated on the way, see `EnumerationSchedule`. Memory is O(n^2).

    Parameters
    ----------
    law : float array [n]
        Size law p of the semivalue.
    drawn : float array [n + 1]
        Size law of the coalitions, 0 at both ends; symmetric for pairs.
    sampler : str
        Name of the sampler, part of the identity.
    paired : bool
        Follow every coalition by its complement.

    Raises
    ------
    InvalidOptionError
        For more than 6,000 players.
    """

    law: FloatArray
    drawn: FloatArray
    sampler: str
    paired: bool
    guarantee: Guarantee = "consistent"

    def __post_init__(self) -> None:
        if len(self.law) > MOST_PLAYERS:
            raise InvalidOptionError(
                f"strata of {len(self.law):,} players take more than a gigabyte of memory; the "
                f"limit is {MOST_PLAYERS:,}: use sampler adjusted, which needs O(n)"
            )

    @cached_property
    def schedule(self) -> EnumerationSchedule:  # type: ignore[override]
        """Which blocks draw, and which enumerate."""
        units = units_a_block(len(self.law), self.paired)
        return EnumerationSchedule(self.drawn, self.paired, units)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the coalitions of a block, and what they are folded into."""
        return {
            "sampler": self.sampler,
            "units_per_block": self.schedule.units_a_block,
            "laws": [self.law.tobytes().hex(), self.drawn.tobytes().hex()],
            "paired": self.paired,
        }

    def accumulator(self) -> StrataAccumulator:
        """Return empty strata."""
        return StrataAccumulator(self.law, self.schedule)
