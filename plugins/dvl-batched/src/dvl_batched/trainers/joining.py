"""The nearest members of each test point while rows join one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from dvl_core.protocols import IntArray

__all__ = ["Nearest", "nearest_along"]


@dataclass(frozen=True, eq=False)
class Nearest:
    """What the nearest members are, and when they change.

    Parameters
    ----------
    ranks : int array [k, e]
        Ranks of the nearest members, ascending; the largest integer where one is missing.
    tests : int array [e]
        Test points that they are nearest to.
    places : int array [b, t]
        Which of them holds for each coalition and test point.
    """

    ranks: IntArray
    tests: IntArray
    places: IntArray


def nearest_along(ranks: IntArray, joined: IntArray, k: int) -> Nearest:
    """Return the `k` nearest members of a growing coalition.

    A coalition that doubles meets about k rows that are near enough to join the nearest k; those
    are found by one comparison, and inserted in order, for all test points together.

    Parameters
    ----------
    ranks : int array [l, t]
        Ranks of the rows for each test point, from near to far, in the order in which they join.
    joined : int array [b]
        How many rows have joined, ascending; one or more.
    k : int
        Number of neighbours.

    Examples
    --------
    >>> found = nearest_along(np.array([[2], [1], [3], [0]]), np.array([2, 3, 4]), 2)
    >>> found.ranks[:, found.places[:, 0]]
    array([[1, 1, 0],
           [2, 2, 1]])
    """
    t = ranks.shape[1]
    start = int(joined[0])
    top = np.full((k, t), np.iinfo(ranks.dtype).max, dtype=ranks.dtype)
    known = min(k, start)
    top[:known] = np.sort(np.partition(ranks[:start], known - 1, axis=0)[:known], axis=0)
    tops, tests = [top.copy()], [np.arange(t)]
    places = np.zeros((len(joined), t), dtype=np.int64)
    places[0] = np.arange(t)
    slots = np.repeat(np.arange(len(joined)), np.diff(joined, prepend=0))
    count = t
    while start < joined[-1]:
        end = min(2 * start, int(joined[-1]))
        where, when = np.nonzero(top[-1, :, None] > ranks[start:end].T)
        when += start
        for now, at in _rounds(where, when):
            rank = ranks[now, at]
            nearer = rank < top[-1, at]
            now, at, rank = now[nearer], at[nearer], rank[nearer]
            changed = top[:, at]
            changed[-1] = rank
            changed.sort(axis=0)
            top[:, at] = changed
            # Of several that join at once the last one holds.
            places[slots[now], at] = count + np.arange(len(at))
            tops.append(changed)
            tests.append(at)
            count += len(at)
        start = end
    np.maximum.accumulate(places, axis=0, out=places)
    return Nearest(np.concatenate(tops, axis=1), np.concatenate(tests), places)


def _rounds(where: IntArray, when: IntArray) -> list[tuple[IntArray, IntArray]]:
    """Return the first events of all test points, the second ones, and so on."""
    counts = np.bincount(where)
    turn = np.arange(len(where)) - np.repeat(np.cumsum(counts) - counts, counts)
    order = np.argsort(turn, kind="stable")
    together = np.bincount(turn)
    ends = np.cumsum(together)
    return [
        (when[order[begin:end]], where[order[begin:end]])
        for begin, end in zip(ends - together, ends, strict=True)
    ]
