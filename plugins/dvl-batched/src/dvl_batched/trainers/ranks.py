"""A walk over the training rows, near to far, for all test points and coalitions at once."""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from dvl_batched.members import ChainedMembers, Members
from dvl_batched.trainers.joining import nearest_along

if TYPE_CHECKING:
    from dvl_core.protocols import AnyArray, BoolArray, FloatArray, IntArray

__all__ = ["RankWalk", "tie_groups"]

RELATIVE_ROUNDING = 1e-12
ABSOLUTE_ROUNDING = 1e-13
"""Of a squared distance, relative to the squared length of the points: scikit-learn multiplies out
``(x - y)^2`` in high dimensions."""
NEAR = 1e-8
"""Squared distances below this share of the squared length have lost half of their digits."""
FIRST_STRETCH = 8
MOST_AT_ONCE = 1 << 20


def tie_groups(ordered: FloatArray, squares: float, targets: AnyArray) -> IntArray | None:
    """Return numbers of groups of equal distances that differ in their targets.

    Parameters
    ----------
    ordered : float array [t, m]
        Distances, ascending.
    squares : float
        Squared length of the longest points.
    targets : array [t, m]
        Targets in the same order.

    Returns
    -------
    int array [t, m] or None
        Rows of one group can be taken in any order by scikit-learn, and it matters which; None if
        there are no two such rows.

    Examples
    --------
    >>> import numpy as np
    >>> tie_groups(np.array([[0.5, 1.0, 1.0, 2.0, 2.0]]), 9.0, np.array([[0, 1, 1, 0, 1]]))
    array([[0, 1, 2, 3, 3]])
    """
    small = RELATIVE_ROUNDING * ordered[:, 1:] ** 2 + ABSOLUTE_ROUNDING * squares
    begins = np.ones(ordered.shape, dtype=bool)
    begins[:, 1:] = np.diff(ordered**2, axis=1) > small
    if begins.all():
        return None
    t, m = ordered.shape
    starts = np.flatnonzero(begins.ravel())
    flat = targets.ravel()
    mixed = np.minimum.reduceat(flat, starts) != np.maximum.reduceat(flat, starts)
    sizes = np.diff(np.append(starts, t * m))
    begins |= np.repeat(~mixed, sizes).reshape(t, m)
    return None if begins.all() else np.cumsum(begins, axis=1) - 1


class RankWalk:
    """Sums over the k nearest members of coalitions.

    Parameters
    ----------
    order : int array [t, m]
        Training rows from near to far, for each test point.
    k : int
        Number of neighbours.
    channels : array [c, t, m]
        What to sum, in the order of `order`; booleans are counted.
    ties : int array [t, m], optional
        From `tie_groups`.

    Examples
    --------
    >>> walk = RankWalk(np.array([[2, 0, 1]]), 2, np.array([[[5.0, 1.0, 2.0]]]))
    >>> walk(Members(np.array([[True, True, True], [True, True, False]])))[0]
    array([[[6., 3.]]])
    """

    def __init__(
        self, order: IntArray, k: int, channels: AnyArray, ties: IntArray | None = None
    ) -> None:
        self.k = k
        # By rank first: a stretch of the walk takes some ranks.
        self._order = np.ascontiguousarray(order.T)
        self._channels = np.ascontiguousarray(channels.transpose(0, 2, 1))
        # Numbers from one: zero says that there is no such row.
        self._ties = None if ties is None else np.ascontiguousarray(ties.T) + 1
        self._zeros = np.zeros(len(order), dtype=np.int64)
        self._near = self._zeros

    @property
    def n_channels(self) -> int:
        """Number of sums."""
        return len(self._channels)

    def share_zeros(self, ordered: FloatArray, squares: float) -> None:
        """Let a member at distance zero, if there is one, be the only neighbour.

        Parameters
        ----------
        ordered : float array [t, m]
            Distances, ascending.
        squares : float
            Squared length of the longest points.
        """
        self._zeros = (ordered == 0).sum(axis=1)
        self._near = (ordered**2 <= NEAR * squares).sum(axis=1)

    def __call__(self, members: Members) -> tuple[FloatArray, BoolArray]:
        """Return sums [c, t, b] for coalitions of at least k rows, and which are sure."""
        # A test point that lies on a member may have fewer neighbours.
        if isinstance(members, ChainedMembers) and not self._near.any():
            return self._along(members)
        rows = members.rows
        m, t = self._order.shape
        b = len(rows)
        here = np.ascontiguousarray(rows.T)
        result = np.zeros((self.n_channels, t, b))
        counts = np.zeros((t, b), dtype=np.min_scalar_type(2 * m + 1))
        sure = self._start(here, result, counts)
        totals = result.copy()
        groups = None if self._ties is None else np.zeros((t, b), dtype=np.int64)
        limit = self.k if groups is None else min(self.k + 1, m)
        columns, start, length = np.arange(b), 0, FIRST_STRETCH
        while start < m:
            length = max(1, min(length, MOST_AT_ONCE // (t * len(columns))))
            stretch = slice(start, start + length)
            found = here[self._order[stretch]]
            running = found.astype(counts.dtype)
            running[0] += counts
            for before, after in pairwise(running):
                after += before
            counts = running[-1]
            if groups is not None:
                clear = self._follow_ties(stretch, found, running, groups)
                sure[columns[~clear.all(axis=0)]] = False
            found &= running <= self.k
            self._add(stretch, found, totals)
            start, length = start + length, 2 * length
            walking = (counts < limit).any(axis=0)
            if not walking.all():
                result[:, :, columns[~walking]] = totals[:, :, ~walking]
                columns, here = columns[walking], here[:, walking]
                totals, counts = totals[:, :, walking], counts[:, walking]
                groups = None if groups is None else groups[:, walking]
            if len(columns) == 0:
                break
        result[:, :, columns] = totals
        return result, sure

    def _along(self, members: ChainedMembers) -> tuple[FloatArray, BoolArray]:
        """Return the same for coalitions that grow, by inserting the rows that join."""
        m, t = self._order.shape
        result = np.empty((self.n_channels, t, len(members)))
        sure = np.ones(len(members), dtype=bool)
        depth = self.k if self._ties is None else self.k + 1
        for part, order, joined in members.chains():
            found = nearest_along(self._ranks[order], joined, depth)
            nearest, places = found.ranks[: self.k], found.places
            for channel, sums in zip(self._channels, result, strict=True):
                sums[:, part] = channel[nearest, found.tests].sum(axis=0)[places].T
            if self._ties is not None:
                last, following = found.ranks[self.k - 1], np.minimum(found.ranks[self.k], m - 1)
                tied = self._ties[last, found.tests] == self._ties[following, found.tests]
                tied &= found.ranks[self.k] < m
                sure[part] = ~tied[places].any(axis=1)
        return result, sure

    @cached_property
    def _ranks(self) -> IntArray:
        """The rank of each training row for each test point [m, t]."""
        ranks = np.empty(self._order.shape, dtype=np.int32)
        np.put_along_axis(
            ranks, self._order, np.arange(len(ranks), dtype=np.int32)[:, None], axis=0
        )
        return ranks

    def _start(self, here: BoolArray, totals: FloatArray, counts: AnyArray) -> BoolArray:
        """Settle the test points that lie on a member; return which coalitions [b] are sure."""
        sure = np.ones(here.shape[1], dtype=bool)
        for test in np.flatnonzero(self._near):
            # The distances of several that are all but there have no digits left.
            near = here[self._order[: self._near[test], test]]
            sure &= near.sum(axis=0) < 2
            there = near[: self._zeros[test]]
            values = self._channels[:, : self._zeros[test], test].astype(float)
            totals[:, test] = values @ there
            counts[test, there.any(axis=0)] = self.k + 1
        return sure

    def _add(self, stretch: slice, found: BoolArray, totals: FloatArray) -> None:
        """Add what the rows of a stretch [l, t, a] bring."""
        for channel, total in zip(self._channels, totals, strict=True):
            part = channel[stretch]
            if part.dtype == bool:
                total += (found & part[:, :, None]).sum(axis=0, dtype=np.int32)
            else:
                total += np.einsum("lta,lt->ta", found, part)

    def _follow_ties(
        self, stretch: slice, found: BoolArray, running: AnyArray, groups: IntArray
    ) -> BoolArray:
        """Return the pairs [t, a] whose last neighbour is not tied with the first that is none."""
        assert self._ties is not None
        ties = self._ties[stretch][:, :, None]
        last = np.where(found & (running == self.k), ties, 0).max(axis=0)
        np.copyto(groups, last, where=last > 0)
        following = np.where(found & (running == self.k + 1), ties, 0).max(axis=0)
        return (following == 0) | (following != groups)
