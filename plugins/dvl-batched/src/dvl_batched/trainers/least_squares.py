"""Ridge and linear regression: all normal equations from one matrix product."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from dvl_batched.linalg import WeightedGram, solve_positive
from dvl_batched.options import anything, check_options, one_of, positive
from dvl_batched.predictions import Output, Predictions
from dvl_batched.problem import NotReproducedError, Problem
from dvl_batched.trainers.linear_space import linear_space

if TYPE_CHECKING:
    from dvl_core.protocols import BoolArray, FloatArray

__all__ = ["LinearRegressionTrainer", "RidgeTrainer"]

MOST_FEATURES = 512
LEAST_CONDITION = 1e-9
"""Reciprocal condition number with which a solution is good to about 1e-7."""
LEAST_RANK_CONDITION = 1e-11
"""The same, squared as in the normal equations, of what `LinearRegression` takes for full rank."""


class RidgeTrainer:
    """Ridge regression.

    With counts N and sums s of features and targets over a coalition, the centred problem is
    ``(X'X - s s'/N + alpha I) w = X'y - s s_y/N``, and the intercept follows from the means.

    Parameters
    ----------
    model : Ridge
        With a direct solver.
    problem : Problem
        Training and test data.

    Raises
    ------
    NotReproducedError
        If an option is not reproduced, or there are too many features.
    """

    outputs = frozenset({"numbers"})
    classification: ClassVar[bool] = False
    least_classes: ClassVar[int] = 1
    least_rows = 1

    def __init__(self, model: Any, problem: Problem) -> None:
        self._prepare(self._alpha(model), bool(model.fit_intercept), problem)

    def _alpha(self, model: Any) -> float:
        """Return the strength of the penalty, once all options are known to be reproduced."""
        accepted = {
            "alpha": positive,
            "fit_intercept": one_of(True, False),
            "solver": one_of("auto", "cholesky", "svd"),
            **dict.fromkeys(("copy_X", "max_iter", "tol", "random_state"), anything),
        }
        check_options(model, accepted)
        return float(model.alpha)

    def _prepare(self, alpha: float, intercept: bool, problem: Problem) -> None:
        self.alpha, self.intercept = alpha, intercept
        self.space = linear_space(problem, intercept)
        z = self.space.z
        if z.shape[1] > MOST_FEATURES:
            raise NotReproducedError(f"more than {MOST_FEATURES} features")
        self.gram = WeightedGram(z)
        self.offset = float(problem.y.mean()) if intercept else 0.0
        y = problem.y - self.offset
        self.columns = np.column_stack([z * y[:, None], z, y])
        self.floats = 2 * self.gram.floats + self.columns.shape[1] + len(problem.y_test)

    def regular(self, members: FloatArray, output: Output) -> BoolArray:
        """Return which coalitions [b] have a row."""
        return members.any(axis=1)

    def fit_predict(self, members: FloatArray, output: Output) -> Predictions:
        """Return the predicted targets [b, t] for coalitions [b, m]."""
        p = self.space.z.shape[1]
        sums = members @ self.columns
        right, sum_z, sum_y = sums[:, :p], sums[:, p : 2 * p], sums[:, -1:]
        matrices = self.gram(members)
        counts = members.sum(axis=1)[:, None]
        if self.intercept:
            matrices -= sum_z[:, :, None] * (sum_z / counts)[:, None, :]
            right = right - sum_z * (sum_y / counts)
        penalties, sure = self.space.penalties(members)
        diagonal = np.arange(p)
        matrices[:, diagonal, diagonal] += self.alpha * penalties
        coefficients, good = self._solve(matrices, right, penalties)
        values = coefficients @ self.space.z_test.T
        if self.intercept:
            shift = (sum_z * coefficients).sum(axis=1, keepdims=True)
            values += (sum_y - shift) / counts + self.offset
        return Predictions(values, sure & good)

    def _solve(
        self, matrices: FloatArray, right: FloatArray, penalties: FloatArray
    ) -> tuple[FloatArray, BoolArray]:
        """Return coefficients [b, p], and which of them have enough digits."""
        # No eigenvalue is below the penalty or above the trace.
        traces = np.einsum("bii->b", matrices)
        safe = self.alpha * penalties.min(axis=1) > LEAST_CONDITION * traces
        solutions, quality = solve_positive(matrices, right, condition=not safe.all())
        return solutions, quality > LEAST_CONDITION


class LinearRegressionTrainer(RidgeTrainer):
    """Ordinary least squares, where a coalition determines all coefficients.

    Parameters
    ----------
    model : LinearRegression
        Without bounds on the coefficients.
    problem : Problem
        Training and test data, with fewer features than rows.
    """

    def _alpha(self, model: Any) -> float:
        ignored = dict.fromkeys(("copy_X", "n_jobs"), anything)
        check_options(model, {"fit_intercept": one_of(True, False), **ignored})
        return 0.0

    def _solve(
        self, matrices: FloatArray, right: FloatArray, penalties: FloatArray
    ) -> tuple[FloatArray, BoolArray]:
        # scikit-learn cuts singular values off by their ratio in the features that it sees.
        ratios = penalties.min(axis=1) / penalties.max(axis=1)
        solutions, quality = solve_positive(matrices, right, condition=True)
        return solutions, (quality > LEAST_CONDITION) & (quality * ratios > LEAST_RANK_CONDITION)
