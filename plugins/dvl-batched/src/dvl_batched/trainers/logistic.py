"""Logistic regression, binary and multinomial, along the path of scikit-learn's solver."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from dvl_batched.lbfgs import minimise
from dvl_batched.options import anything, check_options, count, one_of, positive
from dvl_batched.predictions import Output, Predictions, class_predictions
from dvl_batched.problem import NotReproducedError, Problem
from dvl_batched.trainers.base import ClassSums, variances

if TYPE_CHECKING:
    from dvl_batched.members import Members
    from dvl_core.protocols import BoolArray, FloatArray, IntArray

__all__ = ["LogisticRegressionTrainer"]

MOST_PARAMETERS = 4096
FAITHFUL_STEPS = 50
"""Up to here rounding has not grown to anything that matters."""
NOISE = 1e-8
HISTORY_FLOATS = 30
"""Arrays as large as the parameters that the solver keeps."""


class LogisticRegressionTrainer:
    """L2-penalised logistic regression with a free intercept.

    The function is ``sum_i w_i loss_i / W + |coef|^2 / (2 C W)``, with W the sum of the weights w.

    Parameters
    ----------
    model : LogisticRegression
        With solver "lbfgs".
    problem : Problem
        Training and test data.

    Raises
    ------
    NotReproducedError
        If an option is not reproduced, or there are too many parameters.
    """

    classification: ClassVar[bool] = True
    least_classes: ClassVar[int] = 2
    least_run = sys.maxsize
    least_rows = 1
    outputs = frozenset({"labels", "probabilities", "ranking"})

    def __init__(self, model: Any, problem: Problem) -> None:
        accepted = {
            "C": positive,
            "fit_intercept": one_of(True, False),
            "tol": positive,
            "max_iter": count,
            "l1_ratio": one_of(0.0, 0, None),
            "class_weight": one_of(None, "balanced"),
            **dict.fromkeys(("random_state", "n_jobs", "verbose", "intercept_scaling"), anything),
        }
        check_options(model, accepted)
        self.balanced = model.class_weight is not None
        self.strength = 1.0 / float(model.C)
        self.tolerance, self.most_steps = float(model.tol), int(model.max_iter)
        self.standardised = problem.standardised
        self.intercept = bool(model.fit_intercept)
        self.y, self.n_classes = problem.y, problem.n_classes
        x, x_test = problem.x, problem.x_test
        if self.standardised:
            shift, scale = x.mean(axis=0), x.std(axis=0)
            scale[scale == 0] = 1.0
            x, x_test = (x - shift) / scale, (x_test - shift) / scale
        if self.intercept or self.standardised:
            x, x_test = (np.column_stack([z, np.ones(len(z))]) for z in (x, x_test))
        self.x, self.x_test = np.ascontiguousarray(x), np.ascontiguousarray(x_test)
        self.sums = ClassSums(problem, np.zeros((len(x), 0)))
        stacked = 1 if self.n_classes == 2 else self.n_classes
        self.shape = (stacked, problem.x.shape[1] + self.intercept)
        size = stacked * self.shape[1]
        if size > MOST_PARAMETERS:
            raise NotReproducedError(f"more than {MOST_PARAMETERS} parameters")
        self.floats = HISTORY_FLOATS * size + 8 * stacked * (len(x) + len(x_test))

    def regular(self, members: Members, output: Output) -> BoolArray:
        """Return which coalitions [b] have all classes."""
        return (self.sums.counts(members) > 0).all(axis=1)

    def fit_predict(self, members: Members, output: Output) -> Predictions:
        """Return labels, probabilities or decisions for class 1."""
        b = len(members)
        counts = self.sums.counts(members)
        shares = counts.sum(axis=1, keepdims=True) / (self.n_classes * counts)
        weights = members.dense * shares[:, self.y] if self.balanced else members.dense
        totals = weights.sum(axis=1)
        shift = scale = None
        sure = np.ones(b, dtype=bool)
        if self.standardised:
            shift, scale, sure = self._standardisation(members)
        loss = _Loss(
            self.x,
            self.y,
            weights / totals[:, None],
            self.strength / totals,
            self.shape,
            self.intercept,
            shift,
            scale,
        )
        start = np.zeros((b, self.shape[0] * self.shape[1]))
        parameters, taken = minimise(
            loss, start, tolerance=self.tolerance, most_steps=min(self.most_steps, FAITHFUL_STEPS)
        )
        scores = loss.decisions(parameters, np.arange(b), self.x_test)
        if self.n_classes == 2:
            scores = np.concatenate([np.zeros_like(scores), scores], axis=1)
        noise = np.full(b, NOISE)
        return class_predictions(
            scores, noise, sure & (taken >= 0), output, ranked_by_probability=False
        )

    def _standardisation(self, members: Members) -> tuple[FloatArray, FloatArray, BoolArray]:
        """Return means and deviations [b, d] on coalitions, and which of these are good."""
        z = self.x[:, :-1]
        counts = members.sizes[:, None]
        means = members.sums(z) / counts
        spread, sure = variances(means, members.sums(z**2) / counts)
        return means, np.where(spread > 0, np.sqrt(spread), 1.0), sure


@dataclass(frozen=True, eq=False)
class _Loss:
    """The penalised losses of many coalitions.

    Parameters
    ----------
    x : float array [m, q]
        Features, with a column of ones if there is an intercept or a shift.
    y : int array [m]
        Classes.
    weights : float array [b, m]
        Of the rows, with sum one.
    penalty : float array [b]
        Factor of half the squared coefficients.
    shape : (int, int)
        Classes that have parameters (one for two classes), and parameters of each.
    intercept : bool
        Whether the last of them is an intercept.
    shift, scale : float array [b, d], optional
        Of the features that the model sees.
    """

    x: FloatArray
    y: IntArray
    weights: FloatArray
    penalty: FloatArray
    shape: tuple[int, int]
    intercept: bool
    shift: FloatArray | None
    scale: FloatArray | None

    def __call__(self, parameters: FloatArray, which: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return values [a] and gradients [a, p]."""
        decisions = self.decisions(parameters, which, self.x)
        weights = self.weights[which]
        rate = _binary if self.shape[0] == 1 else _multinomial
        losses, errors = rate(decisions, self.y)
        values = np.einsum("am,am->a", weights, losses)
        errors *= weights[:, None, :]
        products = errors.reshape(-1, len(self.y)) @ self.x
        gradients = self._pulled_back(products.reshape(len(which), self.shape[0], -1), which)
        coefficients = self._stacked(parameters)
        if self.intercept:
            coefficients, gradients_of = coefficients[:, :, :-1], gradients[:, :, :-1]
        else:
            gradients_of = gradients
        penalty = self.penalty[which]
        gradients_of += penalty[:, None, None] * coefficients
        values += 0.5 * penalty * np.einsum("akd,akd->a", coefficients, coefficients)
        return values, gradients.reshape(parameters.shape)

    def decisions(self, parameters: FloatArray, which: IntArray, x: FloatArray) -> FloatArray:
        """Return the decisions [a, k, rows] for rows of `x`."""
        stacked = self._stacked(parameters)
        if self.shift is not None and self.scale is not None:
            d = self.shift.shape[1]
            scaled = stacked[:, :, :d] / self.scale[which, None, :]
            offset = -np.einsum("akd,ad->ak", scaled, self.shift[which])
            if self.intercept:
                offset += stacked[:, :, -1]
            stacked = np.concatenate([scaled, offset[:, :, None]], axis=2)
        products = stacked.reshape(-1, stacked.shape[2]) @ x.T
        return np.asarray(products.reshape(len(which), self.shape[0], -1))

    def _stacked(self, parameters: FloatArray) -> FloatArray:
        return parameters.reshape(len(parameters), *self.shape)

    def _pulled_back(self, products: FloatArray, which: IntArray) -> FloatArray:
        """Return derivatives [a, k, p] by the parameters, from those by what multiplies `x`."""
        if self.shift is None or self.scale is None:
            return products
        total = products[:, :, -1:]
        by_scaled = products[:, :, :-1] - total * self.shift[which, None, :]
        by_scaled /= self.scale[which, None, :]
        return np.concatenate([by_scaled, total], axis=2) if self.intercept else by_scaled


def _binary(decisions: FloatArray, y: IntArray) -> tuple[FloatArray, FloatArray]:
    """Return losses [a, m] and their derivatives [a, 1, m] by the decisions [a, 1, m]."""
    flat = decisions[:, 0]
    small = np.exp(-np.abs(flat))
    losses = np.log1p(small)
    losses += np.maximum(flat, 0.0)
    losses -= flat * y
    errors = np.where(flat >= 0, 1.0, small)
    errors /= 1.0 + small
    errors -= y
    return losses, errors[:, None, :]


def _multinomial(decisions: FloatArray, y: IntArray) -> tuple[FloatArray, FloatArray]:
    """Return losses [a, m] and their derivatives [a, k, m] by the decisions [a, k, m]."""
    errors = decisions - decisions.max(axis=1, keepdims=True)
    right = y * len(y) + np.arange(len(y))
    losses = -errors.reshape(len(errors), -1).take(right, axis=1)
    np.exp(errors, out=errors)
    totals = errors.sum(axis=1, keepdims=True)
    losses += np.log(totals)[:, 0]
    errors /= totals
    errors -= np.arange(decisions.shape[1])[:, None] == y
    return losses, errors
