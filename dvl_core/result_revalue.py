"""Other values from coalitions that were evaluated already."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dvl_core.designs.adjusted import FOLDS, adjusted_estimate, balanced_sizes
from dvl_core.errors import DvlWarning, ResultError, UnsupportedSemivalueError
from dvl_core.semivalues import checked_size_law

if TYPE_CHECKING:
    from dvl_core.designs.proxies import ProxyKind
    from dvl_core.protocols import BoolArray, FloatArray, IntArray, Semivalue
    from dvl_core.result import ValuationResult

__all__ = ["RecordedGame", "revalued"]

LEAST_BLOCKS = 2 * FOLDS
MOST_LOST = 0.01
"""Share of the size law that may lie at sizes of which no coalition was evaluated."""
RUINOUS_SHARE = 0.1


@dataclass(frozen=True, eq=False)
class RecordedGame:
    """What a run evaluated.

    Parameters
    ----------
    coalitions : bool array [m, n]
        Coalitions, the ends apart.
    values : float array [m]
        Their utilities.
    blocks : int array [m]
        Number of the block of each, from 0 without gaps.
    ends : float array [2]
        Utilities of the empty and the full coalition.
    """

    coalitions: BoolArray
    values: FloatArray
    blocks: IntArray
    ends: FloatArray

    @classmethod
    def of(cls, result: ValuationResult) -> RecordedGame:
        """Return the record of a result.

        Raises
        ------
        ResultError
            If the result has none.
        """
        extras = result.extras
        if "record_members" not in extras:
            raise ResultError(
                "this result has no record of its coalitions: wrap the sampler in "
                "RecordingSampler(...) and run again, with the same store or seed"
            )
        n = int(extras["record_n_players"])
        coalitions = np.unpackbits(extras["record_members"], axis=1, count=n).astype(bool)
        sizes = coalitions.sum(axis=1)
        proper = (sizes > 0) & (sizes < n)
        lengths = np.asarray(extras["record_lengths"])
        blocks = np.repeat(np.arange(len(lengths)), lengths)[proper]
        blocks = np.unique(blocks, return_inverse=True)[1]
        ends = np.asarray(extras["record_ends"])
        return cls(coalitions[proper], np.asarray(extras["record_values"])[proper], blocks, ends)


def revalued(
    result: ValuationResult, semivalue: Semivalue, proxy: ProxyKind | None
) -> ValuationResult:
    """Return the values by another semivalue; see `ValuationResult.revalue`."""
    game = RecordedGame.of(result)
    n = game.coalitions.shape[1]
    law = checked_size_law(semivalue, n)
    n_blocks = int(game.blocks[-1]) + 1 if len(game.blocks) else 0
    if n < 3 or n_blocks < LEAST_BLOCKS:
        raise ResultError(
            f"{n_blocks} blocks of evaluations of {n} players are too few for other values: "
            f"{LEAST_BLOCKS} blocks of at least 3 players are needed"
        )
    sizes = game.coalitions.sum(axis=1)
    drawn = np.bincount(sizes, minlength=n + 1) / len(sizes)
    _refuse_lost_sizes(law, drawn, result.algorithm, semivalue.name)
    share = _effective_share(law, drawn)
    if share < RUINOUS_SHARE:
        warnings.warn(
            f"the coalitions of {result.algorithm} suit {semivalue.name} badly: of "
            f"{len(sizes):,} evaluations about {share * len(sizes):,.0f} count",
            DvlWarning,
            stacklevel=3,
        )
    if proxy is None:
        from dvl_core.samplers import MOST_LINEAR

        proxy = "linear" if n <= MOST_LINEAR else "size"
    estimate = adjusted_estimate(
        law, drawn, proxy, game.coalitions, game.values, game.blocks, game.ends
    )
    kept = {k: v for k, v in result.extras.items() if k.startswith("record_")}
    return result.replaced(
        values=estimate.values[result.indices],
        stderr=estimate.stderr[result.indices],
        variances=estimate.variances[result.indices],
        counts=estimate.counts[result.indices],
        converged=np.zeros(len(result), dtype=bool),
        algorithm=semivalue.name,
        n_computed=0,
        stop_reason=f"made of the evaluations of {result.algorithm}",
        extras={"guarantee": "consistent", "effective_evaluations": share * len(sizes), **kept},
    )


def _refuse_lost_sizes(law: FloatArray, drawn: FloatArray, source: str, semivalue: str) -> None:
    """Raise if too much of the law lies at sizes that nobody looked at."""
    seen = drawn > 0
    seen[[0, -1]] = True
    lost = ~(seen[:-1] & seen[1:])
    if law[lost].sum() > MOST_LOST:
        sizes = ", ".join(map(str, np.flatnonzero(~seen)[:5]))
        raise UnsupportedSemivalueError(
            f"the coalitions of {source} do not cover semivalue {semivalue}: none of sizes {sizes} "
            f"... was evaluated, where {law[lost].sum():.0%} of its weight lies"
        )


def _effective_share(law: FloatArray, drawn: FloatArray) -> float:
    """Return Kish's effective share of the evaluations, weighted as the semivalue asks."""
    wanted = balanced_sizes(law)
    at = drawn > 0
    weights = wanted[at] / drawn[at]
    return float(drawn[at] @ weights) ** 2 / float(drawn[at] @ np.square(weights))
