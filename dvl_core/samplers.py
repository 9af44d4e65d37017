"""The samplers of the core: uniform subsets, leave-one-out, and the two full enumerations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dvl_core.designs import (
    AllSubsetsDesign,
    ChainDesign,
    MarginalDesign,
    importance_weights,
)
from dvl_core.semivalues import BanzhafSemivalue, LOOSemivalue, checked_size_law

if TYPE_CHECKING:
    from dvl_core.protocols import BoolArray, Design, FloatArray, IntArray, Semivalue

__all__ = [
    "AntitheticSampler",
    "DeterministicPermutationSampler",
    "DeterministicUniformSampler",
    "LOOSampler",
    "UniformSampler",
]


@dataclass(frozen=True)
class _FairCoins:
    """Every other player is in with probability 1/2; if antithetic, the complement follows."""

    antithetic: bool

    @property
    def replicates(self) -> int:
        return 2 if self.antithetic else 1

    def size_law(self, n_players: int) -> FloatArray:
        return BanzhafSemivalue().size_law(n_players)

    def __call__(self, rng: np.random.Generator, players: IntArray, n_players: int) -> BoolArray:
        drawn = rng.random((1, len(players), n_players)) < 0.5
        both = np.concatenate([drawn, ~drawn]) if self.antithetic else drawn
        both[:, np.arange(len(players)), players] = False
        return both


@dataclass(frozen=True)
class _AllOthers:
    """The coalition of all other players."""

    replicates: int = 1

    def size_law(self, n_players: int) -> FloatArray:
        return LOOSemivalue().size_law(n_players)

    def __call__(self, rng: np.random.Generator, players: IntArray, n_players: int) -> BoolArray:
        others = np.ones((1, len(players), n_players), dtype=bool)
        others[0, np.arange(len(players)), players] = False
        return others


@dataclass(frozen=True)
class UniformSampler:
    """Marginals over uniformly drawn subsets of the other players.

    The natural sampler of the Banzhaf value. Weights make it unbiased for every semivalue, but
    they are ruinous for those that need very small or very large coalitions (it warns).

    Examples
    --------
    >>> from dvl_core import BanzhafSemivalue
    >>> UniformSampler().design(5, BanzhafSemivalue()).guarantee
    'unbiased'
    """

    def design(self, n_players: int, semivalue: Semivalue) -> Design:
        """Return the design of this sampler for a semivalue."""
        return _marginals("uniform", _FairCoins(antithetic=False), n_players, semivalue)


@dataclass(frozen=True)
class AntitheticSampler:
    """Marginals over a uniformly drawn subset of the others and over its complement.

    The mean of the two is one observation: what the first subset has too many of, the second has
    too few of.

    Examples
    --------
    >>> from dvl_core import BanzhafSemivalue
    >>> AntitheticSampler().design(5, BanzhafSemivalue()).guarantee
    'unbiased'
    """

    def design(self, n_players: int, semivalue: Semivalue) -> Design:
        """Return the design of this sampler for a semivalue."""
        return _marginals("antithetic", _FairCoins(antithetic=True), n_players, semivalue)


@dataclass(frozen=True)
class LOOSampler:
    """The n coalitions that lack one player, and the full one: n + 1 evaluations.

    Examples
    --------
    >>> from dvl_core import LOOSemivalue
    >>> LOOSampler().design(5, LOOSemivalue()).guarantee
    'exact'
    """

    def design(self, n_players: int, semivalue: Semivalue) -> Design:
        """Return the design of this sampler; only leave-one-out is covered."""
        return _marginals("loo", _AllOthers(), n_players, semivalue, once=True)


@dataclass(frozen=True)
class DeterministicUniformSampler:
    """All 2^n coalitions, each once: exact values for small games.

    Examples
    --------
    >>> from dvl_core import ShapleySemivalue
    >>> DeterministicUniformSampler().design(5, ShapleySemivalue()).guarantee
    'exact'
    """

    def design(self, n_players: int, semivalue: Semivalue) -> Design:
        """Return the design of this sampler; it covers every semivalue."""
        return AllSubsetsDesign(checked_size_law(semivalue, n_players), "all-subsets")


@dataclass(frozen=True)
class DeterministicPermutationSampler:
    """All n! permutations in lexicographic order: exact values for very small games.

    Examples
    --------
    >>> from dvl_core import ShapleySemivalue
    >>> DeterministicPermutationSampler().design(5, ShapleySemivalue()).guarantee
    'exact'
    """

    def design(self, n_players: int, semivalue: Semivalue) -> Design:
        """Return the design of this sampler; it covers every semivalue."""
        weights = n_players * checked_size_law(semivalue, n_players)
        return ChainDesign(weights, "all-permutations", enumerate_all=True)


def _marginals(
    sampler: str,
    draw: _FairCoins | _AllOthers,
    n_players: int,
    semivalue: Semivalue,
    once: bool = False,
) -> MarginalDesign:
    """Return the marginal design with the weights that the two laws ask for."""
    wanted = checked_size_law(semivalue, n_players)
    drawn = draw.size_law(n_players)
    weights = importance_weights(wanted, drawn, sampler, semivalue.name)
    return MarginalDesign(weights, draw, sampler, once=once)
