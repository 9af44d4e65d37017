"""Weighted least squares on coalitions, with standard errors that the residuals tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import cho_factor, cho_solve

if TYPE_CHECKING:
    from dvl_core.protocols import BoolArray, FloatArray

__all__ = ["least_squares", "repeats"]

RIDGE = 1e-11
"""Relative to the mean of the diagonal: against rounding only."""
LARGEST_LEVERAGE = 0.999


def least_squares(
    x: FloatArray,
    y: FloatArray,
    weights: FloatArray,
    readout: FloatArray,
    factors: FloatArray | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Return linear combinations of the coefficients, and their variances.

    Parameters
    ----------
    x : float array [u, f]
        Features of independent units; a direction that none of them has is left at zero.
    y : float array [u]
        What is explained.
    weights : float array [u]
        Weights of the squares.
    readout : float array [v, f]
        The combinations of coefficients that are wanted.
    factors : float array [u], optional
        What the squared residual of a unit counts for in the variances; None: 1.

    Returns
    -------
    values, variances : float array [v]
        Variances are heteroscedasticity-consistent, residuals corrected for leverage (HC3,
        MacKinnon & White 1985).

    Examples
    --------
    >>> x = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
    >>> values, variances = least_squares(x, x @ [2.0, 1.0], np.ones(4), np.eye(2))
    >>> values.round(6), bool((variances < 1e-12).all())
    (array([2., 1.]), True)
    """
    roots = np.sqrt(weights)
    scaled = x * roots[:, None]
    gram = scaled.T @ scaled
    gram[np.diag_indices_from(gram)] += RIDGE * np.trace(gram) / len(gram)
    solved = cho_solve(cho_factor(gram), scaled.T)
    coefficients = solved @ (roots * y)
    residuals = roots * y - scaled @ coefficients
    leverage = np.minimum(np.einsum("uf,fu->u", scaled, solved), LARGEST_LEVERAGE)
    spread = np.square(residuals / (1 - leverage))
    if factors is not None:
        spread = spread * factors
    return readout @ coefficients, np.square(readout @ solved) @ spread


def repeats(coalitions: BoolArray) -> tuple[FloatArray, int]:
    """Return how often each row [u] of `coalitions` [u, n] is there, and how many differ.

    Examples
    --------
    >>> repeats(np.array([[True, False], [True, True], [True, False]]))
    (array([2., 1., 2.]), 2)
    """
    packed = np.packbits(coalitions, axis=1)
    _, place, counts = np.unique(packed, axis=0, return_inverse=True, return_counts=True)
    return counts[place.ravel()].astype(float), len(counts)
