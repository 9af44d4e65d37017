"""Permutations that are spread more evenly than independent ones (Mitchell et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dvl_core.designs import ChainDesign
from dvl_core.errors import InvalidOptionError
from dvl_shapley.samplers import permutation_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dvl_core.protocols import Design, Semivalue

__all__ = ["QuasiPermutationSampler"]

MOST_DIMENSIONS = 21_201
"""Of the Sobol sequence: direction numbers are published for so many."""


@dataclass(frozen=True)
class QuasiPermutationSampler:
    """Permutations in groups that are spread evenly over all orders; a group is one observation.

    Each permutation by itself is uniform, so that values are unbiased for every semivalue; groups
    are independent of each other, so that standard errors come from the spread of their means.

    Parameters
    ----------
    kind : str
        "sobol": the orders of the coordinates of successive points of a Sobol sequence, scrambled
        anew for every group; for up to 21,201 players. "orthogonal": the orders of the coordinates
        of vectors at right angles to each other and to (1, ..., 1), each with its reverse; hardly
        better than reverses alone.
    n_permutations : int
        In a group: a power of 2 for "sobol", even for "orthogonal". Larger groups are spread more
        evenly; standard errors need two of them at least.

    References
    ----------
    Mitchell, R., Cooper, J., Frank, E. and Holmes, G. (2022). Sampling Permutations for Shapley
    Value Estimation. JMLR 23, sections 4.1 and 4.2. Owen, A. B. (1997). Monte Carlo Variance of
    Scrambled Net Quadrature. SIAM Journal on Numerical Analysis 34, for groups as replicates.

    Examples
    --------
    >>> from dvl_core import ShapleySemivalue
    >>> QuasiPermutationSampler().design(4, ShapleySemivalue()).guarantee
    'unbiased'
    """

    kind: Literal["sobol", "orthogonal"] = "sobol"
    n_permutations: int = 8

    def __post_init__(self) -> None:
        if self.kind not in ("sobol", "orthogonal"):
            raise InvalidOptionError(f"kind must be 'sobol' or 'orthogonal', got {self.kind!r}")
        m = self.n_permutations
        if m < 2 or m % 2:
            raise InvalidOptionError(f"n_permutations must be even and at least 2, got {m}")
        if self.kind == "sobol" and m & (m - 1):
            raise InvalidOptionError(
                f"n_permutations must be a power of 2 for kind='sobol', got {m}"
            )

    def design(self, n_players: int, semivalue: Semivalue) -> Design:
        """Return the design of this sampler for a semivalue."""
        if self.kind == "sobol" and n_players > MOST_DIMENSIONS:
            raise InvalidOptionError(
                f"kind='sobol' is for up to {MOST_DIMENSIONS:,} players, the game has "
                f"{n_players:,}: use kind='orthogonal'"
            )
        weights = permutation_weights("quasi-permutation", n_players, semivalue)
        orders = _Orthogonal if self.kind == "orthogonal" else _Sobol
        return ChainDesign(weights, "quasi-permutation", draw=orders(self.n_permutations))


@dataclass(frozen=True)
class _Orthogonal:
    """Orders of the coordinates of orthogonal vectors of sum zero, and the reverse of each."""

    per_replicate: int

    @property
    def identity(self) -> dict[str, Any]:
        return {"orders": "orthogonal", "together": self.per_replicate}

    def __call__(self, rng: np.random.Generator, count: int, n_players: int) -> NDArray[np.int64]:
        half = self.per_replicate // 2
        orders = np.empty((self.per_replicate, count, n_players), dtype=np.int64)
        for replicate in range(count):
            drawn = rng.standard_normal((n_players, half))
            drawn -= drawn.mean(axis=0)
            # There are no more than n - 1 vectors at right angles; the next ones start anew.
            step = max(n_players - 1, 1)
            parts = [_orthonormal(drawn[:, i : i + step]) for i in range(0, half, step)]
            forward = np.concatenate(parts, axis=1).argsort(axis=0).T
            orders[:half, replicate] = forward
            orders[half:, replicate] = forward[:, ::-1]
        return orders


def _orthonormal(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return orthonormal vectors [n, k] in the place of `vectors` [n, k], as by Gram and Schmidt.

    Signs matter: those of a QR decomposition are a convention, and not as likely as their opposite.
    """
    q, r = np.linalg.qr(vectors)
    return np.asarray(q * np.sign(np.diag(r)))


@dataclass(frozen=True)
class _Sobol:
    """Orders of the coordinates of scrambled Sobol points."""

    per_replicate: int

    @property
    def identity(self) -> dict[str, Any]:
        return {"orders": "sobol", "together": self.per_replicate}

    def __call__(self, rng: np.random.Generator, count: int, n_players: int) -> NDArray[np.int64]:
        from scipy.stats.qmc import Sobol

        orders = np.empty((self.per_replicate, count, n_players), dtype=np.int64)
        for replicate in range(count):
            points = Sobol(n_players, scramble=True, seed=rng).random(self.per_replicate)
            # Points have 30 bits: coordinates that are equal are ordered at random.
            points += rng.random(points.shape) * 2.0**-30
            orders[:, replicate] = points.argsort(axis=1)
        return orders
