"""Linear discriminant analysis: the pooled covariance from one matrix product."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from dvl_batched.linalg import Gram, solve_positive
from dvl_batched.options import anything, check_options, one_of, positive
from dvl_batched.predictions import Output, Predictions, class_predictions
from dvl_batched.problem import NotReproducedError, Problem
from dvl_batched.trainers.base import RUN_FOR_SUMS, ClassSums

if TYPE_CHECKING:
    from dvl_batched.members import Members
    from dvl_core.protocols import BoolArray, FloatArray

__all__ = ["LinearDiscriminantAnalysisTrainer"]

MOST_FEATURES = 512
LEAST_EIGENVALUE = 1e-6
"""Of the pooled correlations: above it there is no doubt about the rank."""


class LinearDiscriminantAnalysisTrainer:
    """Linear discriminant analysis where the pooled covariance of a coalition has full rank.

    The standardisation of the features does not matter then, so a scaler before it is free.

    Parameters
    ----------
    model : LinearDiscriminantAnalysis
        With solver "svd" or "lsqr", without shrinkage or given priors.
    problem : Problem
        Training and test data.

    Raises
    ------
    NotReproducedError
        If an option is not reproduced, or there are too many features.
    """

    outputs = frozenset({"labels", "probabilities", "ranking"})
    classification: ClassVar[bool] = True
    least_classes: ClassVar[int] = 1
    least_run = RUN_FOR_SUMS
    least_rows = 1

    def __init__(self, model: Any, problem: Problem) -> None:
        accepted = {
            "solver": one_of("svd", "lsqr"),
            "tol": positive,
            "store_covariance": anything,
        }
        check_options(model, accepted)
        if problem.x.shape[1] > MOST_FEATURES:
            raise NotReproducedError(f"more than {MOST_FEATURES} features")
        self.drops_directions = model.solver == "svd"
        self.tol = float(model.tol)
        scale = problem.x.std(axis=0)
        if not scale.all():
            raise NotReproducedError("a feature that never varies makes the covariance singular")
        shift = problem.x.mean(axis=0)
        z, self.z_test = (problem.x - shift) / scale, (problem.x_test - shift) / scale
        self.gram = Gram(z)
        self.sums = ClassSums(problem, z)
        k, d, t = problem.n_classes, z.shape[1], len(self.z_test)
        self.floats = 2 * self.gram.floats + k * (4 * d + 3 * t)

    def regular(self, members: Members, output: Output) -> BoolArray:
        """Return which coalitions [b] have all classes, and more rows than classes."""
        counts = self.sums.counts(members)
        return (counts > 0).all(axis=1) & (counts.sum(axis=1) > counts.shape[1])

    def fit_predict(self, members: Members, output: Output) -> Predictions:
        """Return labels, probabilities or decisions for class 1."""
        sums, counts = self.sums(members), self.sums.counts(members)
        sizes = counts.sum(axis=1)
        means = sums / counts[:, :, None]
        middle = sums.sum(axis=1) / sizes[:, None]
        within = self.gram(members) - np.matmul(sums.transpose(0, 2, 1), means)
        within /= sizes[:, None, None]
        spread = np.einsum("bii->bi", within)
        sure = (spread > LEAST_EIGENVALUE).all(axis=1)
        root = np.sqrt(np.where(spread > LEAST_EIGENVALUE, spread, 1.0))
        correlations = within / root[:, :, None] / root[:, None, :]
        centred = means - middle[:, None, :]
        solved, quality = solve_positive(
            correlations, (centred / root[:, None, :]).transpose(0, 2, 1), condition=True
        )
        norms = np.abs(correlations).sum(axis=1).max(axis=1)
        sure &= quality * norms > max(LEAST_EIGENVALUE, 100 * self.tol**2)
        coefficients = solved.transpose(0, 2, 1) / root[:, None, :]
        if self.drops_directions:
            sure &= self._keeps_all_directions(centred, coefficients, counts)
        constants = np.log(counts / sizes[:, None])
        constants -= (coefficients * (0.5 * centred + middle[:, None, :])).sum(axis=2)
        scores = np.matmul(coefficients, self.z_test.T) + constants[:, :, None]
        noise = 1e-13 * np.abs(scores).max(axis=(1, 2)) / np.maximum(quality, 1e-300)
        return class_predictions(scores, noise, sure, output, ranked_by_probability=False)

    def _keeps_all_directions(
        self, centred: FloatArray, coefficients: FloatArray, counts: FloatArray
    ) -> BoolArray:
        """Return where the class means span all directions that they can, well above `tol`."""
        k, d = centred.shape[1:]
        if k == 2:
            return np.ones(len(counts), dtype=bool)
        weights = np.sqrt(counts)
        between = np.matmul(centred, coefficients.transpose(0, 2, 1))
        between *= weights[:, :, None] * weights[:, None, :]
        squares = np.linalg.eigvalsh(between)
        return np.asarray(squares[:, -min(k - 1, d)] > 100 * self.tol**2 * squares[:, -1])
