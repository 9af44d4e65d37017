"""Merging two results: as if both runs had been one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dvl_core.errors import ResultError
from dvl_core.statistics import standard_errors

if TYPE_CHECKING:
    from dvl_core.protocols import BoolArray, IntArray
    from dvl_core.result import ValuationResult

__all__ = ["merged"]


def merged(first: ValuationResult, second: ValuationResult) -> ValuationResult:
    """Return counts added, means and spreads pooled (Chan's update), in the order of `first`.

    Estimates that are no means have ``variances`` of ``stderr**2 * counts``. They pool alike: the
    mean weighted by counts has the variance sum(counts * variances) / total**2, from which the
    pooled one differs in the order of 1 / total.

    Raises
    ------
    ResultError
        If the runs share what they saw, differ in method or players, or if one is exact or has no
        standard errors.
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
    # A value of unknown error among the two leaves their mean without one.
    unknown = _unknown(first) | _unknown(second)[theirs]
    return first.replaced(
        values=np.where(total > 0, mine + delta * share, np.nan),
        variances=variances,
        counts=total,
        stderr=np.where(unknown, np.inf, standard_errors(variances, total)),
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


def _unknown(result: ValuationResult) -> BoolArray:
    """Return whose error [n] is not known, although there was more than one replicate."""
    return np.isinf(result.stderr) & (result.counts > 1)


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
    _require_errors(first, second)
    order = np.argsort(second.indices)
    theirs = order[np.searchsorted(second.indices[order], first.indices)]
    if list(first.names) != list(second.names[theirs]):
        raise ResultError("the two results have different names for the same players")
    # Without evaluations the seed may decide nothing: a fitted ensemble has always the same values.
    drew_nothing = first.n_evaluations == second.n_evaluations == 0
    if drew_nothing and np.array_equal(first.values, second.values[theirs], equal_nan=True):
        raise ResultError("both results are the same: merging would count what they saw twice")
    return theirs


def _require_errors(first: ValuationResult, second: ValuationResult) -> None:
    """Refuse results whose errors do not shrink by averaging."""
    exact = any(result.extras.get("guarantee") == "exact" for result in (first, second))
    if exact or not ((first.stderr > 0).any() or (second.stderr > 0).any()):
        raise ResultError("the values are exact: there is nothing to gain from merging")
    for result in (first, second):
        several = result.counts > 1
        if several.any() and np.isinf(result.stderr[several]).all():
            raise ResultError(
                f"the values of {result.algorithm!r} have no standard errors: the mean of two such "
                "results is not what the method asks for; give one run a larger budget"
            )
