"""Semivalues as size laws.

A semivalue gives player i the value

    sum_k p(k) * mean over |S| = k, i not in S, of u(S + i) - u(S),

so it is a probability law p on the size k = 0 .. n-1 of the coalition that the player joins
(Dubey, Neyman & Weber, 1981). A new semivalue is one function, `size_law`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import betaln, gammaln

from dvl_core.errors import InvalidOptionError

if TYPE_CHECKING:
    from dvl_core.protocols import FloatArray, Semivalue

__all__ = [
    "BanzhafSemivalue",
    "BetaSemivalue",
    "LOOSemivalue",
    "ShapleySemivalue",
    "SizeLawSemivalue",
    "checked_size_law",
    "log_binomials",
]


def log_binomials(n: int) -> FloatArray:
    """Return log C(n, k) [n + 1] for k = 0 .. n.

    Examples
    --------
    >>> np.round(np.exp(log_binomials(3)), 6)
    array([1., 3., 3., 1.])
    """
    k = np.arange(n + 1)
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1), dtype=float)


def _normalised(log_law: FloatArray) -> FloatArray:
    """Return the law [n]; the division removes the rounding of the log-gamma functions."""
    law = np.exp(log_law - log_law.max())
    return np.asarray(law / law.sum(), dtype=float)


@dataclass(frozen=True)
class ShapleySemivalue:
    """Shapley: every size is equally likely (Shapley, 1953).

    Examples
    --------
    >>> ShapleySemivalue().size_law(4)
    array([0.25, 0.25, 0.25, 0.25])
    """

    @property
    def name(self) -> str:
        """How results name it."""
        return "shapley"

    def size_law(self, n_players: int) -> FloatArray:
        """Return p [n]."""
        return np.full(n_players, 1.0 / n_players)


@dataclass(frozen=True)
class BanzhafSemivalue:
    """(Weighted) Banzhaf: every other player is in with probability `p`, independently.

    Parameters
    ----------
    p : float
        Probability in (0, 1); 1/2 is the Banzhaf value (Wang & Jia 2023), others are the weighted
        Banzhaf values of Li & Yu (2023).

    Examples
    --------
    >>> BanzhafSemivalue().size_law(3)
    array([0.25, 0.5 , 0.25])
    """

    p: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.p < 1:
            raise InvalidOptionError(f"p must lie strictly between 0 and 1, got {self.p}")

    @property
    def name(self) -> str:
        """How results name it."""
        return "banzhaf" if self.p == 0.5 else f"banzhaf(p={self.p:g})"

    def size_law(self, n_players: int) -> FloatArray:
        """Return p [n], binomial with n - 1 trials."""
        size = np.arange(n_players)
        others = n_players - 1
        log_odds = size * np.log(self.p) + (others - size) * np.log1p(-self.p)
        log_law = log_binomials(others) + log_odds
        return _normalised(log_law)


@dataclass(frozen=True)
class BetaSemivalue:
    """Beta Shapley (Kwon & Zou 2022, eq. 5); Beta(1, 1) is Shapley.

    The size is beta-binomial: t ~ Beta(`beta`, `alpha`), and every other player is in with
    probability t. A larger `alpha` therefore weighs small coalitions more.

    Parameters
    ----------
    alpha, beta : float
        Positive shape parameters.

    Examples
    --------
    >>> BetaSemivalue(1, 1).size_law(2)
    array([0.5, 0.5])
    """

    alpha: float = 4.0
    beta: float = 1.0

    def __post_init__(self) -> None:
        if not (self.alpha > 0 and self.beta > 0):
            raise InvalidOptionError(
                f"alpha and beta must be positive, got alpha={self.alpha}, beta={self.beta}"
            )

    @property
    def name(self) -> str:
        """How results name it."""
        return f"beta({self.alpha:g},{self.beta:g})"

    def size_law(self, n_players: int) -> FloatArray:
        """Return p [n], beta-binomial with n - 1 trials."""
        size = np.arange(n_players)
        others = n_players - 1
        log_law = log_binomials(others) + betaln(size + self.beta, others - size + self.alpha)
        return _normalised(log_law)


@dataclass(frozen=True)
class LOOSemivalue:
    """Leave-one-out: the player joins all the others.

    Examples
    --------
    >>> LOOSemivalue().size_law(3)
    array([0., 0., 1.])
    """

    @property
    def name(self) -> str:
        """How results name it."""
        return "loo"

    def size_law(self, n_players: int) -> FloatArray:
        """Return p [n]."""
        law = np.zeros(n_players)
        law[-1] = 1.0
        return law


@dataclass(frozen=True)
class SizeLawSemivalue:
    """A semivalue given by its probabilities, for a fixed number of players.

    Parameters
    ----------
    law : tuple of float
        p(0), ..., p(n-1): not negative, sum 1.
    label : str
        How results name it.

    Examples
    --------
    >>> SizeLawSemivalue((1.0, 0.0, 0.0), "alone").size_law(3)
    array([1., 0., 0.])
    """

    law: tuple[float, ...]
    label: str = "size-law"

    @property
    def name(self) -> str:
        """How results name it."""
        return self.label

    def size_law(self, n_players: int) -> FloatArray:
        """Return p [n]; refuses another number of players than it was made for."""
        if n_players != len(self.law):
            raise InvalidOptionError(
                f"{self.label} is given for {len(self.law)} players, the game has {n_players}"
            )
        return np.array(self.law, dtype=float)


def checked_size_law(semivalue: Semivalue, n_players: int) -> FloatArray:
    """Return ``semivalue.size_law(n_players)`` after making sure that it is a law.

    Raises
    ------
    InvalidOptionError
        If it has another length than `n_players`, a negative or non-finite entry, or a sum that
        is not 1.
    """
    law = np.asarray(semivalue.size_law(n_players), dtype=float)
    name = semivalue.name
    if law.shape != (n_players,):
        raise InvalidOptionError(
            f"semivalue {name} has a size law of shape {law.shape}, expected ({n_players},)"
        )
    if not np.all(np.isfinite(law)) or law.min() < 0 or abs(law.sum() - 1) > 1e-8:
        raise InvalidOptionError(
            f"semivalue {name} has a size law that is no probability distribution "
            f"(smallest {law.min():g}, sum {law.sum():g})"
        )
    return law
