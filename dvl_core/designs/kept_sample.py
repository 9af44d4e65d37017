"""The sample of a design that keeps its coalitions, as it grows."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core.designs.enumeration import level_means, without_sizes
from dvl_core.errors import DvlWarning
from dvl_core.statistics import Estimate

if TYPE_CHECKING:
    from dvl_core.designs.enumeration import EnumerationSchedule
    from dvl_core.designs.kept import KeptEstimator
    from dvl_core.protocols import AnyArray, BoolArray, FloatArray, IntArray

__all__ = ["KeptAccumulator", "KeptSample", "exact_estimate", "warn_of_too_few"]

FEW_UNITS = 8


@dataclass(frozen=True, eq=False)
class KeptSample:
    """Coalitions and their utilities.

    Parameters
    ----------
    coalitions : bool array [u, r, n]
        Drawn in u units that are independent of each other, but for the sizes within a block; r
        coalitions a unit: one, or a pair of complements. Those of sizes that are known are left
        out.
    values : float array [u, r]
        Their utilities.
    numbers : int array [u]
        Of the units, among all that were drawn.
    law : float array [n + 1]
        Of their sizes.
    ends : float array [2]
        Utilities of the empty and the full coalition.
    known : bool array [k, n]
        All coalitions of some sizes besides the ends.
    known_values : float array [k]
        Their utilities.
    """

    coalitions: BoolArray
    values: FloatArray
    numbers: IntArray
    law: FloatArray
    ends: FloatArray
    known: BoolArray
    known_values: FloatArray

    def __len__(self) -> int:
        """Return the number of units."""
        return len(self.values)


class KeptAccumulator:
    """All units so far, and the latest estimate made of them.

    Parameters
    ----------
    estimator : KeptEstimator
        Makes values of the sample.
    schedule : EnumerationSchedule
        What the enumerations have to hold.
    """

    def __init__(self, estimator: KeptEstimator, schedule: EnumerationSchedule) -> None:
        self.estimator = estimator
        self.schedule = schedule
        self.n_players = len(estimator.law)
        per_unit, width = 2 if estimator.paired else 1, -(-self.n_players // 8)
        self.members: list[AnyArray] = [np.zeros((0, per_unit, width), dtype=np.uint8)]
        self.values: list[FloatArray] = [np.zeros((0, per_unit))]
        self.enumeration: list[IntArray] = [np.zeros(0, dtype=np.int64)]
        self.ends = np.full(2, np.nan)
        self.count = 0
        self.drawn = 0
        self.estimated_at = 0
        self.latest = self._unknown()

    def fold(self, sample: Mapping[str, AnyArray]) -> None:
        """Keep the units of a block."""
        self.members.append(sample["members"])
        self.values.append(sample["values"])
        number = int(sample["enumeration"])
        self.enumeration.append(np.full(len(sample["values"]), number))
        self.ends = sample["ends"]
        self.count += len(sample["values"])
        self.drawn += len(sample["values"]) if number < 0 else 0
        if self._enough and self.count >= self.estimator.growth * self.estimated_at:
            self._estimate(self.count)

    def estimate(self) -> Estimate:
        """Return the latest estimate: the last units are not in it yet."""
        return self.latest

    def finish(self) -> tuple[Estimate, dict[str, Any]]:
        """Return the estimate from all units."""
        if self._enough:
            if self.estimated_at < self.count:
                self._estimate(self.count)
        elif self.count:
            per_unit = self.values[0].shape[1]
            needed = self.schedule.units_until(self.estimator.least_units) * per_unit
            warn_of_too_few(self.count * per_unit, needed, self.n_players)
        return self.latest, {"guarantee": "exact"} if self._complete else {}

    def state(self) -> dict[str, AnyArray]:
        """Return the arrays that `restore` needs."""
        return {
            "members": _joined(self.members),
            "values": _joined(self.values),
            "enumeration": _joined(self.enumeration),
            "ends": self.ends,
            "estimated_at": np.array(self.estimated_at),
        }

    def restore(self, state: Mapping[str, AnyArray]) -> None:
        """Go back to a saved state; the latest estimate is made again of what it was made of."""
        self.members, self.values = [state["members"]], [state["values"]]
        self.enumeration = [state["enumeration"]]
        self.ends = state["ends"]
        self.count = len(state["values"])
        self.drawn = int((state["enumeration"] < 0).sum())
        if int(state["estimated_at"]):
            self._estimate(int(state["estimated_at"]))

    @property
    def _enough(self) -> bool:
        """Whether an estimate can be made."""
        return self._complete or self.drawn >= self.estimator.least_units

    @property
    def _complete(self) -> bool:
        """Whether all that the law of the sizes draws is known."""
        everything = sum(one.units for one in self.schedule.enumerations)
        return self.schedule.n_blocks is not None and self.count == self.drawn + everything

    def _estimate(self, count: int) -> None:
        """Make the estimate of the first units."""
        sample = self._sample(count)
        if not sample.law.any():
            self.latest = exact_estimate(self.estimator.law, sample)
        elif len(sample) < FEW_UNITS:
            # Nearly all that was drawn became known. The latest estimate stands until it all is.
            return
        else:
            self.latest = self.estimator.estimate(sample)
        self.estimated_at = count

    def _sample(self, count: int) -> KeptSample:
        """Return the first units, those of enumerations that are complete apart."""
        packed = _joined(self.members)[:count]
        members = np.unpackbits(packed, axis=2, count=self.n_players).astype(bool)
        values, enumeration = _joined(self.values)[:count], _joined(self.enumeration)[:count]
        known_sizes = [0, self.n_players]
        complete = np.zeros(count, dtype=bool)
        for number, one in enumerate(self.schedule.enumerations):
            units = enumeration == number
            if units.sum() == one.units:
                complete |= units
                known_sizes += self.schedule.sizes(one.size)
        drawn = np.flatnonzero(enumeration < 0)
        unknown = ~np.isin(members[drawn, 0].sum(axis=1), known_sizes)
        return KeptSample(
            coalitions=members[drawn[unknown]],
            values=values[drawn[unknown]],
            numbers=np.flatnonzero(unknown),
            law=without_sizes(self.estimator.size_law, known_sizes),
            ends=self.ends,
            known=members[complete].reshape(-1, self.n_players),
            known_values=values[complete].ravel(),
        )

    def _unknown(self) -> Estimate:
        n = self.n_players
        nothing = np.zeros(n, dtype=np.int64)
        return Estimate(np.full(n, np.nan), np.zeros(n), nothing, np.full(n, np.inf))


def _joined(parts: list[Any]) -> Any:
    """Return the arrays of a list as one, which takes their place."""
    parts[:] = [np.concatenate(parts)]
    return parts[0]


def exact_estimate(law: FloatArray, sample: KeptSample) -> Estimate:
    """Return the values of a sample that holds all coalitions, by a size law [n]."""
    n = len(law)
    ends = np.array([[False] * n, [True] * n])
    values = level_means(
        law,
        np.concatenate([ends, sample.known]),
        np.concatenate([sample.ends, sample.known_values]),
    )
    counts = np.full(n, len(sample.known), dtype=np.int64)
    return Estimate(values, np.zeros(n), counts, np.zeros(n))


def warn_of_too_few(n_evaluations: int, needed: int, n_players: int) -> None:
    """Warn that so many evaluations say nothing yet of any player."""
    warnings.warn(
        f"{n_evaluations:,} evaluations are too few for {n_players} players: this estimator needs "
        f"{needed:,}; give it a larger budget, or follow permutations",
        DvlWarning,
        stacklevel=3,
    )
