"""Samplers that follow permutations of the players."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dvl_core.designs import ChainDesign, importance_weights
from dvl_core.designs.orders import OrdersWithReverse
from dvl_core.errors import InvalidOptionError
from dvl_core.semivalues import ShapleySemivalue, checked_size_law
from dvl_shapley.truncation import DeviationTruncation, FixedTruncation, RelativeTruncation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dvl_core.designs import Truncation
    from dvl_core.protocols import Design, Semivalue

__all__ = [
    "AntitheticPermutationSampler",
    "PermutationSampler",
    "TruncatedPermutationSampler",
    "permutation_weights",
]


def permutation_weights(sampler: str, n_players: int, semivalue: Semivalue) -> NDArray[np.float64]:
    """Return n p(k) [n]: along a permutation every prefix size is equally likely.

    Raises
    ------
    InvalidOptionError
        If the semivalue has no law for that many players.
    """
    drawn = ShapleySemivalue().size_law(n_players)
    wanted = checked_size_law(semivalue, n_players)
    return importance_weights(wanted, drawn, sampler, semivalue.name)


@dataclass(frozen=True)
class PermutationSampler:
    """Independent uniform permutations; n - 1 evaluations give every player one marginal.

    Natural for Shapley, where all marginals have weight 1; unbiased for every semivalue.

    References
    ----------
    Castro, J., Gomez, D. and Tejada, J. (2009). Polynomial calculation of the Shapley value based
    on sampling. Computers & Operations Research 36, algorithm ApproShapley.

    Examples
    --------
    >>> PermutationSampler().design(4, ShapleySemivalue()).guarantee
    'unbiased'
    """

    def design(self, n_players: int, semivalue: Semivalue) -> Design:
        """Return the design of this sampler for a semivalue."""
        return ChainDesign(permutation_weights("permutation", n_players, semivalue), "permutation")


@dataclass(frozen=True)
class AntitheticPermutationSampler:
    """Uniform permutations, each followed by its reverse; the pair is one observation.

    A player that joins early in one joins late in the other, so the errors of the two cancel as
    far as marginals change monotonically with the size of the coalition.

    References
    ----------
    Mitchell, R. et al. (2022). Sampling Permutations for Shapley Value Estimation. JMLR 23,
    section 2.2.

    Examples
    --------
    >>> AntitheticPermutationSampler().design(4, ShapleySemivalue()).guarantee
    'unbiased'
    """

    def design(self, n_players: int, semivalue: Semivalue) -> Design:
        """Return the design of this sampler for a semivalue."""
        weights = permutation_weights("antithetic-permutation", n_players, semivalue)
        return ChainDesign(weights, "antithetic-permutation", draw=OrdersWithReverse())


@dataclass(frozen=True)
class TruncatedPermutationSampler:
    """Permutations that are cut short once more players would hardly change the utility.

    The players after the cut get a marginal of zero, which saves the most expensive fits and
    biases the values, for the relative rule by at most the tolerance in total.

    Parameters
    ----------
    rule : str
        "relative": cut when the utility is within `tolerance` of that of all players, relative to
        the distance between the empty and the full coalition. "deviation": cut when it is within
        `deviations` standard deviations of the utilities along the chain so far. "fixed": cut after
        `fraction` of the players.
    tolerance : float
        For "relative".
    deviations : float
        For "deviation".
    fraction : float
        For "fixed".
    burn_in : float
        For "relative" and "deviation": fraction of the players that always join, so that a lucky
        small coalition does not end the chain.

    References
    ----------
    Ghorbani, A. and Zou, J. (2019). Data Shapley: Equitable Valuation of Data for Machine
    Learning. ICML, algorithm 1.

    Examples
    --------
    >>> TruncatedPermutationSampler(tolerance=0.05).design(4, ShapleySemivalue()).guarantee
    'biased-by-option'
    """

    rule: Literal["relative", "deviation", "fixed"] = "relative"
    tolerance: float = 0.01
    deviations: float = 0.1
    fraction: float = 0.5
    burn_in: float = 0.4

    def __post_init__(self) -> None:
        if self.rule not in ("relative", "deviation", "fixed"):
            raise InvalidOptionError(
                f"rule must be 'relative', 'deviation' or 'fixed', got {self.rule!r}"
            )
        for name in ("tolerance", "deviations"):
            if not getattr(self, name) >= 0:
                raise InvalidOptionError(f"{name} must not be negative, got {getattr(self, name)}")
        for name in ("fraction", "burn_in"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidOptionError(
                    f"{name} must lie between 0 and 1, got {getattr(self, name)}"
                )

    def design(self, n_players: int, semivalue: Semivalue) -> Design:
        """Return the design of this sampler for a semivalue."""
        weights = permutation_weights("truncated-permutation", n_players, semivalue)
        rules: dict[str, Truncation] = {
            "relative": RelativeTruncation(self.tolerance, self.burn_in),
            "deviation": DeviationTruncation(self.deviations, self.burn_in),
            "fixed": FixedTruncation(self.fraction),
        }
        return ChainDesign(weights, "truncated-permutation", truncation=rules[self.rule])
