"""Smooth functions of the size of a coalition, as features for regression.

On data games most of what a utility varies by is explained by how many players there are: a model
with more data is better. What a smooth function of the size explains need not be averaged away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from dvl_core.protocols import FloatArray

__all__ = ["odd_size_features", "size_features", "size_marginals"]

MOST_FEATURES = 12


def size_features(n_players: int) -> FloatArray:
    """Return hat functions [n + 1, h] of log(1 + size) with even knots; each row sums to 1.

    Parameters
    ----------
    n_players : int
        n; sizes run from 0 to n.

    Examples
    --------
    >>> size_features(2)
    array([[1., 0., 0.],
           [0., 1., 0.],
           [0., 0., 1.]])
    >>> size_features(1000).shape
    (1001, 12)
    """
    places = np.log1p(np.arange(n_players + 1))
    knots = np.linspace(0.0, places[-1], MOST_FEATURES)
    # Few sizes lie between the first knots: only those knots that some size is nearest to.
    nearest = np.unique(np.abs(places[:, None] - knots).argmin(axis=1))
    knots = places if n_players < MOST_FEATURES else knots[nearest]
    return np.stack([np.interp(places, knots, row) for row in np.eye(len(knots))], axis=1)


def odd_size_features(n_players: int) -> FloatArray:
    """Return an orthonormal basis [n + 1, h] of the hats' parts that change sign with complements.

    What pairs of complements differ by, as far as it depends on the size; zero at both ends.

    Examples
    --------
    >>> abs(odd_size_features(3).round(4))
    array([[0.    ],
           [0.7071],
           [0.7071],
           [0.    ]])
    """
    features = size_features(n_players)
    odd = (features - features[::-1])[1:-1]
    # Every hat comes with its mirror image, so that half of them repeat the others.
    left, scale, _ = np.linalg.svd(odd, full_matrices=False)
    return np.pad(left[:, scale > 1e-9 * scale.max(initial=0.0)], ((1, 1), (0, 0)))


def size_marginals(features: FloatArray, law: FloatArray) -> FloatArray:
    """Return the semivalue [h] that every player has in each feature, taken as a game.

    Parameters
    ----------
    features : float array [n + 1, h]
        Functions of the size.
    law : float array [n]
        Size law of the semivalue.

    Examples
    --------
    >>> size_marginals(np.arange(4.0)[:, None] ** 2, np.full(3, 1 / 3))
    array([3.])
    """
    return np.asarray(law @ np.diff(features, axis=0))
