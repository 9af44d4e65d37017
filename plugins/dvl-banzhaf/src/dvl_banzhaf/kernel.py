"""Kernel Banzhaf (Liu et al. 2025): the Banzhaf value as a regression on pairs of complements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_banzhaf.sampler import MSRSampler
from dvl_core.designs.adjusted import AdjustedMeans
from dvl_core.designs.kept import KeptCoalitionsDesign, growth_for
from dvl_core.designs.regression import least_squares
from dvl_core.designs.size_features import odd_size_features, size_marginals
from dvl_core.errors import UnsupportedSemivalueError
from dvl_core.samplers import MOST_LINEAR, AdjustedSampler
from dvl_core.semivalues import BanzhafSemivalue, checked_size_law
from dvl_core.statistics import Estimate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dvl_core.designs.kept_sample import KeptSample
    from dvl_core.protocols import Design, Semivalue

    FloatArray = NDArray[np.float64]

__all__ = ["KernelBanzhafSampler"]

LEAST_PAIRS = 1.25
"""A coefficient: with fewer, the squared errors of adjusted means are smaller."""


@dataclass(frozen=True)
class KernelBanzhafSampler:
    """Random halves of the players in pairs of complements; values by least squares.

    Banzhaf values are the coefficients of the additive game that is nearest to the utility, all
    coalitions weighing alike (Hammer & Holzman 1992). A smooth function of the size is fitted
    beside it and its own value added back. Consistent; on data games its errors are a fraction of
    those of maximum sample reuse with as many evaluations. While there are hardly more pairs than
    players, whom least squares would fit too closely, adjusted means are made of the same pairs,
    see `AdjustedSampler`; for more than 2,000 players, where an estimate at O(n^2) a pair is dear,
    this is that sampler. The counts of the result are degrees of freedom: pairs beyond those that
    the players take; of means, blocks.

    References
    ----------
    Liu, Y., Witter, R. T., Korn, F., Alrashed, T., Paparas, D. and Freire, J. (2024). Kernel
    Banzhaf: A Fast and Robust Estimator for Banzhaf Values. arXiv:2410.08336, algorithm 1.

    Examples
    --------
    >>> KernelBanzhafSampler().design(6, BanzhafSemivalue()).guarantee
    'consistent'
    """

    def design(self, n_players: int, semivalue: Semivalue) -> Design:
        """Return the design of this sampler; it covers Banzhaf with p = 1/2 only."""
        law = checked_size_law(semivalue, n_players)
        if not np.allclose(law, BanzhafSemivalue().size_law(n_players), rtol=1e-9, atol=0.0):
            raise UnsupportedSemivalueError(
                f"sampler kernel-banzhaf does not cover semivalue {semivalue.name}: the additive "
                "game that is nearest has the Banzhaf values, p = 1/2"
            )
        if n_players < 2:
            return MSRSampler().design(n_players, semivalue)
        if n_players > MOST_LINEAR:
            return AdjustedSampler("size").design(n_players, semivalue)
        return KeptCoalitionsDesign(_PairedRegression(n_players), "kernel-banzhaf")


@dataclass(frozen=True)
class _PairedRegression:
    """Regression of (u(S) - u(complement)) / 2 on who is in, and on odd functions of the size.

    Parameters
    ----------
    n_players : int
        At least 2.
    """

    n_players: int
    paired: bool = True

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the values."""
        n_features = odd_size_features(self.n_players).shape[1]
        return {"estimator": "paired regression", "features": n_features}

    @property
    def law(self) -> FloatArray:
        """Size law [n] of the Banzhaf value."""
        return BanzhafSemivalue().size_law(self.n_players)

    @property
    def size_law(self) -> FloatArray:
        """Law [n + 1] of the sizes: binomial."""
        return BanzhafSemivalue().size_law(self.n_players + 1)

    @property
    def least_units(self) -> int:
        """What adjusted means need."""
        return self._means.least_units

    @property
    def growth(self) -> float:
        """How much larger a sample must be for another estimate."""
        return growth_for(self.n_players)

    @property
    def n_coefficients(self) -> int:
        """Of the players, and of the functions of the size."""
        return self.n_players + odd_size_features(self.n_players).shape[1]

    @property
    def _means(self) -> AdjustedMeans:
        """What is made of few pairs."""
        return AdjustedMeans(self.law, self.size_law, "linear", paired=True)

    def estimate(self, sample: KeptSample) -> Estimate:
        """Return the coefficients, and standard errors from the residuals of the pairs (HC3)."""
        n = self.n_players
        freedom = len(sample) - self.n_coefficients
        if len(sample) < LEAST_PAIRS * self.n_coefficients:
            return self._means.estimate(sample)
        # Known pairs come with both halves, one after the other; the ends are a pair too.
        first = np.concatenate([sample.coalitions[:, 0], sample.known[::2], [[False] * n]])
        drawn_half = (sample.values[:, 0] - sample.values[:, 1]) / 2
        known_half = (sample.known_values[::2] - sample.known_values[1::2]) / 2
        y = np.concatenate([drawn_half, known_half, [(sample.ends[0] - sample.ends[1]) / 2]])
        sizes = first.sum(axis=1)
        odd = odd_size_features(n)
        worth = size_marginals(odd, self.law)

        def features(rows: slice) -> FloatArray:
            return np.hstack([first[rows] - 0.5, odd[sizes[rows]]])

        # All coalitions weigh alike: those that are known, and those that were drawn for the rest.
        drawn, known = len(sample), len(first) - len(sample)
        each = 0.5 ** (n - 1)
        weights = np.repeat([(1 - known * each) / drawn, each], [drawn, known])
        factors = np.repeat([1.0, 0.0], [drawn, known])
        values, variances = least_squares(features, y, weights, worth, factors)
        counts = np.full(n, freedom, dtype=np.int64)
        return Estimate(values, variances * counts, counts, np.sqrt(variances))
