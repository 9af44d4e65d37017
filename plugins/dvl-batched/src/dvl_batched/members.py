"""Which training rows the coalitions of a batch have, and sums over them."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dvl_core.protocols import BoolArray, FloatArray, IntArray

__all__ = ["ChainedMembers", "Members", "members_of", "prefix_sums", "run_starts"]

STRETCH = 64


class Members:
    """The rows of the coalitions of a batch.

    Parameters
    ----------
    coalitions : bool array [b, n]
        One coalition a row.
    groups : int array [m], optional
        Player that owns each training row; None: the rows are the players.

    Examples
    --------
    >>> members = Members(np.array([[True, False], [True, True]]), np.array([0, 0, 1]))
    >>> members.sums(np.array([[1.0], [2.0], [4.0]]))
    array([[3.],
           [7.]])
    """

    def __init__(self, coalitions: BoolArray, groups: IntArray | None = None) -> None:
        self.coalitions = coalitions
        self.groups = groups

    def __len__(self) -> int:
        return len(self.coalitions)

    @cached_property
    def rows(self) -> BoolArray:
        """Whether a coalition has a training row [b, m]."""
        return self.coalitions if self.groups is None else self.coalitions[:, self.groups]

    @cached_property
    def dense(self) -> FloatArray:
        """The same as zeros and ones."""
        return np.asarray(self.rows, dtype=float)

    @cached_property
    def sizes(self) -> FloatArray:
        """Number of rows [b]."""
        return self.rows.sum(axis=1).astype(float)

    def sums(self, columns: FloatArray, rows: IntArray | None = None) -> FloatArray:
        """Return sums [b, c] over the members among `rows` [r], all by default.

        Parameters
        ----------
        columns : float array [r, c]
            What to sum, for each of `rows`.
        rows : int array [r], optional
            Ascending.
        """
        return (self.dense if rows is None else self.dense[:, rows]) @ columns

    def counts(self, rows: IntArray) -> FloatArray:
        """Return how many members [b] are among `rows` [r]."""
        return np.asarray(self.dense[:, rows].sum(axis=1))

    def kept(self, chosen: BoolArray) -> Members:
        """Return the members of some of the coalitions."""
        return Members(self.coalitions[chosen], self.groups)


class ChainedMembers(Members):
    """Members of coalitions that grow from row to row: sums run on from one to the next.

    Parameters
    ----------
    coalitions : bool array [b, n]
        One coalition a row.
    groups : int array [m], optional
        Player that owns each training row.
    orders : list of int arrays
        The rows of each chain in the order in which they join.
    chain : int array [b]
        Chain of each coalition, ascending.
    joined : int array [b]
        How many rows of its chain a coalition has, ascending in each chain.
    """

    def __init__(
        self,
        coalitions: BoolArray,
        groups: IntArray | None,
        orders: list[IntArray],
        chain: IntArray,
        joined: IntArray,
    ) -> None:
        super().__init__(coalitions, groups)
        self.orders, self.chain, self.joined = orders, chain, joined

    @cached_property
    def sizes(self) -> FloatArray:
        """Number of rows [b]."""
        return self.joined.astype(float)

    def chains(self) -> Iterator[tuple[slice, IntArray, IntArray]]:
        """Yield where each chain is in the batch, its rows in order, how many joined."""
        for number, order in enumerate(self.orders):
            begin, end = np.searchsorted(self.chain, [number, number + 1])
            if begin < end:
                joined = self.joined[begin:end]
                yield slice(int(begin), int(end)), order[: joined[-1]], joined

    def sums(self, columns: FloatArray, rows: IntArray | None = None) -> FloatArray:
        """Return sums [b, c] over the members among `rows` [r], all by default."""
        result = np.empty((len(self), columns.shape[1]))
        for part, places, joined in self._among(rows, len(columns)):
            result[part] = prefix_sums(columns[places])[joined]
        return result

    def counts(self, rows: IntArray) -> FloatArray:
        """Return how many members [b] are among `rows` [r]."""
        result = np.empty(len(self))
        for part, _, joined in self._among(rows, len(rows)):
            result[part] = joined
        return result

    def kept(self, chosen: BoolArray) -> ChainedMembers:
        """Return the members of some of the coalitions."""
        return ChainedMembers(
            self.coalitions[chosen],
            self.groups,
            self.orders,
            self.chain[chosen],
            self.joined[chosen],
        )

    def _among(
        self, rows: IntArray | None, count: int
    ) -> Iterator[tuple[slice, IntArray, IntArray]]:
        """Yield what `chains` does, of `count` rows by their places among `rows`."""
        if rows is None:
            yield from self.chains()
            return
        place = np.full(self.coalitions.shape[1] if self.groups is None else len(self.groups), -1)
        place[rows] = np.arange(count)
        for part, order, joined in self.chains():
            places = place[order]
            here = places >= 0
            so_far = np.concatenate([[0], np.cumsum(here)])
            yield part, places[here], so_far[joined]


def members_of(coalitions: BoolArray, groups: IntArray | None, least_run: int) -> Members:
    """Return the members of coalitions, as chains where enough of them are nested.

    Parameters
    ----------
    coalitions : bool array [b, n]
        One coalition a row.
    groups : int array [m], optional
        Player that owns each training row.
    least_run : int
        Mean length of a run of nested coalitions from which on they are taken as chains.

    Examples
    --------
    >>> nested = np.tri(100, dtype=bool)
    >>> type(members_of(nested, None, 50)).__name__, type(members_of(nested, None, 200)).__name__
    ('ChainedMembers', 'Members')
    """
    if len(coalitions) < least_run:
        return Members(coalitions, groups)
    starts = run_starts(coalitions)
    if len(coalitions) < least_run * len(starts):
        return Members(coalitions, groups)
    lengths = np.diff(np.append(starts, len(coalitions)))
    orders, joined = [], []
    for start, length in zip(starts, lengths, strict=True):
        # A player that joins at step s is in all coalitions from there on.
        steps = length - coalitions[start : start + length].sum(axis=0)
        steps = steps if groups is None else steps[groups]
        joined.append(np.cumsum(np.bincount(steps, minlength=length + 1))[:length])
        orders.append(np.argsort(steps, kind="stable")[: joined[-1][-1]])
    chain = np.repeat(np.arange(len(starts)), lengths)
    return ChainedMembers(coalitions, groups, orders, chain, np.concatenate(joined))


def run_starts(coalitions: BoolArray) -> IntArray:
    """Return where runs of coalitions [b, n] begin, each a proper part of the next.

    Examples
    --------
    >>> run_starts(np.array([[1, 0, 0], [1, 0, 1], [0, 1, 0], [0, 1, 0]], dtype=bool))
    array([0, 2, 3])
    """
    packed = np.packbits(coalitions, axis=1)
    lost = (packed[:-1] & ~packed[1:]).any(axis=1)
    same = (packed[:-1] == packed[1:]).all(axis=1)
    return np.flatnonzero(np.concatenate([[True], lost | same]))


def prefix_sums(terms: FloatArray) -> FloatArray:
    """Return the sums [l + 1, c] of the first 0, 1, ... l of `terms` [l, c].

    Summed in stretches, so that rounding grows with the length of a stretch and their number, not
    with their product.

    Examples
    --------
    >>> prefix_sums(np.array([[1.0], [2.0], [3.0]])).ravel()
    array([0., 1., 3., 6.])
    """
    length, c = terms.shape
    result = np.zeros((-(-length // STRETCH) * STRETCH + 1, c))
    result[1 : length + 1] = terms
    stretches = result[1:].reshape(-1, STRETCH, c)
    np.cumsum(stretches, axis=1, out=stretches)
    stretches[1:] += np.cumsum(stretches[:-1, -1], axis=0)[:, None]
    return result[: length + 1]
