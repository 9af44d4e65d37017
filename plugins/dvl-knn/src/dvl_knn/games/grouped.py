"""The fixed game with groups of training points as players."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core.errors import DataError
from dvl_knn.games.base import Neighbours, Shares
from dvl_knn.laws import CoalitionLaw, log_choose

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dvl_core.protocols import Semivalue

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

__all__ = ["GroupedFixedGame"]

LARGEST_LOG_COUNT = 680.0
"""A float holds up to exp(709)."""


@dataclass(frozen=True, eq=False)
class GroupedFixedGame:
    """u(S) = matches among the min(K, |S|) nearest points of the groups in S, divided by K.

    Exact, by a dynamic programme from the nearest point to the farthest. A point counts for a
    coalition that has its group and fewer than K points nearer than it. Its group g gains it when
    it joins the coalitions in which the others bring fewer than K nearer points; another group
    takes it away from those that it pushes over K. Coalitions are counted by how many groups with
    nearer points they have, and how many such points: the coefficients of the product of
    1 + x z^c over the groups, c their nearer points, cut off at z^K. A group is left out of the
    product by dividing the series, which depends on its c only: a point costs O(K^3), however many
    groups there are.

    Parameters
    ----------
    k_neighbours : int
        K.
    groups : int array [n]
        Group of each training point.
    patterns : float array [n_groups, K + 1]
        Probability that of m given others exactly l given ones are in the coalition.
    """

    k_neighbours: int
    groups: IntArray
    patterns: FloatArray
    by_distance: bool = True
    uses_distances: bool = False

    @classmethod
    def solve(
        cls, semivalue: Semivalue, n_groups: int, k_neighbours: int, groups: IntArray
    ) -> GroupedFixedGame:
        """Return the game for a semivalue.

        Raises
        ------
        DataError
            If there are more coalitions than a float can count.
        """
        most = log_choose(np.array([n_groups]), min(k_neighbours, n_groups // 2))[0]
        if most > LARGEST_LOG_COUNT:
            raise DataError(
                f"{n_groups} groups have more coalitions than can be counted for "
                f"K = {k_neighbours}: use a smaller K"
            )
        law = CoalitionLaw.for_player(semivalue, n_groups)
        others = np.arange(n_groups)
        columns = [law.pattern(others, size) for size in range(k_neighbours + 1)]
        return cls(k_neighbours, groups, np.stack(columns, axis=1))

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the values, the groups aside: they are part of the data."""
        patterns = self.patterns.tobytes().hex()
        return {"game": "grouped-fixed", "k": self.k_neighbours, "patterns": patterns}

    def shares(self, neighbours: Neighbours) -> Shares:
        """Return the values of the groups for each test point."""
        n_groups = len(self.patterns)
        sweep = _Sweep(len(neighbours.order), n_groups, self.k_neighbours, self.patterns)
        owners = self.groups[neighbours.order]
        for owner, match in zip(owners.T, neighbours.matches.T, strict=True):
            sweep.visit(owner, match)
        values = sweep.finish() / self.k_neighbours
        return Shares(np.tile(np.arange(n_groups), (len(values), 1)), values)


class _Sweep:
    """The state of the dynamic programme for t test points, as points are visited near to far."""

    def __init__(self, t: int, n_groups: int, k: int, patterns: FloatArray) -> None:
        self.k = k
        self.patterns = patterns
        self.rows = np.arange(t)
        self.values = np.zeros((t, n_groups))
        self.nearer = np.zeros((t, n_groups), dtype=np.int64)
        """Points of each group visited so far, at most K."""
        self.active = np.zeros(t, dtype=np.int64)
        """Groups with at least one."""
        self.series = np.zeros((t, k, k))
        """Coalitions of active groups, [l, s]: by number of groups and of points."""
        self.series[:, 0, 0] = 1.0
        # What a group with c nearer points lost so far, by c: settled when its c changes.
        self.lost = np.zeros((t, k + 1))
        self.lost_before = np.zeros((t, n_groups))

    def visit(self, owner: IntArray, match: NDArray[np.int8]) -> None:
        """Visit the next point of every test point, given its group [t] and whether it matches."""
        own = self.nearer[self.rows, owner]
        without = _divided(self.series, own)
        active = self.active - (own > 0)
        self._settle(owner, own)
        self.values[self.rows, owner] += match * self._gained(without, active, own)
        self.lost += match[:, None] * self._taken(without, active, own)
        now = np.minimum(own + 1, self.k)
        self.nearer[self.rows, owner] = now
        self.lost_before[self.rows, owner] = self.lost[self.rows, now]
        self.active = active + 1
        self.series = without
        self.series[:, 1:] += _shifted(without[:, :-1], now)

    def finish(self) -> FloatArray:
        """Return the values [t, n_groups]."""
        lost = np.take_along_axis(self.lost, self.nearer, axis=1) - self.lost_before
        return self.values - np.where(self.nearer > 0, lost, 0.0)

    def _settle(self, group: IntArray, nearer: IntArray) -> None:
        """Charge a group [t] with what it took away since it had that many nearer points."""
        lost = self.lost[self.rows, nearer] - self.lost_before[self.rows, group]
        self.values[self.rows, group] -= np.where(nearer > 0, lost, 0.0)

    def _gained(self, series: FloatArray, active: IntArray, own: IntArray) -> FloatArray:
        """Return the probability [t] that the others bring fewer than K - `own` nearer points."""
        room = np.arange(self.k) < (self.k - own)[:, None]
        by_size = (series * room[:, None, :]).sum(axis=2)
        return (by_size * self.patterns[active, : self.k]).sum(axis=1)

    def _taken(self, series: FloatArray, active: IntArray, own: IntArray) -> FloatArray:
        """Return, by c, the probability [t, K + 1] that a group with c nearer points takes it.

        The coalition has the group of the point and lacks the one that joins: the others bring
        fewer than K - `own` nearer points, but not fewer than K - `own` - c.
        """
        taken = np.zeros((len(series), self.k + 1))
        points = np.arange(self.k)
        room = (self.k - own)[:, None]
        # Without another active group there is none that could take it: any row will do.
        law = self.patterns[np.clip(active, 1, len(self.patterns) - 1), 1:]
        for c in range(1, self.k + 1):
            pushed = (points < room) & (points >= room - c)
            rest = _divided(series, np.full(len(series), c))
            by_size = (rest * pushed[:, None, :]).sum(axis=2)
            taken[:, c] = (by_size * law).sum(axis=1)
        return taken


def _shifted(series: FloatArray, by: IntArray) -> FloatArray:
    """Return `series` [t, l, s] with its last axis shifted up by `by` [t], zeros moving in."""
    k = series.shape[2]
    padded = np.concatenate([np.zeros_like(series), series], axis=2)
    source = k + np.arange(k) - np.minimum(by, k)[:, None]
    return np.take_along_axis(padded, source[:, None, :], axis=2)


def _divided(series: FloatArray, by: IntArray) -> FloatArray:
    """Return the series [t, l, s] without a factor 1 + x z^c, c = `by` [t]; c = 0: as it is."""
    result = series.copy()
    for size in range(1, series.shape[1]):
        joined = _shifted(result[:, size - 1 : size], by)[:, 0]
        result[:, size] -= np.where(by[:, None] > 0, joined, 0.0)
    return result
