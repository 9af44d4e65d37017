"""Ridge and linear regression: all normal equations from one matrix product."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from dvl_batched.linalg import Gram, solve_positive
from dvl_batched.members import ChainedMembers, Members
from dvl_batched.options import anything, check_options, one_of, positive
from dvl_batched.predictions import Output, Predictions
from dvl_batched.problem import NotReproducedError, Problem
from dvl_batched.trainers.base import RUN_FOR_SUMS
from dvl_batched.trainers.innovations import Innovations
from dvl_batched.trainers.linear_space import linear_space

if TYPE_CHECKING:
    from dvl_core.protocols import BoolArray, FloatArray

__all__ = ["LinearRegressionTrainer", "RidgeTrainer"]

MOST_FEATURES = 512
RUN_FOR_INNOVATIONS, RUN_IF_FEW, MANY_FEATURES = 64, 500, 16
"""Nested coalitions from which on increments are faster than solves: by the number of features."""
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
        self.gram = Gram(z)
        self.offset = float(problem.y.mean()) if intercept else 0.0
        y = problem.y - self.offset
        self.columns = np.column_stack([z * y[:, None], z, y])
        self.innovations = None if problem.standardised else self._innovations(y)
        self.least_run = RUN_FOR_INNOVATIONS if z.shape[1] >= MANY_FEATURES else RUN_IF_FEW
        if problem.standardised:
            self.least_run = RUN_FOR_SUMS
        self.floats = 2 * self.gram.floats + self.columns.shape[1] + len(problem.y_test)

    def regular(self, members: Members, output: Output) -> BoolArray:
        """Return which coalitions [b] have a row."""
        return np.asarray(members.sizes > 0)

    def fit_predict(self, members: Members, output: Output) -> Predictions:
        """Return the predicted targets [b, t]."""
        if self.innovations is None or not isinstance(members, ChainedMembers):
            return self._solved(members)
        values, sure = self.innovations(members)
        values += self.offset
        if not sure.all():
            rest = self._solved(members.kept(~sure))
            values[~sure] = rest.values
            sure[~sure] = rest.sure
        return Predictions(values, sure)

    def _solved(self, members: Members) -> Predictions:
        """Return the predictions by a solve for each coalition."""
        p = self.space.z.shape[1]
        sums = members.sums(self.columns)
        right, sum_z, sum_y = sums[:, :p], sums[:, p : 2 * p], sums[:, -1:]
        matrices = self.gram(members)
        counts = members.sizes[:, None]
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

    def _innovations(self, y: FloatArray) -> Innovations:
        """Return what predicts along chains; the penalty of a scaler would change at each step."""
        z, z_test = self.space.z, self.space.z_test
        penalty = self.alpha * self.space.penalty
        if self.intercept:
            z, z_test = (np.column_stack([a, np.ones(len(a))]) for a in (z, z_test))
            penalty = np.append(penalty, 0.0)
        return Innovations(z, y, z_test, penalty, self._least_share())

    def _least_share(self) -> float:
        """Return what share of the trace no eigenvalue may be below: any, with a penalty."""
        return 0.0

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

    def _least_share(self) -> float:
        penalty = self.space.penalty
        return float(LEAST_RANK_CONDITION * penalty.max() / penalty.min())

    def regular(self, members: Members, output: Output) -> BoolArray:
        """Return which coalitions [b] have enough rows to determine all coefficients."""
        return np.asarray(members.sizes >= self.space.z.shape[1] + self.intercept)

    def _solve(
        self, matrices: FloatArray, right: FloatArray, penalties: FloatArray
    ) -> tuple[FloatArray, BoolArray]:
        # scikit-learn cuts singular values off by their ratio in the features that it sees.
        ratios = penalties.min(axis=1) / penalties.max(axis=1)
        solutions, quality = solve_positive(matrices, right, condition=True)
        return solutions, (quality > LEAST_CONDITION) & (quality * ratios > LEAST_RANK_CONDITION)
