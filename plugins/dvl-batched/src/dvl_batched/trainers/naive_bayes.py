"""Naive Bayes: sufficient statistics of all classes from one matrix product."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from dvl_batched.options import anything, check_options, number, one_of, positive
from dvl_batched.predictions import MOST_NOISE, Output, Predictions, class_predictions
from dvl_batched.problem import NotReproducedError, Problem, twins_of
from dvl_batched.trainers.base import RUN_FOR_SUMS, ClassSums, variances
from dvl_batched.trainers.exact import exact_predictions, gaussian_joint

if TYPE_CHECKING:
    from dvl_batched.members import Members
    from dvl_core.protocols import BoolArray, FloatArray, IntArray

__all__ = ["BernoulliNBTrainer", "GaussianNBTrainer", "MultinomialNBTrainer"]

ROUNDING = 1e-14
LEAST_ALPHA = 1e-10


class GaussianNBTrainer:
    """Gaussian naive Bayes, its variances smoothed by a share of the coalition's largest.

    Parameters
    ----------
    model : GaussianNB
        Without given priors.
    problem : Problem
        Training and test data.

    Raises
    ------
    NotReproducedError
        If an option is not reproduced.
    """

    outputs = frozenset({"labels", "probabilities", "ranking"})
    classification: ClassVar[bool] = True
    least_classes: ClassVar[int] = 1
    least_run = RUN_FOR_SUMS
    least_rows = 1

    def __init__(self, model: Any, problem: Problem) -> None:
        check_options(model, {"var_smoothing": _is_share})
        self.smoothing = float(model.var_smoothing)
        self.standardised = problem.standardised
        shift, scale = problem.x.mean(axis=0), problem.x.std(axis=0)
        scale[scale == 0] = 1.0
        self.scale = scale
        z, self.z_test = (problem.x - shift) / scale, (problem.x_test - shift) / scale
        self.x, self.y, self.x_test = problem.x, problem.y, problem.x_test
        self.largest = (self.z_test**2).max(axis=0)
        self.columns_test = np.concatenate([self.z_test**2, self.z_test], axis=1).T
        self.sums = ClassSums(problem, np.column_stack([z, z**2]))
        self.floats = problem.n_classes * (10 * z.shape[1] + 3 * len(self.z_test))

    def regular(self, members: Members, output: Output) -> BoolArray:
        """Return which coalitions [b] have all classes; for labels, a row is enough."""
        if output == "labels":
            return np.asarray(members.sizes > 0)
        return (self.sums.counts(members) > 0).all(axis=1)

    def fit_predict(self, members: Members, output: Output) -> Predictions:
        """Return labels, probabilities or probabilities of class 1."""
        d = len(self.scale)
        sums, counts = self.sums(members), self.sums.counts(members)
        sizes = counts.sum(axis=1)
        whole = sums.sum(axis=1) / sizes[:, None]
        overall, sure = variances(whole[:, :d], whole[:, d:])
        moments = sums / np.maximum(counts, 1.0)[:, :, None]
        means = moments[:, :, :d]
        spread, sure_classes = variances(means, moments[:, :, d:])
        spread += self._smoothing(overall)[:, None, :]
        sure &= sure_classes.all(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            precisions = 1.0 / spread
            constants = np.log(counts / sizes[:, None]) - 0.5 * np.log(2 * np.pi * spread).sum(2)
            noise = ROUNDING * ((self.largest + means**2) * precisions).sum(axis=2).max(axis=1)
            scores = self._products(means, precisions) + constants[:, :, None]
            if output != "labels":
                # Smooth scores see what cancels in the products.
                for i in np.flatnonzero(noise > MOST_NOISE):
                    distances = (self.z_test - means[i][:, None, :]) ** 2
                    scores[i] = constants[i][:, None] - 0.5 * (
                        distances * precisions[i][:, None, :]
                    ).sum(axis=2)
                noise = np.minimum(noise, MOST_NOISE)
        # A class that is absent has minus infinity.
        sure &= (scores < np.inf).all(axis=(1, 2))
        return class_predictions(scores, noise, sure, output, ranked_by_probability=True)

    def exact(self, members: Members, output: Output) -> Predictions:
        """Return what `fit_predict` does, to the bit; without a scaler."""

        def joint(rows: IntArray, classes: IntArray) -> FloatArray:
            return gaussian_joint(self.x[rows], classes, self.x_test, self.smoothing)

        return exact_predictions(joint, members, self.y, output)

    def _smoothing(self, overall: FloatArray) -> FloatArray:
        """Return what is added to the variances [b, d], in the scale of z."""
        if self.standardised:
            varies = overall.any(axis=1, keepdims=True)
            return np.where(varies, self.smoothing * np.where(overall > 0, overall, 1.0), 0.0)
        return self.smoothing * (overall * self.scale**2).max(axis=1, keepdims=True) / self.scale**2

    def _products(self, means: FloatArray, precisions: FloatArray) -> FloatArray:
        """Return ``-(x - mean)^2 / (2 variance)`` [b, k, t], multiplied out."""
        b, k, d = means.shape
        factors = np.concatenate([-0.5 * precisions, means * precisions], axis=2)
        products = (factors.reshape(b * k, 2 * d) @ self.columns_test).reshape(b, k, -1)
        return products - 0.5 * (means**2 * precisions).sum(axis=2)[:, :, None]


class _DiscreteTrainer(ABC):
    """What the two models of counts share: priors, and scores that are linear in the features."""

    outputs = frozenset({"labels", "probabilities", "ranking"})
    classification: ClassVar[bool] = True
    least_classes: ClassVar[int] = 1
    least_run = RUN_FOR_SUMS
    least_rows = 1

    def __init__(self, model: Any, problem: Problem) -> None:
        accepted = {
            "alpha": _smooths,
            "fit_prior": one_of(True, False),
            "force_alpha": anything,
            "binarize": _thresholds,
        }
        check_options(model, accepted)
        if problem.standardised:
            raise NotReproducedError(f"StandardScaler before {type(model).__name__}")
        self.alpha, self.fit_prior = float(model.alpha), bool(model.fit_prior)
        self.x, self.x_test = self._features(model, problem)
        self.y = problem.y
        self.twins = twins_of(self.x_test)
        self.sums = ClassSums(problem, self.x)
        self.floats = problem.n_classes * (6 * self.x.shape[1] + 3 * len(self.x_test))

    @abstractmethod
    def _features(self, model: Any, problem: Problem) -> tuple[FloatArray, FloatArray]:
        """Return the features that are counted, of training and test data."""

    @abstractmethod
    def _log_odds(self, sums: FloatArray, counts: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return factors of the features [b, k, d] and constants [b, k]."""

    def regular(self, members: Members, output: Output) -> BoolArray:
        """Return which coalitions [b] have all classes; for labels, a row is enough."""
        if output == "labels":
            return np.asarray(members.sizes > 0)
        return (self.sums.counts(members) > 0).all(axis=1)

    def fit_predict(self, members: Members, output: Output) -> Predictions:
        """Return labels, probabilities or probabilities of class 1."""
        sums, counts = self.sums(members), self.sums.counts(members)
        b, k, d = sums.shape
        factors, constants = self._log_odds(sums, counts)
        shares = counts / counts.sum(axis=1, keepdims=True) if self.fit_prior else counts > 0
        with np.errstate(divide="ignore"):
            constants = constants + np.log(shares)
        scores = (factors.reshape(b * k, d) @ self.x_test.T).reshape(b, k, -1)
        noise = ROUNDING * np.abs(scores).max(axis=(1, 2))
        scores += constants[:, :, None]
        # A class that is absent has minus infinity.
        sure = (scores < np.inf).all(axis=(1, 2))
        found = class_predictions(scores, noise, sure, output, ranked_by_probability=True)
        return replace(found, twins=self.twins)

    def exact(self, members: Members, output: Output) -> Predictions:
        """Return what `fit_predict` does, to the bit."""
        return exact_predictions(self._joint, members, self.y, output)

    def _joint(self, rows: IntArray, classes: IntArray) -> FloatArray:
        """Return the joint log-likelihoods [t, k] of the model of some rows."""
        present, codes = np.unique(classes, return_inverse=True)
        ones = (codes[:, None] == np.arange(len(present))) * 1.0
        counts = ones.sum(axis=0)
        factors, constants = self._log_odds((ones.T @ self.x[rows])[None], counts[None])
        if self.fit_prior:
            priors = np.log(counts) - np.log(counts.sum())
        else:
            priors = np.full(len(present), -np.log(len(present)))
        return self.x_test @ factors[0].T + (priors + constants[0])


class MultinomialNBTrainer(_DiscreteTrainer):
    """Multinomial naive Bayes.

    Parameters
    ----------
    model : MultinomialNB
        With one number for alpha, without given priors.
    problem : Problem
        Training and test data; no feature is negative.

    Raises
    ------
    NotReproducedError
        If an option is not reproduced, or a feature is negative.
    """

    def _features(self, model: Any, problem: Problem) -> tuple[FloatArray, FloatArray]:
        if problem.x.min() < 0:
            raise NotReproducedError("MultinomialNB on negative features")
        return problem.x, problem.x_test

    def _log_odds(self, sums: FloatArray, counts: FloatArray) -> tuple[FloatArray, FloatArray]:
        smoothed = sums + self.alpha
        factors = np.log(smoothed) - np.log(smoothed.sum(axis=2, keepdims=True))
        return factors, np.zeros(counts.shape)


class BernoulliNBTrainer(_DiscreteTrainer):
    """Bernoulli naive Bayes.

    Parameters
    ----------
    model : BernoulliNB
        With one number for alpha, without given priors.
    problem : Problem
        Training and test data.

    Raises
    ------
    NotReproducedError
        If an option is not reproduced.
    """

    def _features(self, model: Any, problem: Problem) -> tuple[FloatArray, FloatArray]:
        if model.binarize is None:
            return problem.x, problem.x_test
        return (problem.x > model.binarize) * 1.0, (problem.x_test > model.binarize) * 1.0

    def _log_odds(self, sums: FloatArray, counts: FloatArray) -> tuple[FloatArray, FloatArray]:
        present = np.log(sums + self.alpha) - np.log(counts + 2 * self.alpha)[:, :, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            absent = np.log(1 - np.exp(present))
        return present - absent, absent.sum(axis=2)


def _is_share(value: Any) -> bool:
    return number(value) and value >= 0


def _smooths(alpha: Any) -> bool:
    return positive(alpha) and alpha >= LEAST_ALPHA


def _thresholds(threshold: Any) -> bool:
    return threshold is None or _is_share(threshold)
