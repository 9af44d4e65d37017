"""Weighted means of what a fitted game leaves unexplained: one coalition informs every player."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core.designs.kept import UNITS_A_BLOCK, growth_for
from dvl_core.designs.proxies import fit_proxy
from dvl_core.statistics import Estimate

if TYPE_CHECKING:
    from dvl_core.designs.kept import KeptSample
    from dvl_core.designs.proxies import ProxyKind
    from dvl_core.protocols import BoolArray, FloatArray, IntArray

__all__ = [
    "AdjustedMeans",
    "adjusted_estimate",
    "balanced_sizes",
    "end_values",
    "factors_by_size",
]

FOLDS = 4
FEW_BLOCKS = 8


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


def end_values(law: FloatArray, at_ends: FloatArray) -> float:
    """Return what the utilities [2] of nobody and of all add to every value."""
    return float(law[-1] * at_ends[1] - law[0] * at_ends[0])


@dataclass(frozen=True, eq=False)
class AdjustedMeans:
    """Values of a fitted game, and weighted means of what it leaves unexplained.

    The game is fitted to three quarters of the coalitions, the residuals of the last quarter are
    averaged; each quarter in turn (cross-fitting), so that no residual is small because it was
    fitted.

    Parameters
    ----------
    law : float array [n]
        Size law p of the semivalue.
    drawn : float array [n + 1]
        Size law q of the coalitions.
    proxy : str
        What is fitted, see `fit_proxy`.
    """

    law: FloatArray
    drawn: FloatArray
    proxy: ProxyKind
    paired: bool = False

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the values."""
        laws = [self.law.tobytes().hex(), self.drawn.tobytes().hex()]
        return {"estimator": "adjusted", "laws": laws, "proxy": self.proxy, "folds": FOLDS}

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
        """A block, in as many parts as there are folds."""
        return UNITS_A_BLOCK

    def estimate(self, sample: KeptSample) -> Estimate:
        """Return values, and standard errors from the spread of the means of blocks."""
        n = len(self.law)
        # The sizes of a block are drawn together. Of few blocks, parts are taken for observations:
        # their means differ by more than they would if they were independent.
        few = len(sample) < FEW_BLOCKS * UNITS_A_BLOCK
        units = UNITS_A_BLOCK // FOLDS if few else UNITS_A_BLOCK
        blocks = np.arange(sample.values.size) // (units * sample.values.shape[1])
        coalitions, values = sample.coalitions.reshape(-1, n), sample.values.ravel()
        return adjusted_estimate(
            self.law, self.drawn, self.proxy, coalitions, values, blocks, sample.ends
        )


def adjusted_estimate(
    law: FloatArray,
    drawn: FloatArray,
    proxy: ProxyKind,
    coalitions: BoolArray,
    values: FloatArray,
    blocks: IntArray,
    ends: FloatArray,
) -> Estimate:
    """Return values, and standard errors from the spread of the means of blocks.

    Parameters
    ----------
    law : float array [n]
        Size law of the semivalue.
    drawn : float array [n + 1]
        Size law of the coalitions.
    proxy : str
        What is fitted, see `fit_proxy`.
    coalitions : bool array [u, n]
        Uniform among those of their size.
    values : float array [u]
        Their utilities.
    blocks : int array [u]
        Number of the block of each, ascending from 0 without gaps. Blocks are independent of each
        other: one is in one fold, and one observation.
    ends : float array [2]
        Utilities of the empty and the full coalition.
    """
    n, n_blocks = len(law), int(blocks[-1]) + 1
    sizes = coalitions.sum(axis=1)
    observations = np.empty((n_blocks, n))
    per_block = len(values) / n_blocks
    for fold in range(FOLDS):
        inside = blocks % FOLDS == fold
        others = ~inside
        fitted = fit_proxy(proxy, coalitions[others], sizes[others], values[others], ends)
        at_ends = fitted.predict(np.array([[False] * n, [True] * n]), np.array([0, n]))
        known = fitted.semivalue(law) + end_values(law, ends - at_ends)
        residuals = values[inside] - fitted.predict(coalitions[inside], sizes[inside])
        member, outsider = factors_by_size(law, drawn)[:, sizes[inside]] * residuals
        sums = _block_sums(coalitions[inside], member, outsider, blocks[inside] // FOLDS)
        observations[fold::FOLDS] = known + sums / per_block
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
