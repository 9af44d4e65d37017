"""Merging two results: as if both runs had been one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dvl_core.errors import ResultError
from dvl_core.statistics import standard_errors

if TYPE_CHECKING:
    from dvl_core.protocols import IntArray
    from dvl_core.result import ValuationResult

__all__ = ["merged"]


def merged(first: ValuationResult, second: ValuationResult) -> ValuationResult:
    """Return counts added, means and spreads pooled (Chan's update), in the order of `first`.

    Raises
    ------
    ResultError
        If the runs share a seed, differ in method or players, or are exact.
    """
    theirs = _aligned(first, second)
    counts, others = first.counts, second.counts[theirs]
    total = counts + others
    share = others / np.maximum(total, 1)
    # A player without a value has NaN, which must not spread: its count is zero.
    mine = np.where(counts > 0, first.values, 0.0)
    delta = np.where(others > 0, second.values[theirs], 0.0) - mine
    squares = (
        first.variances * np.maximum(counts - 1, 0)
        + second.variances[theirs] * np.maximum(others - 1, 0)
        + delta**2 * counts * share
    )
    variances = squares / np.maximum(total - 1, 1)
    return first.replaced(
        values=np.where(total > 0, mine + delta * share, np.nan),
        variances=variances,
        counts=total,
        stderr=standard_errors(variances, total),
        converged=first.converged | second.converged[theirs],
        seed=None,
        n_evaluations=first.n_evaluations + second.n_evaluations,
        n_computed=first.n_computed + second.n_computed,
        n_failures=first.n_failures + second.n_failures,
        stop_reason="merged",
        extras={"seeds": [*_seeds(first), *_seeds(second)]},
    )


def _seeds(result: ValuationResult) -> list[int]:
    """Return the seeds of all runs that are in a result."""
    if result.seed is not None:
        return [result.seed]
    return list(result.extras.get("seeds", []))


def _aligned(first: ValuationResult, second: ValuationResult) -> IntArray:
    """Return where in `second` the players of `first` are; refuse what must not be pooled."""
    if first.algorithm != second.algorithm:
        raise ResultError(f"cannot merge {first.algorithm!r} with {second.algorithm!r}")
    shared = set(_seeds(first)) & set(_seeds(second))
    if shared:
        raise ResultError(
            f"both results have the seed {shared.pop()}: they saw the same coalitions, and merging "
            "would count them twice; run one of them with another seed"
        )
    if not np.array_equal(np.sort(first.indices), np.sort(second.indices)):
        raise ResultError("the two results are about different players")
    if not ((first.stderr > 0).any() or (second.stderr > 0).any()):
        raise ResultError("the values are exact: there is nothing to gain from merging")
    order = np.argsort(second.indices)
    theirs = order[np.searchsorted(second.indices[order], first.indices)]
    if list(first.names) != list(second.names[theirs]):
        raise ResultError("the two results have different names for the same players")
    return theirs
