"""Other values from coalitions that were evaluated already."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dvl_core.designs.adjusted import FOLDS, adjusted_estimate, balanced_sizes
from dvl_core.designs.enumeration import first_of_complete_sizes, without_sizes
from dvl_core.designs.kept_sample import KeptSample, exact_estimate
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
        Number of the block of each.
    drawn : bool array [m]
        Whether it was drawn, not part of an enumeration.
    ends : float array [2]
        Utilities of the empty and the full coalition.
    """

    coalitions: BoolArray
    values: FloatArray
    blocks: IntArray
    drawn: BoolArray
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
        blocks = np.repeat(np.arange(len(lengths)), lengths)
        return cls(
            coalitions=coalitions[proper],
            values=np.asarray(extras["record_values"])[proper],
            blocks=blocks[proper],
            drawn=np.repeat(np.asarray(extras["record_drawn"]), lengths)[proper],
            ends=np.asarray(extras["record_ends"]),
        )

    def informing(self) -> tuple[KeptSample, IntArray]:
        """Return what there is to estimate from, and the block [u] of each coalition drawn.

        Sizes of which all coalitions were evaluated are known. Of the others those that were drawn
        count; an enumeration that was cut short is no sample.
        """
        n = self.coalitions.shape[1]
        known = first_of_complete_sizes(self.coalitions)
        sizes = self.coalitions.sum(axis=1)
        rest = self.drawn & ~np.isin(sizes, sizes[known])
        law = np.bincount(sizes[rest], minlength=n + 1) / max(rest.sum(), 1)
        _, blocks = np.unique(self.blocks[rest], return_inverse=True)
        sample = KeptSample(
            coalitions=self.coalitions[rest][:, None],
            values=self.values[rest][:, None],
            numbers=np.arange(rest.sum()),
            law=law,
            ends=self.ends,
            known=self.coalitions[known],
            known_values=self.values[known],
        )
        return sample, blocks


def revalued(
    result: ValuationResult, semivalue: Semivalue, proxy: ProxyKind | None
) -> ValuationResult:
    """Return the values by another semivalue; see `ValuationResult.revalue`."""
    game = RecordedGame.of(result)
    sample, blocks = game.informing()
    n = game.coalitions.shape[1]
    law = checked_size_law(semivalue, n)
    seen = np.bincount(game.coalitions.sum(axis=1), minlength=n + 1) / max(len(game.values), 1)
    _refuse_lost_sizes(law, seen, result.algorithm, semivalue.name)
    known_sizes = np.union1d(sample.known.sum(axis=1), [0, n])
    wanted = without_sizes(balanced_sizes(law), known_sizes.tolist())
    share = _effective_share(wanted, sample.law)
    effective = len(sample.known) + share * len(sample)
    if not wanted.any():
        estimate = exact_estimate(law, sample)
    else:
        n_blocks = int(blocks[-1]) + 1 if len(blocks) else 0
        if n_blocks < LEAST_BLOCKS:
            raise ResultError(
                f"{n_blocks} blocks of evaluations of {n} players are too few for other values: "
                f"{LEAST_BLOCKS} blocks are needed"
            )
        if share < RUINOUS_SHARE:
            warnings.warn(
                f"the coalitions of {result.algorithm} suit {semivalue.name} badly: of "
                f"{len(game.values):,} evaluations about {effective:,.0f} count",
                DvlWarning,
                stacklevel=3,
            )
        if proxy is None:
            from dvl_core.samplers import MOST_LINEAR

            proxy = "linear" if n <= MOST_LINEAR else "size"
        estimate = adjusted_estimate(law, proxy, sample, blocks)
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
        extras={"guarantee": "consistent", "effective_evaluations": effective, **kept},
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


def _effective_share(wanted: FloatArray, drawn: FloatArray) -> float:
    """Return Kish's effective share of what was drawn, by the law of the sizes that are wanted."""
    at = drawn > 0
    weights = wanted[at] / drawn[at]
    squares = float(drawn[at] @ np.square(weights))
    return float(drawn[at] @ weights) ** 2 / squares if squares > 0 else 0.0
