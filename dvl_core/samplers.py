"""The samplers of the core: subsets by size law, leave-one-out, and the two full enumerations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from dvl_core.designs import AllSubsetsDesign, ChainDesign, MarginalDesign, marginal_design
from dvl_core.designs.adjusted import AdjustedMeans, balanced_sizes
from dvl_core.designs.draws import AllOthers, FairCoins, SizedSubsets
from dvl_core.designs.kept import KeptCoalitionsDesign
from dvl_core.designs.marginals import PlayerOrder, check_order
from dvl_core.designs.recorded import RecordedDesign
from dvl_core.designs.strata import StrataDesign
from dvl_core.designs.streaming import StreamingAdjustedDesign
from dvl_core.errors import InvalidOptionError
from dvl_core.semivalues import checked_size_law

if TYPE_CHECKING:
    from dvl_core.protocols import Design, Sampler, Semivalue

__all__ = [
    "AdjustedSampler",
    "AntitheticSampler",
    "DeterministicPermutationSampler",
    "DeterministicUniformSampler",
    "LOOSampler",
    "MatchedSampler",
    "OneSampleFitsAllSampler",
    "RecordingSampler",
    "UniformSampler",
]

MOST_LINEAR = 2000
"""Players up to which an additive game is fitted."""


@dataclass(frozen=True)
class UniformSampler:
    """Marginals over uniformly drawn subsets of the other players.

    The natural sampler of the Banzhaf value. Weights make it unbiased for every semivalue, but
    they are ruinous for those that need very small or very large coalitions (it warns).

    Parameters
    ----------
    order : str
        "in-turn": every player has its turn before any has another. "random": players are drawn.

    Examples
    --------
    >>> from dvl_core import BanzhafSemivalue
    >>> UniformSampler().design(5, BanzhafSemivalue()).guarantee
    'unbiased'
    """

    order: PlayerOrder = "in-turn"

    def __post_init__(self) -> None:
        check_order(self.order)

    def design(self, n_players: int, semivalue: Semivalue) -> Design:
        """Return the design of this sampler for a semivalue."""
        draw = FairCoins(antithetic=False)
        return marginal_design("uniform", draw, n_players, semivalue, order=self.order)


@dataclass(frozen=True)
class AntitheticSampler:
    """Marginals over a uniformly drawn subset of the others and over its complement.

    The mean of the two is one observation: what the first subset has too many of, the second has
    too few of.

    Parameters
    ----------
    order : str
        "in-turn": every player has its turn before any has another. "random": players are drawn.

    Examples
    --------
    >>> from dvl_core import BanzhafSemivalue
    >>> AntitheticSampler().design(5, BanzhafSemivalue()).guarantee
    'unbiased'
    """

    order: PlayerOrder = "in-turn"

    def __post_init__(self) -> None:
        check_order(self.order)

    def design(self, n_players: int, semivalue: Semivalue) -> Design:
        """Return the design of this sampler for a semivalue."""
        draw = FairCoins(antithetic=True)
        return marginal_design("antithetic", draw, n_players, semivalue, order=self.order)


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
    order : str
        "in-turn": every player has its turn before any has another. "random": players are drawn.

    Examples
    --------
    >>> from dvl_core import BetaSemivalue
    >>> MatchedSampler().design(5, BetaSemivalue(16, 1)).weights
    array([1., 1., 1., 1., 1.])
    """

    n_sizes: int = 4
    order: PlayerOrder = "in-turn"

    def __post_init__(self) -> None:
        check_order(self.order)
        if self.n_sizes < 1:
            raise InvalidOptionError(f"n_sizes must be at least 1, got {self.n_sizes}")

    def design(self, n_players: int, semivalue: Semivalue) -> Design:
        """Return the design of this sampler; it covers every semivalue."""
        law = checked_size_law(semivalue, n_players)
        weights = np.ones(n_players)
        draw = SizedSubsets(law, self.n_sizes)
        return MarginalDesign(weights, draw, "matched", order=self.order)


@dataclass(frozen=True)
class AdjustedSampler:
    """Coalitions by size; a fitted game is subtracted, its values are known and added back.

    Every coalition informs every player, for every semivalue. What utilities vary by is mostly
    explained by the size of the coalition and by who is in it: a game made of these is fitted, and
    only what it leaves is averaged. Where an additive game is part of it and the law of the
    semivalue is symmetric, coalitions come in pairs of complements. Sizes of which there are few
    coalitions are enumerated on the way; small games come to an end, with exact values.

    Parameters
    ----------
    proxy : str
        What is fitted: "size": a smooth function of the size, in memory O(n). "linear": and an
        additive game, at the cost of O(n^2) a coalition. "trees": and boosted trees, which find
        interactions. "auto": "linear" for up to 2,000 players, else "size".

    References
    ----------
    Li, W. and Yu, Y. (2024). One Sample Fits All: Approximating All Probabilistic Values
    Simultaneously and Efficiently. NeurIPS, eq. 5. Witter, R. T., Liu, Y. and Musco, C. (2025).
    Regression-adjusted Monte Carlo Estimators for Shapley Values and Probabilistic Values.
    arXiv:2506.11849, eq. 3.

    Examples
    --------
    >>> from dvl_core import BetaSemivalue
    >>> AdjustedSampler().design(6, BetaSemivalue(4, 1)).guarantee
    'consistent'
    """

    proxy: Literal["auto", "size", "linear", "trees"] = "auto"

    def __post_init__(self) -> None:
        if self.proxy not in ("auto", "size", "linear", "trees"):
            raise InvalidOptionError(
                f"proxy must be 'auto', 'size', 'linear' or 'trees', got {self.proxy!r}"
            )

    def design(self, n_players: int, semivalue: Semivalue) -> Design:
        """Return the design of this sampler; it covers every semivalue."""
        if n_players < 3:
            return DeterministicUniformSampler().design(n_players, semivalue)
        law = checked_size_law(semivalue, n_players)
        drawn = balanced_sizes(law)
        automatic: Literal["linear", "size"] = "linear" if n_players <= MOST_LINEAR else "size"
        proxy = automatic if self.proxy == "auto" else self.proxy
        if proxy == "size":
            return StreamingAdjustedDesign(law, drawn, "adjusted")
        # What is left of an additive game comes in pairs of opposite errors; not so of sizes.
        paired = bool(np.allclose(drawn, drawn[::-1], rtol=1e-9, atol=0.0))
        means = AdjustedMeans(law, drawn, proxy, paired)
        return KeptCoalitionsDesign(means, "adjusted")


@dataclass(frozen=True)
class OneSampleFitsAllSampler:
    """Coalitions by size; a mean for every player and size, of those with and those without it.

    For when evaluations are many: what players differ by at a size adds nothing to the error once
    every stratum has been met a few times. Empty strata take a smooth function of the size. An
    additive game that is subtracted, as by `AdjustedSampler`, is worth more on the data games that
    were tried. Memory is O(n^2), for up to 6,000 players.

    Parameters
    ----------
    sizes : str
        "semivalue": sizes are drawn as the semivalue needs them. "all": as is best for making
        every semivalue of the same coalitions, see `RecordingSampler`.
    paired : bool
        Follow every coalition by its complement.

    References
    ----------
    Li, W. and Yu, Y. (2024). One Sample Fits All: Approximating All Probabilistic Values
    Simultaneously and Efficiently. NeurIPS, section 4. Kolpaczki, P., Bengs, V., Muschalik, M. and
    Huellermeier, E. (2024). Approximating the Shapley Value without Marginal Contributions. AAAI,
    section 5.

    Examples
    --------
    >>> from dvl_core import BetaSemivalue
    >>> OneSampleFitsAllSampler().design(6, BetaSemivalue(4, 1)).guarantee
    'consistent'
    """

    sizes: Literal["semivalue", "all"] = "semivalue"
    paired: bool = False

    def __post_init__(self) -> None:
        if self.sizes not in ("semivalue", "all"):
            raise InvalidOptionError(f"sizes must be 'semivalue' or 'all', got {self.sizes!r}")

    def design(self, n_players: int, semivalue: Semivalue) -> Design:
        """Return the design of this sampler; it covers every semivalue."""
        if n_players < 3:
            return DeterministicUniformSampler().design(n_players, semivalue)
        law = checked_size_law(semivalue, n_players)
        # The sizes that suit all semivalues are those that suit Shapley (Li & Yu 2024, section 4).
        balanced_for = law if self.sizes == "semivalue" else np.full(n_players, 1 / n_players)
        drawn = balanced_sizes(balanced_for)
        if self.paired:
            drawn = (drawn + drawn[::-1]) / 2
        return StrataDesign(law, drawn, "one-sample-fits-all", self.paired)


@dataclass(frozen=True)
class RecordingSampler:
    """Any sampler; the coalitions that it draws are kept with what they are worth.

    ``result.revalue(semivalue)`` makes other values of them, without training anything. A
    coalition takes n / 8 bytes.

    Parameters
    ----------
    sampler : Sampler, optional
        Draws the coalitions; None: `AdjustedSampler`.

    Examples
    --------
    >>> from dvl_core import ShapleySemivalue
    >>> RecordingSampler(UniformSampler()).design(5, ShapleySemivalue()).guarantee
    'unbiased'
    """

    sampler: Sampler | None = None

    def design(self, n_players: int, semivalue: Semivalue) -> Design:
        """Return the design of the sampler, recorded; it covers what that covers."""
        return RecordedDesign((self.sampler or AdjustedSampler()).design(n_players, semivalue))


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
