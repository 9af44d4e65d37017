"""The samplers of the core: subsets by size law, leave-one-out, and the two full enumerations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dvl_core.designs import AllSubsetsDesign, ChainDesign, MarginalDesign, marginal_design
from dvl_core.designs.draws import AllOthers, FairCoins, SizedSubsets
from dvl_core.errors import InvalidOptionError
from dvl_core.semivalues import checked_size_law

if TYPE_CHECKING:
    from dvl_core.protocols import Design, Semivalue

__all__ = [
    "AntitheticSampler",
    "DeterministicPermutationSampler",
    "DeterministicUniformSampler",
    "LOOSampler",
    "MatchedSampler",
    "UniformSampler",
]


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
        return marginal_design("uniform", FairCoins(antithetic=False), n_players, semivalue)


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
        return marginal_design("antithetic", FairCoins(antithetic=True), n_players, semivalue)


@dataclass(frozen=True)
class MatchedSampler:
    """Marginals over subsets whose sizes follow the law of the semivalue itself.

    No weights are needed, whatever the semivalue: the natural sampler of Beta Shapley, of
    delta-Shapley and of laws of your own.

    Parameters
    ----------
    n_sizes : int
        Coalitions drawn together for a player, their sizes spread evenly over the law; their mean
        is one observation.

    Examples
    --------
    >>> from dvl_core import BetaSemivalue
    >>> MatchedSampler().design(5, BetaSemivalue(16, 1)).weights
    array([1., 1., 1., 1., 1.])
    """

    n_sizes: int = 4

    def __post_init__(self) -> None:
        if self.n_sizes < 1:
            raise InvalidOptionError(f"n_sizes must be at least 1, got {self.n_sizes}")

    def design(self, n_players: int, semivalue: Semivalue) -> Design:
        """Return the design of this sampler; it covers every semivalue."""
        law = checked_size_law(semivalue, n_players)
        weights = np.ones(n_players)
        return MarginalDesign(weights, SizedSubsets(law, self.n_sizes), "matched")


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
        return marginal_design("loo", AllOthers(), n_players, semivalue, once=True)


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
