"""What a trainer is, and what several of them share."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from dvl_batched.members import Members
    from dvl_batched.predictions import Output, Predictions
    from dvl_batched.problem import Problem
    from dvl_core.protocols import BoolArray, FloatArray

__all__ = ["ClassSums", "ExactTrainer", "Trainer", "variances"]

NO_VARIANCE = 1e-12
"""A variance below this share of the mean square is what rounding leaves of zero."""
RUN_FOR_SUMS = 400
"""Nested coalitions from which on running sums are faster than a matrix product."""
LEAST_VARIANCE = 1e-9
"""A variance below this share has lost too many digits to be told from zero."""


class Trainer(Protocol):
    """Fits one kind of model to many coalitions at once, and predicts the test points.

    Made by ``kind(model, problem)``, which raises `NotReproducedError` where it cannot.
    """

    classification: ClassVar[bool]
    """Whether the targets are labels."""

    least_classes: ClassVar[int]
    """Scikit-learn refuses coalitions that have fewer, but a row."""

    least_rows: int
    """Scikit-learn refuses coalitions that have fewer, but one."""

    outputs: frozenset[str]
    """What it can predict: some of `Output`."""

    least_run: int
    """Mean length of runs of nested coalitions from which on increments were measured to pay."""

    floats: int
    """Numbers that it keeps for a coalition while it works."""

    def regular(self, members: Members, output: Output) -> BoolArray:
        """Return which coalitions [b] scikit-learn fits without complaint.

        Parameters
        ----------
        members : Members
            The rows of the coalitions.
        output : Output
            What will be asked for.
        """

    def fit_predict(self, members: Members, output: Output) -> Predictions:
        """Return the predictions of the models of regular coalitions."""


@runtime_checkable
class ExactTrainer(Protocol):
    """A trainer that can also do what scikit-learn does to the bit, at a higher price."""

    def exact(self, members: Members, output: Output) -> Predictions:
        """Return the predictions of the models of regular coalitions; `output` is not numbers."""


class ClassSums:
    """Sums over the members of each class.

    Parameters
    ----------
    problem : Problem
        Whose classes.
    columns : float array [m, c]
        What to sum.
    """

    def __init__(self, problem: Problem, columns: FloatArray) -> None:
        self._rows = [np.flatnonzero(problem.y == code) for code in range(problem.n_classes)]
        self._columns = [np.ascontiguousarray(columns[rows]) for rows in self._rows]

    def __call__(self, members: Members) -> FloatArray:
        """Return the sums [b, k, c] over the members."""
        pairs = zip(self._rows, self._columns, strict=True)
        return np.stack([members.sums(columns, rows) for rows, columns in pairs], axis=1)

    def counts(self, members: Members) -> FloatArray:
        """Return the number of members of each class [b, k]."""
        return np.stack([members.counts(rows) for rows in self._rows], axis=1)


def variances(means: FloatArray, mean_squares: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Return variances from moments, exactly zero where nothing varies.

    Parameters
    ----------
    means, mean_squares : float array [..., d]
        First and second moments of features whose mean over all data is about zero.

    Returns
    -------
    variances : float array [..., d]
    sure : bool array [...]
        Whether none of them is lost in rounding.
    """
    spread = mean_squares - means**2
    spread[spread <= NO_VARIANCE * mean_squares] = 0.0
    lost = (spread > 0) & (spread < LEAST_VARIANCE * mean_squares)
    return spread, ~lost.any(axis=-1)
