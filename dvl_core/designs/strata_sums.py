"""What strata hold, and the values that are made of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core.designs.adjusted import end_values
from dvl_core.designs.enumeration import without_sizes
from dvl_core.designs.proxies import SizeMoments
from dvl_core.statistics import Estimate

if TYPE_CHECKING:
    from dvl_core.designs.enumeration import EnumerationSchedule
    from dvl_core.protocols import AnyArray, FloatArray, IntArray

__all__ = ["StrataAccumulator"]

GROWTH, UNITS_A_PLAYER = 0.2, 4
"""The sample grows by so much between two estimates, which look at n^2 strata."""
STRATA_A_CHUNK = 1 << 15
"""So many strata are looked at together."""
TINY = 1e-300
WEIGHT_OF_POOLED = 2.0
"""The variance that all players have in common at a size counts like so many observations."""


class StrataAccumulator:
    """Counts, sums and sums of squares of utilities, for every player by the size of its side.

    Of pairs each coalition is a side, with what it and the other one count for the value. Of single
    coalitions only members are looked at: what outsiders have is what all have less that of the
    members. Utilities are taken relative to the mean of those of nobody and of all.

    Parameters
    ----------
    law : float array [n]
        Size law p of the semivalue.
    schedule : EnumerationSchedule
        The sizes that are drawn, and those that are enumerated.
    """

    def __init__(self, law: FloatArray, schedule: EnumerationSchedule) -> None:
        self.semivalue_law, self.schedule, self.paired = law, schedule, schedule.paired
        self.n = n = len(law)
        # What a utility counts for in the value of a member and of an outsider, by size.
        self.gain, self.loss = np.append(0.0, law), np.append(law, 0.0)
        self.known_sizes = [0, n]
        self.drawn = without_sizes(schedule.law, self.known_sizes)
        # By size: count, sum and sum of squares of each player, and of all coalitions.
        self.strata, self.totals = np.zeros((n + 1, 3, n)), np.zeros((n + 1, 3))
        self.missed_a_block = self._missed_a_block()
        self.log_missed = np.zeros_like(self.missed_a_block)
        self.known, self.pending = np.zeros(n), np.zeros(n)
        self.moments = SizeMoments(np.zeros(2), n)
        self.ends = np.full(2, np.nan)
        self.units = self.units_pending = self.estimated_at = 0
        nothing = np.zeros(n, dtype=np.int64)
        self.latest = Estimate(np.full(n, np.nan), np.zeros(n), nothing, np.full(n, np.inf))

    def fold(self, sample: Mapping[str, AnyArray]) -> None:
        """Take in the units of a block."""
        self.ends = sample["ends"]
        centre = self.ends.mean()
        if self.units == 0:
            self.moments = SizeMoments(self.ends - centre, self.n)
        members = np.unpackbits(sample["members"][:, 0], axis=1, count=self.n).astype(float)
        sizes, values = members.sum(axis=1).astype(np.int64), sample["values"] - centre
        self.moments.add(sizes, values[:, 0])
        if self.paired:
            self.moments.add(self.n - sizes, values[:, 1])
        number = int(sample["enumeration"])
        if number < 0:
            self._fold_drawn(members, sizes, values)
        else:
            self._fold_enumerated(number, members, sizes, values)
        self.units += len(values)
        step = max(UNITS_A_PLAYER * self.n, GROWTH * self.estimated_at)
        if self.units >= self.estimated_at + step or not self.drawn.any():
            self._estimate()

    def estimate(self) -> Estimate:
        """Return the latest estimate: the last blocks are not in it yet."""
        return self.latest

    def finish(self) -> tuple[Estimate, dict[str, Any]]:
        """Return the estimate from all blocks."""
        if self.estimated_at < self.units:
            self._estimate()
        return self.latest, {} if self.drawn.any() else {"guarantee": "exact"}

    def state(self) -> dict[str, AnyArray]:
        """Return the arrays that `restore` needs."""
        latest = self.latest
        return {
            "strata": self.strata,
            "totals": self.totals,
            "log_missed": self.log_missed,
            "known": np.stack([self.known, self.pending]),
            "known_sizes": np.array(self.known_sizes),
            "gram": self.moments.gram,
            "moments": self.moments.moments,
            "ends": self.ends,
            "units": np.array([self.units, self.units_pending, self.estimated_at]),
            "latest": np.stack([latest.values, latest.variances, latest.counts, latest.stderr]),
        }

    def restore(self, state: Mapping[str, AnyArray]) -> None:
        """Go back to a saved state."""
        self.strata, self.totals = np.array(state["strata"]), np.array(state["totals"])
        self.log_missed = np.array(state["log_missed"])
        self.known, self.pending = np.array(state["known"])
        self.known_sizes = state["known_sizes"].tolist()
        self.drawn = without_sizes(self.schedule.law, self.known_sizes)
        self.missed_a_block = self._missed_a_block()
        self.moments.gram = np.array(state["gram"])
        self.moments.moments = np.array(state["moments"])
        self.ends = np.array(state["ends"])
        self.units, self.units_pending, self.estimated_at = state["units"].tolist()
        values, variances, counts, stderr = np.array(state["latest"])
        self.latest = Estimate(values, variances, counts.astype(np.int64), stderr)

    def _fold_drawn(self, members: FloatArray, sizes: IntArray, values: FloatArray) -> None:
        """Take in units that were drawn: members [u, n], sizes [u] and utilities [u, r]."""
        if self.paired:
            rest, (first, second) = self.n - sizes, values.T
            sides = [
                (members, sizes, self.gain[sizes] * first - self.loss[rest] * second),
                (1.0 - members, rest, self.gain[rest] * second - self.loss[sizes] * first),
            ]
        else:
            sides = [(members, sizes, values[:, 0])]
        for side, rows, worth in sides:
            powers = np.stack([np.ones_like(worth), worth, worth * worth], axis=1)
            np.add.at(self.totals, rows, powers)
            for row, power, there in zip(rows.tolist(), powers[:, :, None], side, strict=True):
                self.strata[row] += power * there
        self.log_missed += self.missed_a_block

    def _fold_enumerated(
        self, number: int, members: FloatArray, sizes: IntArray, values: FloatArray
    ) -> None:
        """Take in part of all coalitions of a size; once they are complete, it is known."""
        one, n = self.schedule.enumerations[number], self.n
        for column, side in zip(values.T, (members, 1.0 - members), strict=False):
            size = int(side[0].sum())
            with_player, without = math.comb(n - 1, size - 1), math.comb(n - 1, size)
            gained, lost = self.gain[size] / with_player, self.loss[size] / max(without, 1)
            self.pending += column @ side * (gained + lost) - column.sum() * lost
        self.units_pending += len(values)
        if self.units_pending == one.units:
            self.known = self.known + self.pending
            self.pending, self.units_pending = np.zeros(n), 0
            self.known_sizes += self.schedule.sizes(one.size)
            self.drawn = without_sizes(self.schedule.law, self.known_sizes)
            self.missed_a_block = self._missed_a_block()

    def _estimate(self) -> None:
        """Make the estimate of all blocks so far."""
        by_size = self.moments.fit().by_size
        gained, lost = self.gain * by_size, self.loss * by_size
        centred = end_values(self.semivalue_law, self.ends - self.ends.mean())
        values, variances = self.known + centred, np.zeros(self.n)
        rows = np.flatnonzero(self.drawn)
        step = max(1, STRATA_A_CHUNK // self.n)
        for part in (rows[start : start + step] for start in range(0, len(rows), step)):
            own = np.moveaxis(self.strata[part], 1, 0)
            if self.paired:
                kinds = [(own, (gained - lost[::-1])[part], 0, np.ones(len(part)))]
            else:
                others = np.moveaxis(self.totals[part, :, None], 1, 0) - own
                kinds = [
                    (own, gained[part], 0, self.gain[part]),
                    (others, -lost[part], 1, -self.loss[part]),
                ]
            for strata, level, side, factor in kinds:
                seen = -np.expm1(self.log_missed[side, part])
                beside, variance = _beside_level(strata, level, seen, factor)
                values += level.sum() + beside
                variances += variance
        counts = np.full(self.n, self.units, dtype=np.int64)
        self.latest = Estimate(values, variances * self.units, counts, np.sqrt(variances))
        self.estimated_at = self.units

    def _missed_a_block(self) -> FloatArray:
        """Return the logarithms of P [sides, n + 1] that a block has nothing for a stratum.

        Each of as many equal shares of the law as a block has units gives one size, see
        `sized_coalitions`.
        """
        edges = np.append(0.0, np.cumsum(self.drawn))
        edges *= self.schedule.units_a_block / max(edges[-1], TINY)
        shares = np.arange(self.schedule.units_a_block)
        of_size = np.minimum(edges[1:, None], shares + 1) - np.maximum(edges[:-1, None], shares)
        of_size = np.clip(of_size, 0.0, 1.0)
        inside = (np.arange(self.n + 1) / self.n)[:, None]
        if self.paired:
            hit = ((of_size + of_size[::-1]) * inside)[None]
        else:
            hit = np.stack([of_size * inside, of_size * (1 - inside)])
        with np.errstate(divide="ignore"):
            return np.asarray(np.log1p(-np.minimum(hit, 1.0)).sum(axis=2))


def _beside_level(
    strata: FloatArray, level: FloatArray, seen: FloatArray, factor: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return what strata add to the values [n] beside their level, and the variances [n].

    Parameters
    ----------
    strata : float array [3, k, n]
        Counts, sums and sums of squares.
    level : float array [k]
        What takes the place of an empty stratum.
    seen : float array [k]
        Probability that a stratum is not empty.
    factor : float array [k]
        What the sums count for in the values.
    """
    counts, sums, squares = strata
    there = counts > 0
    inverse = there / np.maximum(counts, 1.0)
    means = sums * inverse
    off = there * (means * factor[:, None] - level[:, None])
    within = np.maximum(squares - sums * means, 0.0) * np.square(factor)[:, None]
    freedom = np.maximum(counts - 1.0, 0.0)
    # Without repeats, worths are as uncertain as their distance from the level.
    off_squares = np.square(off).sum(axis=1)
    repeats, n_there = freedom.sum(axis=1), np.maximum(there.sum(axis=1), 1)
    pooled = np.where(repeats > 0, within.sum(axis=1), off_squares)
    pooled = pooled / np.where(repeats > 0, repeats, n_there)
    own = (within + WEIGHT_OF_POOLED * pooled[:, None]) / (freedom + WEIGHT_OF_POOLED)
    # The variance of 1[not empty] (mean - level) / seen: of being empty, and of the mean.
    scale = 1 / np.maximum(seen, TINY)
    by_chance = off_squares / counts.shape[1] * (1 - seen) * scale * scale
    return scale @ off, scale @ (own * inverse) + by_chance.sum()
