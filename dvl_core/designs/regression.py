"""Weighted least squares on coalitions, with standard errors that the residuals tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import cho_factor, cho_solve

if TYPE_CHECKING:
    from collections.abc import Callable

    from dvl_core.protocols import FloatArray

__all__ = ["least_squares"]

RIDGE = 1e-11
"""Relative to the mean of the diagonal: against rounding only."""
LARGEST_LEVERAGE = 0.999
ENTRIES_A_CHUNK = 1 << 22
"""Features of at most so many entries are made at a time."""


def least_squares(
    features: Callable[[slice], FloatArray],
    y: FloatArray,
    weights: FloatArray,
    shared: FloatArray,
    factors: FloatArray | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Return the value of every player from the coefficients of a regression, and its variance.

    The features are one of each player, then some that all share. The value of a player is its
    coefficient, and `shared` times those of the shared features.

    Parameters
    ----------
    features : callable
        Returns the features [m, n + h] of a slice of the independent units; a direction that none
        of them has is left at zero.
    y : float array [u]
        What is explained.
    weights : float array [u]
        Weights of the squares.
    shared : float array [h]
        What a coefficient of the shared features counts for in every value.
    factors : float array [u], optional
        What the squared residual of a unit counts for in the variances; None: 1.

    Returns
    -------
    values, variances : float array [n]
        Variances are heteroscedasticity-consistent, residuals corrected for leverage (HC3,
        MacKinnon & White 1985).

    Examples
    --------
    >>> x = np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0], [3.0, 1.0]])
    >>> y = x @ [1.0, 2.0]
    >>> values, variances = least_squares(lambda rows: x[rows], y, np.ones(4), np.array([0.5]))
    >>> values.round(6), bool((variances < 1e-12).all())
    (array([2.]), True)
    """
    roots = np.sqrt(weights)
    n_features = features(slice(0, 1)).shape[1]
    n = n_features - len(shared)
    step = max(1, ENTRIES_A_CHUNK // n_features)
    chunks = [slice(start, start + step) for start in range(0, len(y), step)]
    gram, moments = np.zeros((n_features, n_features)), np.zeros(n_features)
    for rows in chunks:
        scaled = features(rows) * roots[rows, None]
        gram += scaled.T @ scaled
        moments += scaled.T @ (roots[rows] * y[rows])
    gram[np.diag_indices_from(gram)] += RIDGE * np.trace(gram) / n_features
    factor = cho_factor(gram)
    coefficients = cho_solve(factor, moments)
    variances = np.zeros(n)
    for rows in chunks:
        scaled = features(rows) * roots[rows, None]
        solved = cho_solve(factor, scaled.T)
        residuals = roots[rows] * y[rows] - scaled @ coefficients
        leverage = np.minimum(np.einsum("uf,fu->u", scaled, solved), LARGEST_LEVERAGE)
        spread = np.square(residuals / (1 - leverage))
        if factors is not None:
            spread = spread * factors[rows]
        variances += np.square(solved[:n] + shared @ solved[n:]) @ spread
    return coefficients[:n] + shared @ coefficients[n:], variances
