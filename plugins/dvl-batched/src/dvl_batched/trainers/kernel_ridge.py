"""Kernel ridge regression: the kernel is computed once, each coalition solves its part."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy.linalg.lapack import dposv
from sklearn.metrics.pairwise import pairwise_kernels

from dvl_batched.options import check_options, number, one_of, positive
from dvl_batched.predictions import Output, Predictions
from dvl_batched.problem import NotReproducedError, Problem

if TYPE_CHECKING:
    from dvl_batched.members import Members
    from dvl_core.protocols import BoolArray

__all__ = ["KernelRidgeTrainer"]

KERNELS = ("linear", "rbf", "poly", "polynomial", "laplacian", "sigmoid", "cosine")
MOST_ENTRIES = 1 << 24
LEAST_PENALTY = 1e-9
"""Share of the trace of the kernel that the penalty has to be for seven digits."""


class KernelRidgeTrainer:
    """Kernel ridge regression, ``(K + alpha I) c = y`` on the members.

    Parameters
    ----------
    model : KernelRidge
        With a kernel of scikit-learn.
    problem : Problem
        Training and test data.

    Raises
    ------
    NotReproducedError
        If an option is not reproduced, or the kernel is too large.
    """

    outputs = frozenset({"numbers"})
    classification: ClassVar[bool] = False
    least_classes: ClassVar[int] = 1
    least_run = sys.maxsize
    least_rows = 1

    def __init__(self, model: Any, problem: Problem) -> None:
        of_kernel = {"gamma": _is_gamma, "degree": number, "coef0": number}
        check_options(model, {"alpha": positive, "kernel": one_of(*KERNELS), **of_kernel})
        if problem.standardised:
            raise NotReproducedError("StandardScaler before KernelRidge")
        m, t = len(problem.x), len(problem.x_test)
        if m * (m + t) > MOST_ENTRIES:
            raise NotReproducedError(f"kernels of more than {MOST_ENTRIES:,} entries")
        options = {name: getattr(model, name) for name in of_kernel}
        self.alpha = float(model.alpha)
        self.y = problem.y
        self.kernel, self.kernel_test = (
            pairwise_kernels(x, problem.x, metric=model.kernel, filter_params=True, **options)
            for x in (problem.x, problem.x_test)
        )
        self.floats = m + t

    def regular(self, members: Members, output: Output) -> BoolArray:
        """Return which coalitions [b] have a row."""
        return np.asarray(members.sizes > 0)

    def fit_predict(self, members: Members, output: Output) -> Predictions:
        """Return the predicted targets [b, t]."""
        coefficients = np.zeros((len(members), len(self.y)))
        sure = np.zeros(len(members), dtype=bool)
        for i, member in enumerate(members.rows):
            rows = np.flatnonzero(member)
            matrix = self.kernel[rows[:, None], rows]
            safe = self.alpha > LEAST_PENALTY * np.trace(matrix)
            matrix[np.arange(len(rows)), np.arange(len(rows))] += self.alpha
            # The transpose of a symmetric matrix in C order is the matrix in LAPACK's.
            _, solution, failed = dposv(matrix.T, self.y[rows], lower=1, overwrite_a=1)
            coefficients[i, rows] = solution.ravel()
            sure[i] = safe and not failed
        return Predictions(coefficients @ self.kernel_test.T, sure)


def _is_gamma(value: Any) -> bool:
    return value is None or number(value)
