"""Stratified samplers: the size of the coalition by a law of choice, the rest by weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dvl_core.designs import marginal_design
from dvl_core.designs.draws import SizedSubsets
from dvl_core.designs.marginals import PlayerOrder, check_order
from dvl_core.errors import InvalidOptionError
from dvl_core.semivalues import checked_size_law
from dvl_shapley.neyman import NeymanDesign
from dvl_shapley.sizes import (
    SIZES,
    UNIT_CONSTANTS,
    SGDConstants,
    SizeLaw,
    size_frequencies,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dvl_core.protocols import Design, Semivalue

__all__ = ["StratifiedSampler", "VRDSSampler"]


@dataclass(frozen=True)
class StratifiedSampler:
    """Marginals over subsets whose size is drawn by a law of choice; weights keep them unbiased.

    More samples where marginals vary more: for most models these are the small coalitions.

    Parameters
    ----------
    sizes : str
        Law of the size k = 0 .. n-1, up to a factor: "constant": 1. "linear": n - k. "harmonic":
        1 / (k + 1). "power-law": (k + 1) ** `exponent`. "group-testing": 1 / (k + 1) + 1 / (n - k).
        "delta-shapley": the bound of Watson et al. (2023) for stochastic gradient descent, see
        `SGDConstants`. "neyman": the semivalue's own law times the spread of the marginals, which
        a pilot of up to 10 sizes measures first.
    exponent : float
        For "power-law".
    sgd : SGDConstants
        For "delta-shapley".
    n_pilot : int
        For "neyman": marginals of the pilot at each of its sizes.
    lower : int
        Smallest size that is drawn.
    upper : int, optional
        Largest size that is drawn; None: n - 1. A semivalue that gives weight to sizes outside is
        refused. "neyman" draws what the semivalue gives weight to.
    n_sizes : int
        Coalitions drawn together for a player, their sizes spread evenly over the law; their mean
        is one observation.
    order : str
        "in-turn": every player has its turn before any has another. "random": players are drawn.

    References
    ----------
    Maleki, S. et al. (2013). Bounding the Estimation Error of Sampling-based Shapley Value
    Approximation. arXiv:1306.4265, section 4. Castro, J. et al. (2017). Improving polynomial
    estimation of the Shapley value by stratified random sampling with optimum allocation.
    Computers & Operations Research 82, section 3.

    Examples
    --------
    >>> from dvl_core import ShapleySemivalue
    >>> StratifiedSampler().design(3, ShapleySemivalue()).size_law.round(4)
    array([0.5455, 0.2727, 0.1818])
    """

    sizes: SizeLaw = "harmonic"
    exponent: float = -0.5
    sgd: SGDConstants = UNIT_CONSTANTS
    n_pilot: int = 8
    lower: int = 0
    upper: int | None = None
    n_sizes: int = 4
    order: PlayerOrder = "in-turn"

    def __post_init__(self) -> None:
        check_order(self.order)
        if self.sizes not in SIZES:
            known = ", ".join(map(repr, SIZES))
            raise InvalidOptionError(f"sizes must be one of {known}, got {self.sizes!r}")
        if self.lower < 0 or (self.upper is not None and self.upper < self.lower):
            raise InvalidOptionError(
                f"lower and upper must satisfy 0 <= lower <= upper, got {self.lower} and "
                f"{self.upper}"
            )
        if self.sizes == "neyman" and (self.lower, self.upper) != (0, None):
            raise InvalidOptionError(
                "lower and upper are not for sizes='neyman', which draws the sizes to which the "
                "semivalue gives weight"
            )
        for name, least in (("n_sizes", 1), ("n_pilot", 2)):
            if getattr(self, name) < least:
                raise InvalidOptionError(
                    f"{name} must be at least {least}, got {getattr(self, name)}"
                )
        if not np.isfinite(self.exponent):
            raise InvalidOptionError(f"exponent must be finite, got {self.exponent}")

    def size_law(self, n_players: int) -> NDArray[np.float64]:
        """Return the law [n] of the sizes.

        Raises
        ------
        InvalidOptionError
            If `lower` leaves no size.
        """
        law = size_frequencies(self.sizes, n_players, self.exponent, self.sgd)
        if self.lower >= n_players:
            raise InvalidOptionError(
                f"lower is {self.lower}, but with {n_players} players a coalition that one of "
                f"them joins has at most {n_players - 1} members"
            )
        law[: self.lower] = 0.0
        if self.upper is not None:
            law[self.upper + 1 :] = 0.0
        return np.asarray(law / law.sum())

    def design(self, n_players: int, semivalue: Semivalue) -> Design:
        """Return the design of this sampler for a semivalue."""
        if self.sizes == "neyman" and n_players > 1:
            law = checked_size_law(semivalue, n_players)
            return NeymanDesign(law, self.n_sizes, self.n_pilot, self.order)
        draw = SizedSubsets(self.size_law(n_players), self.n_sizes)
        return marginal_design("stratified", draw, n_players, semivalue, order=self.order)


@dataclass(frozen=True)
class VRDSSampler:
    """Variance-reduced stratified sampling: sizes k with probability proportional to 1 / (k + 1).

    The allocation that is best if the spread of the marginals falls with the size k like
    1 / (k + 1), as it does for models that generalise.

    Parameters
    ----------
    n_sizes : int
        Coalitions drawn together for a player, their sizes spread evenly over the law.
    order : str
        "in-turn": every player has its turn before any has another. "random": players are drawn.

    References
    ----------
    Wu, M. et al. (2023). Variance Reduced Shapley Value Estimation for Trustworthy Data Valuation.
    Computers & Operations Research 159, section 4.

    Examples
    --------
    >>> from dvl_core import ShapleySemivalue
    >>> VRDSSampler().design(3, ShapleySemivalue()).guarantee
    'unbiased'
    """

    n_sizes: int = 8
    order: PlayerOrder = "in-turn"

    def __post_init__(self) -> None:
        check_order(self.order)
        if self.n_sizes < 1:
            raise InvalidOptionError(f"n_sizes must be at least 1, got {self.n_sizes}")

    def design(self, n_players: int, semivalue: Semivalue) -> Design:
        """Return the design of this sampler for a semivalue."""
        law = StratifiedSampler("harmonic").size_law(n_players)
        draw = SizedSubsets(law, self.n_sizes)
        return marginal_design("vrds", draw, n_players, semivalue, order=self.order)
