"""Owen samplers: the multilinear extension of the game, integrated over the inclusion level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.special import roots_jacobi

from dvl_core.designs import MarginalDesign, marginal_design
from dvl_core.designs.marginals import PlayerOrder, check_order
from dvl_core.errors import InvalidOptionError, UnsupportedSemivalueError
from dvl_core.semivalues import (
    BanzhafSemivalue,
    BetaSemivalue,
    ShapleySemivalue,
    checked_size_law,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dvl_core.protocols import Design, Semivalue

__all__ = ["AntitheticOwenSampler", "OwenSampler"]


@dataclass(frozen=True)
class OwenSampler:
    """Marginals over coalitions that the others join with probability q, for several levels q.

    The Shapley value is the integral over q in [0, 1] of the mean marginal at level q (Owen 1972).

    Parameters
    ----------
    n_outer : int
        Levels q that are drawn together for a player.
    n_inner : int
        Coalitions at each level.
    strategy : str
        "uniform": one random level in each of `n_outer` equal intervals; unbiased, and covers every
        semivalue by weights. "grid": the nodes and weights of Gauss quadrature for the mixing law
        of Shapley, Beta Shapley or Banzhaf; biased by what the quadrature misses, which is nothing
        from n_outer = n / 2 on.
    order : str
        "in-turn": every player has its turn before any has another. "random": players are drawn.

    References
    ----------
    Okhrati, R. and Lipani, A. (2020). A Multilinear Sampling Algorithm to Estimate Shapley Values.
    ICPR, algorithm 1.

    Examples
    --------
    >>> OwenSampler().design(40, ShapleySemivalue()).guarantee
    'unbiased'
    >>> OwenSampler(strategy="grid", n_outer=4).design(40, ShapleySemivalue()).guarantee
    'biased-by-option'
    """

    n_outer: int = 8
    n_inner: int = 1
    strategy: Literal["uniform", "grid"] = "uniform"
    order: PlayerOrder = "in-turn"

    def __post_init__(self) -> None:
        check_order(self.order)
        _check_options(self.n_outer, self.n_inner, self.strategy)

    def design(self, n_players: int, semivalue: Semivalue) -> Design:
        """Return the design of this sampler for a semivalue."""
        if self.strategy == "uniform":
            draw = _JitteredLevels(self.n_outer, self.n_inner, antithetic=False)
            return marginal_design("owen", draw, n_players, semivalue, order=self.order)
        levels, weights = _quadrature(semivalue, self.n_outer, "owen")
        return _grid_design("owen", levels, weights, self, n_players, semivalue)


@dataclass(frozen=True)
class AntitheticOwenSampler:
    """Owen sampling at levels q up to 1/2, each coalition followed by its complement.

    The complement belongs to level 1 - q; the errors of the two cancel as far as marginals change
    monotonically with the size of the coalition.

    Parameters
    ----------
    n_outer : int
        Levels q in [0, 1/2] that are drawn together for a player.
    n_inner : int
        Pairs of coalitions at each level.
    strategy : str
        "uniform" or "grid", as for `OwenSampler`; "grid" covers semivalues whose mixing law is
        symmetric: Shapley, Beta(a, a), Banzhaf with p = 1/2.
    order : str
        "in-turn": every player has its turn before any has another. "random": players are drawn.

    References
    ----------
    Okhrati, R. and Lipani, A. (2020). A Multilinear Sampling Algorithm to Estimate Shapley Values.
    ICPR, algorithm 2 ("halved").

    Examples
    --------
    >>> AntitheticOwenSampler().design(40, ShapleySemivalue()).guarantee
    'unbiased'
    """

    n_outer: int = 4
    n_inner: int = 1
    strategy: Literal["uniform", "grid"] = "uniform"
    order: PlayerOrder = "in-turn"

    def __post_init__(self) -> None:
        check_order(self.order)
        _check_options(self.n_outer, self.n_inner, self.strategy)

    def design(self, n_players: int, semivalue: Semivalue) -> Design:
        """Return the design of this sampler for a semivalue."""
        name = "antithetic-owen"
        if self.strategy == "uniform":
            draw = _JitteredLevels(self.n_outer, self.n_inner, antithetic=True)
            return marginal_design(name, draw, n_players, semivalue, order=self.order)
        levels, weights = _quadrature(semivalue, 2 * self.n_outer, name)
        if not np.allclose(weights, weights[::-1]) or not np.allclose(levels, 1 - levels[::-1]):
            raise UnsupportedSemivalueError(
                f"sampler {name} with a grid does not cover semivalue {semivalue.name}: its mixing "
                "law is not symmetric"
            )
        half = self.n_outer if len(levels) > 1 else 1
        lower, weights = levels[:half], np.concatenate([weights[:half], weights[:half]])
        return _grid_design(name, lower, weights, self, n_players, semivalue)


def _check_options(n_outer: int, n_inner: int, strategy: str) -> None:
    """Refuse options that make no sense."""
    for name, value in (("n_outer", n_outer), ("n_inner", n_inner)):
        if value < 1:
            raise InvalidOptionError(f"{name} must be at least 1, got {value}")
    if strategy not in ("uniform", "grid"):
        raise InvalidOptionError(f"strategy must be 'uniform' or 'grid', got {strategy!r}")


def _quadrature(
    semivalue: Semivalue, n_levels: int, sampler: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return ascending levels [g] and weights [g] of sum 1 for the mixing law of a semivalue.

    Semivalues that are mixtures of Bernoulli coalitions have one: Beta(alpha, beta) mixes over
    q ~ Beta(beta, alpha), for which Gauss-Jacobi quadrature is made.
    """
    if isinstance(semivalue, BanzhafSemivalue):
        return np.array([semivalue.p]), np.ones(1)
    if isinstance(semivalue, ShapleySemivalue):
        alpha, beta = 1.0, 1.0
    elif isinstance(semivalue, BetaSemivalue):
        alpha, beta = semivalue.alpha, semivalue.beta
    else:
        raise UnsupportedSemivalueError(
            f"sampler {sampler} with a grid does not cover semivalue {semivalue.name}: it is no "
            "mixture of Bernoulli coalitions with a known law"
        )
    # On [-1, 1] with weight (1 - x)^(alpha - 1) (1 + x)^(beta - 1); q = (1 + x) / 2.
    nodes, weights = roots_jacobi(n_levels, alpha - 1, beta - 1)
    return (1 + nodes) / 2, weights / weights.sum()


def _grid_design(
    sampler: str,
    levels: NDArray[np.float64],
    weights: NDArray[np.float64],
    options: OwenSampler | AntitheticOwenSampler,
    n_players: int,
    semivalue: Semivalue,
) -> MarginalDesign:
    """Return the design that trusts quadrature: no weights by size."""
    antithetic = isinstance(options, AntitheticOwenSampler)
    draw = _GridLevels(tuple(levels), tuple(weights), options.n_inner, antithetic)
    law = checked_size_law(semivalue, n_players)
    exact = bool(np.allclose(draw.weighted_law(n_players), law, rtol=1e-9, atol=1e-12))
    weights = np.ones(n_players)
    return MarginalDesign(weights, draw, sampler, biased=not exact, order=options.order)


@dataclass(frozen=True)
class _JitteredLevels:
    """One random level in each of `n_outer` equal intervals of [0, 1], or of [0, 1/2]."""

    n_outer: int
    n_inner: int
    antithetic: bool

    @property
    def identity(self) -> dict[str, Any]:
        return {"n_outer": self.n_outer, "n_inner": self.n_inner, "antithetic": self.antithetic}

    @property
    def replicate_weights(self) -> NDArray[np.float64]:
        return np.ones(self.n_outer * self.n_inner * (2 if self.antithetic else 1))

    def size_law(self, n_players: int) -> NDArray[np.float64]:
        # Binomial with a uniform level: every size is equally likely.
        return ShapleySemivalue().size_law(n_players)

    def __call__(
        self, rng: np.random.Generator, players: NDArray[np.int64], n_players: int
    ) -> NDArray[np.bool_]:
        jitter = rng.random((self.n_outer, len(players)))
        levels = (np.arange(self.n_outer)[:, None] + jitter) / self.n_outer
        if self.antithetic:
            levels = levels / 2
        return _coalitions(rng, levels, self.n_inner, players, n_players, self.antithetic)


@dataclass(frozen=True)
class _GridLevels:
    """Fixed levels with quadrature weights; if antithetic, those of the complements at the end."""

    levels: tuple[float, ...]
    weights: tuple[float, ...]
    n_inner: int
    antithetic: bool

    @property
    def identity(self) -> dict[str, Any]:
        return {
            "levels": self.levels,
            "weights": self.weights,
            "n_inner": self.n_inner,
            "antithetic": self.antithetic,
        }

    @property
    def replicate_weights(self) -> NDArray[np.float64]:
        weights = np.repeat(self.weights, self.n_inner)
        return np.asarray(weights * len(weights) / weights.sum())

    def size_law(self, n_players: int) -> NDArray[np.float64]:
        return np.asarray(self._laws(n_players).mean(axis=0))

    def weighted_law(self, n_players: int) -> NDArray[np.float64]:
        """Return the law [n] of the size under the weights: the one that values follow."""
        return np.asarray(np.array(self.weights) @ self._laws(n_players) / sum(self.weights))

    def _laws(self, n_players: int) -> NDArray[np.float64]:
        """Return the laws [g, n] of the size at each level, complements included."""
        levels = np.array(self.levels)
        if self.antithetic:
            levels = np.concatenate([levels, 1 - levels])
        return np.array([BanzhafSemivalue(float(q)).size_law(n_players) for q in levels])

    def __call__(
        self, rng: np.random.Generator, players: NDArray[np.int64], n_players: int
    ) -> NDArray[np.bool_]:
        levels = np.tile(np.array(self.levels)[:, None], (1, len(players)))
        return _coalitions(rng, levels, self.n_inner, players, n_players, self.antithetic)


def _coalitions(
    rng: np.random.Generator,
    levels: NDArray[np.float64],
    n_inner: int,
    players: NDArray[np.int64],
    n_players: int,
    antithetic: bool,
) -> NDArray[np.bool_]:
    """Return coalitions [r, m, n], `n_inner` at each of the `levels` [g, m]; complements behind."""
    every = np.repeat(levels, n_inner, axis=0)
    drawn = rng.random((*every.shape, n_players)) < every[:, :, None]
    if antithetic:
        drawn = np.concatenate([drawn, ~drawn])
    drawn[:, np.arange(len(players)), players] = False
    return drawn
