"""What removing the players with the lowest values does to the score, against chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

if TYPE_CHECKING:
    from dvl_core.protocols import BoolArray, FloatArray, IntArray, Utility
    from dvl_core.result import ValuationResult

__all__ = ["RemovalCurve", "removal_curve"]

FRACTIONS = tuple(np.round(np.linspace(0, 0.5, 11), 3).tolist())


@dataclass(frozen=True)
class RemovalCurve:
    """Scores after removing a growing share of the players.

    Parameters
    ----------
    fractions : float array [m]
        Shares removed, from 0.
    lowest : float array [m]
        Scores without the lowest values.
    random_mean, random_low, random_high : float array [m]
        Mean and 5th and 95th percentile of the scores without random players.
    n_random : int
        Repetitions of the random removal.
    """

    fractions: FloatArray
    lowest: FloatArray
    random_mean: FloatArray
    random_low: FloatArray
    random_high: FloatArray
    n_random: int

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able description."""
        return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> RemovalCurve:
        """Return the curve that `to_dict` described."""
        curves: dict[str, Any] = {k: np.asarray(v, dtype=float) for k, v in content.items()}
        return cls(**{**curves, "n_random": int(content["n_random"])})


def removal_curve(
    utility: Utility,
    result: ValuationResult,
    *,
    fractions: Sequence[float] = FRACTIONS,
    n_random: int = 10,
    seed: int = 0,
) -> RemovalCurve:
    """Return how the utility changes without the lowest values, and without random players.

    Parameters
    ----------
    utility : Utility
        Bound to the players of `result`.
    result : ValuationResult
        Values; players without one are the last to be removed.
    fractions : sequence of float
        Shares of the players to remove; the first should be 0.
    n_random : int
        Repetitions of the random removal.
    seed : int
        Of the random removal.

    Examples
    --------
    >>> from dvl_core import ValuationResult
    >>> from dvl_core.games import AdditiveGame
    >>> game = AdditiveGame([1.0, 2.0, -1.0, 4.0])
    >>> known = ValuationResult(
    ...     values=[1, 2, -1, 4], stderr=[0] * 4, variances=[0] * 4, counts=[1] * 4,
    ...     converged=[True] * 4,
    ... )
    >>> removal_curve(game, known, fractions=[0, 0.25]).lowest
    array([6., 7.])
    """
    n = len(result)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(2,)))
    counts = np.round(np.asarray(fractions) * n).astype(np.int64)
    orders = [result.sort().indices, *(rng.permutation(n) for _ in range(n_random))]
    coalitions = np.concatenate([_without_first(order, counts) for order in orders])
    # Small fits on many BLAS threads spend their time waiting for each other.
    with threadpool_limits(limits=1):
        scores = utility(coalitions).reshape(1 + n_random, len(counts))
    random = scores[1:]
    return RemovalCurve(
        fractions=np.asarray(fractions, dtype=float),
        lowest=scores[0],
        random_mean=random.mean(axis=0),
        random_low=np.percentile(random, 5, axis=0),
        random_high=np.percentile(random, 95, axis=0),
        n_random=n_random,
    )


def _without_first(order: IntArray, counts: IntArray) -> BoolArray:
    """Return coalitions [m, n] that lack the first `counts` [m] players of `order`."""
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return rank[None, :] >= counts[:, None]
