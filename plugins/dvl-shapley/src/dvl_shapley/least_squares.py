"""Least-squares Shapley: pairs of complements, and what their size explains taken away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core.designs.adjusted import AdjustedMeans
from dvl_core.designs.kept import KeptCoalitionsDesign, growth_for
from dvl_core.designs.regression import least_squares
from dvl_core.designs.size_features import odd_size_features
from dvl_core.errors import UnsupportedSemivalueError
from dvl_core.samplers import MOST_LINEAR, AdjustedSampler
from dvl_core.semivalues import ShapleySemivalue, checked_size_law
from dvl_core.statistics import Estimate
from dvl_shapley.samplers import PermutationSampler

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dvl_core.designs.kept_sample import KeptSample
    from dvl_core.protocols import Design, Semivalue

    FloatArray = NDArray[np.float64]

__all__ = ["LeastSquaresSampler"]

LEAST_PAIRS = 4
"""A coefficient: with fewer, the squared errors of adjusted means are smaller."""


@dataclass(frozen=True)
class LeastSquaresSampler:
    """Coalitions in pairs of complements; values by weighted least squares.

    Shapley values are the coefficients of the additive game that is nearest to the utility, in a
    norm that weighs a coalition of s players by 1 / (C(n, s) s (n - s)) (Charnes et al. 1988).
    Sizes are drawn in proportion to 1 / sqrt(s (n - s)), each coalition with its complement, and a
    smooth function of the size is fitted beside the additive game, because it explains most of what
    utilities of models vary by. Consistent; of all samplers here the one with the smallest errors
    on data games. While there are fewer than about 4 pairs a player, whom least squares would fit
    too closely, adjusted means are made of the same pairs, see `AdjustedSampler`; for more than
    2,000 players, where an estimate at O(n^2) a pair is dear, this is that sampler. The counts of
    the result are degrees of freedom: pairs beyond those that the players take; of means, blocks.

    References
    ----------
    Covert, I. and Lee, S.-I. (2021). Improving KernelSHAP: Practical Shapley Value Estimation via
    Linear Regression. AISTATS, section 4. Musco, C. and Witter, R. T. (2025). Provably Accurate
    Shapley Value Estimation via Leverage Score Sampling. ICLR, section 3.

    Examples
    --------
    >>> LeastSquaresSampler().design(6, ShapleySemivalue()).guarantee
    'consistent'
    """

    def design(self, n_players: int, semivalue: Semivalue) -> Design:
        """Return the design of this sampler; it covers Shapley only."""
        law = checked_size_law(semivalue, n_players)
        if not np.allclose(law, ShapleySemivalue().size_law(n_players), rtol=1e-9, atol=0.0):
            raise UnsupportedSemivalueError(
                f"sampler least-squares does not cover semivalue {semivalue.name}: the additive "
                "game that is nearest has the Shapley values"
            )
        if n_players < 3:
            # One permutation and its reverse tell all there is to know.
            return PermutationSampler().design(n_players, semivalue)
        if n_players > MOST_LINEAR:
            return AdjustedSampler("size").design(n_players, semivalue)
        return KeptCoalitionsDesign(_PairedLeastSquares(n_players), "least-squares")


@dataclass(frozen=True)
class _PairedLeastSquares:
    """Regression of (u(S) - u(complement)) / 2 on who is in, and on odd functions of the size.

    Parameters
    ----------
    n_players : int
        At least 3.
    """

    n_players: int
    paired: bool = True

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the values."""
        return {
            "estimator": "paired least squares",
            "features": odd_size_features(self.n_players).shape[1],
        }

    @property
    def law(self) -> FloatArray:
        """Size law [n] of the Shapley value."""
        return ShapleySemivalue().size_law(self.n_players)

    @property
    def size_law(self) -> FloatArray:
        """Law [n + 1] of the sizes: in proportion to 1 / sqrt(s (n - s))."""
        sizes = np.arange(1, self.n_players)
        law = np.zeros(self.n_players + 1)
        law[1:-1] = 1 / np.sqrt(sizes * (self.n_players - sizes))
        return law / law.sum()

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
        first = np.concatenate([sample.coalitions[:, 0], sample.known[::2]])
        second = np.concatenate([sample.values[:, 1], sample.known_values[1::2]])
        half = (np.concatenate([sample.values[:, 0], sample.known_values[::2]]) - second) / 2
        sizes = first.sum(axis=1)
        total = float(sample.ends[1] - sample.ends[0])
        y = half - total * (2 * sizes - n) / (2 * n)
        weights, factors = self._weights(sample, sizes)
        odd = odd_size_features(n)
        # Rows of membership sum to zero, and so shall the values: one more row says so, and their
        # total is added at the end.
        y, weights, factors = (
            np.append(array, last)
            for array, last in ((y, 0.0), (weights, weights.mean()), (factors, 0.0))
        )

        def features(rows: slice) -> FloatArray:
            x = np.hstack([first[rows] - sizes[rows, None] / n, odd[sizes[rows]]])
            if rows.stop <= len(first):
                return x
            sum_is_zero = (np.arange(n + odd.shape[1]) < n).astype(float)
            return np.vstack([x, sum_is_zero])

        nothing = np.zeros(odd.shape[1])
        values, variances = least_squares(features, y, weights, nothing, factors)
        counts = np.full(n, freedom, dtype=np.int64)
        return Estimate(values + total / n, variances * counts, counts, np.sqrt(variances))

    def _weights(
        self, sample: KeptSample, sizes: NDArray[np.int64]
    ) -> tuple[FloatArray, FloatArray]:
        """Return weights [u] of pairs, and factors [u] for what each adds to the variance.

        The pairs of a size weigh as much together whether drawn or known; what is known has no
        error.
        """
        n, drawn = self.n_players, len(sample)
        weights = 1 / (sizes * (n - sizes))
        weights[:drawn] /= sample.law[sizes[:drawn]] * drawn
        smaller = np.minimum(sizes[drawn:], n - sizes[drawn:])
        pairs = np.bincount(smaller, minlength=n + 1)[smaller]
        weights[drawn:] *= np.where(2 * smaller == n, 1, 2) / pairs
        return weights, np.repeat([1.0, 0.0], [drawn, len(sizes) - drawn])
