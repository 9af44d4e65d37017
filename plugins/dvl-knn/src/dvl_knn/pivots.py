"""How often a neighbour is decisive: the only place where the semivalue enters.

Players i and i + 1, the i-th and the next nearest to a test point, differ in value only through the
coalitions S of the other n - 2 that have fewer than K of the i - 1 players nearer than both: then
whichever of the two joins S is among its K nearest. With P the law of S,

    phi_i - phi_{i+1} = (I_i - I_{i+1}) / K * P(fewer than K of the i - 1 nearest are in S).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import bdtr, betaln, gammaln

from dvl_core.semivalues import (
    BanzhafSemivalue,
    BetaSemivalue,
    ShapleySemivalue,
    checked_size_law,
    log_binomials,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dvl_core.protocols import Semivalue

    FloatArray = NDArray[np.float64]

__all__ = ["last_pivot", "pivots"]


def pair_law(law: FloatArray) -> FloatArray:
    """Return the law [n - 1] of the size of S for two players, given that [n] for one.

    A coalition of k of the n - 2 others is met by one of the two players either as it is, or, seen
    from the other, with that player added: p(k) (n-1-k)/(n-1) + p(k+1) (k+1)/(n-1).

    Examples
    --------
    >>> pair_law(np.full(4, 0.25))
    array([0.33333333, 0.33333333, 0.33333333])
    """
    n = len(law)
    k = np.arange(n - 1)
    return (law[:-1] * (n - 1 - k) + law[1:] * (k + 1)) / (n - 1)


def last_pivot(semivalue: Semivalue, n_players: int, k_neighbours: int) -> float:
    """Return the probability that the farthest player joins fewer than K others.

    Examples
    --------
    >>> last_pivot(ShapleySemivalue(), 4, 3)
    0.75
    """
    return float(checked_size_law(semivalue, n_players)[:k_neighbours].sum())


def pivots(semivalue: Semivalue, n_players: int, k_neighbours: int) -> FloatArray:
    """Return c [n - 1]: c[m] is the probability that fewer than K of the m nearest are in S.

    Parameters
    ----------
    semivalue : Semivalue
        Its size law decides how S is drawn.
    n_players : int
        Number of training points n.
    k_neighbours : int
        K.

    Notes
    -----
    How many of the m nearest are in S is uniform on 0 .. m for Shapley, hence
    c[m] = min(K, m + 1) / (m + 1) (Jia et al. 2019, theorem 1), binomial for Banzhaf, and
    beta-binomial for Beta Shapley. For other laws c falls from one m to the next by the probability
    that S has the new neighbour and exactly K - 1 of the m nearer ones: hypergeometric given the
    size of S, which costs O(n) for every size that the law gives weight to.

    Examples
    --------
    >>> pivots(ShapleySemivalue(), 4, 2)
    array([1.        , 1.        , 0.66666667])
    """
    m = np.arange(n_players - 1)
    match semivalue:
        case ShapleySemivalue():
            return np.minimum(k_neighbours, m + 1) / (m + 1)
        case BanzhafSemivalue(p=p):
            return np.where(m < k_neighbours, 1.0, bdtr(k_neighbours - 1, m, p))
        case BetaSemivalue(alpha=alpha, beta=beta):
            return _beta_binomial_pivots(m, k_neighbours, alpha, beta)
    law = pair_law(checked_size_law(semivalue, n_players)) if n_players > 1 else np.zeros(0)
    drops = np.zeros(n_players - 1)
    for size in np.flatnonzero(law):
        boundary = _boundary(n_players - 2, int(size), m[:-1], k_neighbours)
        drops[1:] += law[size] * boundary
    return np.clip(1.0 - np.cumsum(drops), 0.0, 1.0)


def _beta_binomial_pivots(
    m: NDArray[np.int64], k_neighbours: int, alpha: float, beta: float
) -> FloatArray:
    """Return the beta-binomial probability of fewer than K among m, as a sum of K terms."""
    total = np.zeros(len(m))
    for j in range(k_neighbours):
        possible = m[j:]
        log_term = -betaln(possible - j + 1, j + 1) - np.log1p(possible)
        log_term += betaln(j + beta, possible - j + alpha) - betaln(beta, alpha)
        total[j:] += np.exp(log_term)
    return np.where(m < k_neighbours, 1.0, np.minimum(total, 1.0))


def _boundary(others: int, size: int, nearer: NDArray[np.int64], k_neighbours: int) -> FloatArray:
    """Return P(K - 1 of the `nearer` [m] are in S and the next one too), |S| = `size`.

    S is uniform among the coalitions of `size` out of `others`, so this counts: K - 1 out of the
    nearer, the next, and the remaining size - K out of the others - nearer - 1 farther ones.
    """
    rest, farther = size - k_neighbours, others - nearer - 1
    probability = np.zeros(len(nearer))
    possible = (nearer >= k_neighbours - 1) & (rest >= 0) & (farther >= rest)
    a, b = nearer[possible], farther[possible]
    log_count = (
        gammaln(a + 1)
        - gammaln(k_neighbours)
        - gammaln(a - k_neighbours + 2)
        + gammaln(b + 1)
        - gammaln(rest + 1)
        - gammaln(b - rest + 1)
    )
    probability[possible] = np.exp(log_count - log_binomials(others)[size])
    return probability
