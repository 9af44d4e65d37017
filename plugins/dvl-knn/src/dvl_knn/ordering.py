"""Orders from near to far, ties by number, of exact distances or of good approximations."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    BoolArray = NDArray[np.bool_]
    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

__all__ = ["in_order", "in_order_nearly"]

LARGEST_KEY_BITS = 52
"""A float64 holds integers of as many bits."""
SAMPLE = 256
MOST_DOUBTFUL = 0.25
"""Share of the neighbours from which on all are ordered again, not the doubtful ones alone."""


def in_order(distances: FloatArray) -> IntArray:
    """Return the numbers [m, n] of each row's entries, smallest first, equal ones by number.

    Examples
    --------
    >>> in_order(np.array([[2.0, 1.0, 2.0, 1.0]]))
    array([[1, 3, 0, 2]])
    """
    order = np.argsort(distances, axis=1)
    ordered = np.take_along_axis(distances, order, axis=1)
    larger = ordered[:, 1:] > ordered[:, :-1]
    # The fast sort leaves equal distances in any order.
    tied = np.flatnonzero(~larger.all(axis=1))
    if len(tied):
        bits = _bits(distances.shape[1])
        keys = order[tied]
        keys[:, 1:] += np.cumsum(larger[tied], axis=1) << bits
        keys.sort(axis=1)
        order[tied] = keys & ((1 << bits) - 1)
    return order


def in_order_nearly(
    approximate: FloatArray, error: float, exact: Callable[[IntArray | None], FloatArray]
) -> IntArray:
    """Return the order [n] that `in_order` finds for exact distances, mostly without them.

    Approximations are rounded to integers that leave room for the numbers of the entries and are
    sorted with them: much faster than a sort that moves numbers by what they refer to. Only those
    whose exact distances could be in another order than the approximate ones are looked at again.

    Parameters
    ----------
    approximate : float array [n]
        Distances, all up to the same constant, or increasing functions of them.
    error : float
        How far each may be off at most.
    exact : callable
        Returns the exact distances [m] of entries, given their numbers [m], or of all: None.

    Examples
    --------
    >>> distances = np.array([3.0, 1.0, 2.0, 1.0])
    >>> def exact(numbers):
    ...     return distances if numbers is None else distances[numbers]
    >>> in_order_nearly(np.array([2.9, 1.1, 2.0, 1.0]), 0.1, exact)
    array([1, 3, 2, 0])
    """
    bits = _bits(len(approximate))
    least = approximate.min()
    spread = approximate.max() - least
    sample = np.sort(approximate[:: -(-len(approximate) // SAMPLE)])
    # Where even a few are too close to tell, most of all would be.
    if not 0 < error < spread < np.inf or (np.diff(sample) <= 2 * error).any():
        return in_order(exact(None)[None])[0]
    scale = 2.0 ** min(LARGEST_KEY_BITS, 62 - bits) / spread
    keys = ((approximate - least) * scale).astype(np.int64)
    keys <<= bits
    keys |= np.arange(len(keys))
    keys.sort()
    # Two roundings by up to two units, and the numbers in the lower bits.
    doubt = int(min(np.ceil(2 * error * scale), 2.0**61)) + 6
    doubtful = np.diff(keys) >> bits <= doubt
    keys &= (1 << bits) - 1
    if doubtful.any():
        if np.count_nonzero(doubtful) > MOST_DOUBTFUL * len(keys):
            return in_order(exact(None)[None])[0]
        _reorder(keys, doubtful, exact)
    return keys


def _reorder(order: IntArray, doubtful: BoolArray, exact: Callable[[IntArray], FloatArray]) -> None:
    """Order neighbours that are linked by doubtful pairs by exact distance, then number, in place.

    Between two runs of them there is a gap wider than all errors, so that each can be ordered on
    its own.
    """
    linked = np.concatenate([[False], doubtful])
    run = np.cumsum(~linked)
    linked[:-1] |= doubtful
    at = np.flatnonzero(linked)
    numbers = order[at]
    order[at] = numbers[np.lexsort((numbers, exact(numbers), run[at]))]


def _bits(count: int) -> int:
    """Return the bits that the numbers below `count` take."""
    return max(count - 1, 1).bit_length()
