"""The features of linear models, shifted, scaled or turned to where they are easy to handle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dvl_batched.problem import NotReproducedError, Problem
from dvl_batched.trainers.base import variances

if TYPE_CHECKING:
    from dvl_batched.members import Members
    from dvl_core.protocols import BoolArray, FloatArray

__all__ = ["LinearSpace", "linear_space"]

LEAST_SINGULAR_VALUE = 1e-12


@dataclass(frozen=True, eq=False)
class LinearSpace:
    """Features in which a penalised linear model has the same predictions.

    Parameters
    ----------
    z : float array [m, p]
        Of the training rows.
    z_test : float array [t, p]
        Of the test points.
    penalty : float array [p]
        Factor of the penalty on each squared coefficient.
    standardised : bool
        Whether the penalty is the variance on the coalition instead: that is what a
        `StandardScaler` before the model comes to, given an intercept.
    """

    z: FloatArray
    z_test: FloatArray
    penalty: FloatArray
    standardised: bool

    def penalties(self, members: Members) -> tuple[FloatArray, BoolArray]:
        """Return the factors [b, p] of coalitions, and which coalitions are safe."""
        if not self.standardised:
            b = len(members)
            return np.broadcast_to(self.penalty, (b, len(self.penalty))), np.ones(b, dtype=bool)
        counts = members.sizes[:, None]
        spread, sure = variances(members.sums(self.z) / counts, members.sums(self.z**2) / counts)
        # The scaler leaves constant features unscaled; their coefficients are zero all the same.
        spread[spread == 0] = 1.0
        return spread, sure


def linear_space(problem: Problem, intercept: bool) -> LinearSpace:
    """Return the features for a model with or without an intercept.

    Features that never vary are dropped, given an intercept; with more features than rows they are
    turned into the space of the rows, where all solutions lie.

    Raises
    ------
    NotReproducedError
        If the features are standardised and the model has no intercept to take up the shift.
    """
    if problem.standardised and not intercept:
        raise NotReproducedError("StandardScaler before a model without intercept")
    x, x_test = problem.x, problem.x_test
    if intercept:
        shift = x.mean(axis=0)
        kept = np.ptp(x, axis=0) > 0
        x, x_test = (x - shift)[:, kept], (x_test - shift)[:, kept]
        if not kept.any():
            raise NotReproducedError("no feature varies")
    m, d = x.shape
    if d > m and not problem.standardised:
        _, singular, right = np.linalg.svd(x, full_matrices=False)
        axes = right[singular > LEAST_SINGULAR_VALUE * singular[0]].T
        return LinearSpace(x @ axes, x_test @ axes, np.ones(axes.shape[1]), False)
    scale = np.sqrt((x**2).mean(axis=0))
    scale[scale == 0] = 1.0
    return LinearSpace(x / scale, x_test / scale, 1.0 / scale**2, problem.standardised)
