"""Weighted means of what a fitted game leaves unexplained: one coalition informs every player."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core.designs.enumeration import FEW_PLAYERS, level_means
from dvl_core.designs.kept import growth_for
from dvl_core.designs.proxies import fit_proxy
from dvl_core.designs.sized import units_a_block
from dvl_core.statistics import Estimate

if TYPE_CHECKING:
    from dvl_core.designs.kept_sample import KeptSample
    from dvl_core.designs.proxies import ProxyKind
    from dvl_core.protocols import BoolArray, FloatArray, IntArray

__all__ = [
    "AdjustedMeans",
    "adjusted_estimate",
    "balanced_sizes",
    "end_values",
    "factors_by_size",
    "folds_for",
]

FOLDS = 4
FOLDS_OF_FEW = 8
FEW_BLOCKS = 8
MOST_LEAST_UNITS = 32


def balanced_sizes(law: FloatArray) -> FloatArray:
    """Return the law [n + 1] of the sizes to draw: like the root mean square of the factors.

    The ends, which are known, are not drawn (Li & Yu 2024, proposition 2).

    Examples
    --------
    >>> balanced_sizes(np.full(4, 0.25)).round(3)
    array([0.   , 0.349, 0.302, 0.349, 0.   ])
    """
    n = len(law)
    sizes = np.arange(1, n)
    drawn = np.zeros(n + 1)
    drawn[1:-1] = np.sqrt(np.square(law[sizes - 1]) / sizes + np.square(law[sizes]) / (n - sizes))
    return np.asarray(drawn / drawn.sum())


def factors_by_size(law: FloatArray, drawn: FloatArray) -> FloatArray:
    """Return what the utility of a coalition counts for its members and outsiders [2, n + 1].

    With sizes s drawn by q, the mean of n p(s-1) / (s q(s)) u(S) over members less that of
    n p(s) / ((n-s) q(s)) u(S) over outsiders is the semivalue, but for the two ends (Li & Yu 2024,
    eq. 5). Zero at the ends, and where nothing is drawn.
    """
    n = len(law)
    sizes = np.flatnonzero(drawn[1:-1]) + 1
    factors = np.zeros((2, n + 1))
    factors[0, sizes] = n * law[sizes - 1] / (sizes * drawn[sizes])
    factors[1, sizes] = -n * law[sizes] / ((n - sizes) * drawn[sizes])
    return factors


def folds_for(n_players: int) -> int:
    """Return in how many parts the coalitions are split; more of few, which are soon fitted."""
    return FOLDS_OF_FEW if n_players <= FEW_PLAYERS else FOLDS


def end_values(law: FloatArray, at_ends: FloatArray) -> float:
    """Return what the utilities [2] of nobody and of all add to every value."""
    return float(law[-1] * at_ends[1] - law[0] * at_ends[0])


@dataclass(frozen=True, eq=False)
class AdjustedMeans:
    """Values of a fitted game, and weighted means of what it leaves unexplained.

    The game is fitted to three quarters of the coalitions (of up to 32 players, seven eighths), the
    residuals of the rest are averaged; each part in turn (cross-fitting), so that no residual is
    small because it was
    fitted.

    Parameters
    ----------
    law : float array [n]
        Size law p of the semivalue.
    drawn : float array [n + 1]
        Size law q of the coalitions.
    proxy : str
        What is fitted, see `fit_proxy`.
    paired : bool
        Follow every coalition by its complement; q must be symmetric.
    """

    law: FloatArray
    drawn: FloatArray
    proxy: ProxyKind
    paired: bool

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the values."""
        laws = [self.law.tobytes().hex(), self.drawn.tobytes().hex()]
        return {
            "estimator": "adjusted",
            "laws": laws,
            "proxy": self.proxy,
            "paired": self.paired,
            "folds": folds_for(len(self.law)),
        }

    @property
    def size_law(self) -> FloatArray:
        """Law [n + 1] of the sizes to draw."""
        return self.drawn

    @property
    def growth(self) -> float:
        """How much larger a sample must be for another estimate: trees take their time."""
        return 2.0 if self.proxy == "trees" else growth_for(len(self.law))

    @property
    def least_units(self) -> int:
        """Enough for every fold to have some."""
        return min(units_a_block(len(self.law), self.paired), MOST_LEAST_UNITS)

    def estimate(self, sample: KeptSample) -> Estimate:
        """Return values, and standard errors from the spread of the means of blocks."""
        n = len(self.law)
        # The sizes of a block are drawn together. Of few blocks, parts are taken for observations:
        # their means differ by more than they would if they were independent.
        of_block = units_a_block(n, self.paired)
        folds = folds_for(n)
        units = [of_block, of_block // folds, 1]
        enough = [FEW_BLOCKS, folds, 0]
        for size, least in zip(units, enough, strict=True):
            _, blocks = np.unique(sample.numbers // size, return_inverse=True)
            if blocks[-1] + 1 >= least:
                break
        return adjusted_estimate(
            self.law, self.proxy, sample, np.repeat(blocks, sample.values.shape[1])
        )


def adjusted_estimate(
    law: FloatArray, proxy: ProxyKind, sample: KeptSample, blocks: IntArray
) -> Estimate:
    """Return values, and standard errors from the spread of the means of blocks.

    Parameters
    ----------
    law : float array [n]
        Size law of the semivalue.
    proxy : str
        What is fitted, see `fit_proxy`.
    sample : KeptSample
        Coalitions that are uniform among those of their size.
    blocks : int array [u r]
        Number of the block of each, ascending from 0 without gaps. Blocks are independent of each
        other: one is in one fold, and one observation.
    """
    n, n_blocks = len(law), int(blocks[-1]) + 1
    folds = folds_for(n)
    coalitions, values = sample.coalitions.reshape(-1, n), sample.values.ravel()
    all_known = np.concatenate([[[False] * n, [True] * n], sample.known])
    known_values = np.concatenate([sample.ends, sample.known_values])
    sizes, known_sizes = coalitions.sum(axis=1), all_known.sum(axis=1)
    observations = np.empty((n_blocks, n))
    per_block = len(values) / n_blocks
    for fold in range(folds):
        inside = blocks % folds == fold
        others = ~inside
        fitted = fit_proxy(
            proxy,
            np.concatenate([coalitions[others], sample.known]),
            np.concatenate([sizes[others], known_sizes[2:]]),
            np.concatenate([values[others], sample.known_values]),
            sample.ends,
        )
        unexplained = known_values - fitted.predict(all_known, known_sizes)
        certain = fitted.semivalue(law) + level_means(law, all_known, unexplained)
        residuals = values[inside] - fitted.predict(coalitions[inside], sizes[inside])
        member, outsider = factors_by_size(law, sample.law)[:, sizes[inside]] * residuals
        sums = _block_sums(coalitions[inside], member, outsider, blocks[inside] // folds)
        observations[fold::folds] = certain + sums / per_block
    variances = observations.var(axis=0, ddof=1)
    counts = np.full(n, n_blocks, dtype=np.int64)
    return Estimate(observations.mean(axis=0), variances, counts, np.sqrt(variances / n_blocks))


def _block_sums(
    coalitions: BoolArray, member: FloatArray, outsider: FloatArray, blocks: IntArray
) -> FloatArray:
    """Return the sums [blocks, n] of `member` [u] over members and `outsider` [u] over others."""
    starts = np.flatnonzero(np.diff(blocks, prepend=-1))
    sums = np.empty((len(starts), coalitions.shape[1]))
    for total, start, stop in zip(sums, starts, [*starts[1:], len(blocks)], strict=True):
        rows = slice(start, stop)
        total[:] = (member[rows] - outsider[rows]) @ coalitions[rows] + outsider[rows].sum()
    return sums
