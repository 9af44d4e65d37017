"""Who is in the coalition: the only place where the semivalue enters the games of neighbours.

A semivalue draws the size of the coalition S of the other players, and S uniformly among those of
its size. A game asks how S looks from a test point: how many of the m nearest others are in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import bdtr, betaln, gammaln

from dvl_core.semivalues import (
    BanzhafSemivalue,
    BetaSemivalue,
    ShapleySemivalue,
    checked_size_law,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dvl_core.protocols import Semivalue

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

__all__ = ["CoalitionLaw", "log_choose"]


def log_choose(m: IntArray, k: int) -> FloatArray:
    """Return log C(m, k) [b]; minus infinity where k > m.

    Examples
    --------
    >>> np.exp(log_choose(np.array([1, 4]), 2)).round(6)
    array([0., 6.])
    """
    result = np.full(np.shape(m), -np.inf)
    possible = m >= k
    chosen = m[possible]
    result[possible] = gammaln(chosen + 1) - gammaln(k + 1) - gammaln(chosen - k + 1)
    return result


@dataclass(frozen=True, eq=False)
class CoalitionLaw:
    """The law of a coalition S of some other players.

    Parameters
    ----------
    semivalue : Semivalue
        For Shapley, Beta and Banzhaf every other is in with a probability t, and t is uniform,
        beta distributed or fixed, however many others there are: closed forms.
    sizes : float array [n_others + 1]
        Law of the size of S; other semivalues are worked out from it.
    """

    semivalue: Semivalue
    sizes: FloatArray

    @classmethod
    def for_player(cls, semivalue: Semivalue, n_players: int) -> CoalitionLaw:
        """Return the law of the coalition of the others that one player joins."""
        return cls(semivalue, checked_size_law(semivalue, n_players))

    @classmethod
    def for_pair(cls, semivalue: Semivalue, n_players: int) -> CoalitionLaw:
        """Return the law of the coalition of the others that either of two players joins.

        A coalition of k of the n - 2 others is met by one of the two players either as it is, or,
        seen from the other, with that player added: p(k) (n-1-k)/(n-1) + p(k+1) (k+1)/(n-1).

        Examples
        --------
        >>> CoalitionLaw.for_pair(ShapleySemivalue(), 4).sizes
        array([0.33333333, 0.33333333, 0.33333333])
        """
        law = checked_size_law(semivalue, n_players)
        k = np.arange(n_players - 1)
        pair = (law[:-1] * (n_players - 1 - k) + law[1:] * (k + 1)) / max(n_players - 1, 1)
        return cls(semivalue, pair)

    def pattern(self, m: IntArray, members: int) -> FloatArray:
        """Return the probability that of `m` [b] given others exactly given `members` are in S.

        Examples
        --------
        >>> CoalitionLaw.for_player(ShapleySemivalue(), 4).pattern(np.array([1, 2, 3]), 1)
        array([0.5       , 0.16666667, 0.08333333])
        """
        m = np.asarray(m)
        result = np.zeros(m.shape)
        possible = m >= members
        m = m[possible]
        match self.semivalue:
            case ShapleySemivalue():
                found = np.exp(betaln(members + 1, m - members + 1))
            case BanzhafSemivalue(p=p):
                found = np.exp(members * np.log(p) + (m - members) * np.log1p(-p))
            case BetaSemivalue(alpha=alpha, beta=beta):
                found = np.exp(betaln(beta + members, alpha + m - members) - betaln(beta, alpha))
            case _:
                found = self._pattern_by_size(m, members)
        result[possible] = found
        return result

    def _pattern_by_size(self, m: IntArray, members: int) -> FloatArray:
        """Sum over the sizes of S: C(others - m, size - members) / C(others, size) of them fit."""
        others = np.array([len(self.sizes) - 1])
        total = np.zeros(m.shape)
        for size in np.flatnonzero(self.sizes[members:]) + members:
            fitting = log_choose(others[0] - m, int(size) - members)
            total += self.sizes[size] * np.exp(fitting - log_choose(others, int(size))[0])
        return total

    def at_most(self, k: int, count: int) -> FloatArray:
        """Return P(at most `k` of the m others are in S) [count] for m = 0 .. count - 1.

        Notes
        -----
        How many are in is uniform on 0 .. m for Shapley, binomial for Banzhaf. For laws without a
        closed form the probability falls from one m to the next by that of exactly k members among
        m and the next one being in too.

        Examples
        --------
        >>> CoalitionLaw.for_pair(ShapleySemivalue(), 4).at_most(1, 3)
        array([1.        , 1.        , 0.66666667])
        """
        m = np.arange(count)
        if k < 0:
            return np.zeros(count)
        match self.semivalue:
            case ShapleySemivalue():
                return np.minimum(k + 1, m + 1) / (m + 1)
            case BanzhafSemivalue(p=p):
                return np.where(m <= k, 1.0, bdtr(k, m, p))
            case BetaSemivalue():
                total = np.zeros(count)
                for j in range(min(k + 1, count)):
                    total += _product(log_choose(m, j), self.pattern(m, j))
                return np.where(m <= k, 1.0, np.minimum(total, 1.0))
            case _:
                falls = _product(log_choose(m[:-1], k), self.pattern(m[:-1] + 1, k + 1))
                return np.clip(1.0 - np.concatenate([[0.0], np.cumsum(falls)])[:count], 0.0, 1.0)

    def member_with_at_most(self, k: int, count: int) -> FloatArray:
        """Return P(a given other is in S, and at most `k` of m more) [count], m = 0 .. count - 1.

        Examples
        --------
        >>> CoalitionLaw.for_pair(ShapleySemivalue(), 4).member_with_at_most(0, 2)
        array([0.5       , 0.16666667])
        """
        m = np.arange(count)
        total = np.zeros(count)
        for j in range(min(k + 1, count)):
            total += _product(log_choose(m, j), self.pattern(m + 1, j + 1))
        return total


def _product(log_count: FloatArray, probability: FloatArray) -> FloatArray:
    """Return exp(log_count) * probability; the count alone may be too large for a float."""
    with np.errstate(divide="ignore"):
        return np.exp(log_count + np.log(probability))
