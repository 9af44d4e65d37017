"""Scores of fitted models on test data."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from functools import cached_property, wraps
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import get_scorer, get_scorer_names
from sklearn.utils.multiclass import type_of_target

from dvl_core.data import Dataset
from dvl_core.errors import DataError, InvalidOptionError
from dvl_core.tabular import own_copy
from dvl_core.tensors import as_array
from dvl_core.utilities.fingerprint import fingerprint_function, fingerprint_object, fingerprint_of

__all__ = ["SupervisedScorer"]

Scoring = Callable[[Any, Any, Any], float]

_UNIT = (
    "accuracy",
    "average_precision",
    "balanced_accuracy",
    "completeness_score",
    "f1",
    "fowlkes_mallows",
    "homogeneity_score",
    "jaccard",
    "normalized_mutual_info",
    "precision",
    "rand_score",
    "recall",
    "roc_auc",
    "top_k_accuracy",
    "v_measure",
)
_AT_MOST_ONE = ("r2", "d2_", "explained_variance", "adjusted_")


class SupervisedScorer:
    """Score of a model on test data, by a scikit-learn metric or a function.

    Each call scores on a copy of the test data, because a model may transform in place.

    Parameters
    ----------
    scoring : str or callable
        Name of a scikit-learn scorer, such as "accuracy" or "neg_mean_absolute_error", or
        ``function(model, x, y) -> float``, larger is better.
    test : Dataset or (x, y)
        What to score on.
    default : float, optional
        Utility of the empty coalition. Default: what a scikit-learn dummy predictor, fitted on
        `test`, scores on `test`. It is a classifier (predicting by the class frequencies) or a
        regressor (predicting the mean) as the metric asks for, and where the metric does not
        tell, as the target looks.
    range : (float, float), optional
        Least and largest score. Default: what is known of the metric, else infinite.

    Raises
    ------
    InvalidOptionError
        If no scorer has that name, or `default` or `range` is no number or interval.
    DataError
        If `test` is neither a `Dataset` nor a pair that makes one.

    Examples
    --------
    >>> test = Dataset([[0.0], [1.0], [2.0], [3.0]], [0, 1, 1, 1])
    >>> scorer = SupervisedScorer("accuracy", test)
    >>> scorer.default, scorer.range
    (0.75, (0.0, 1.0))
    """

    def __init__(
        self,
        scoring: str | Scoring,
        test: Dataset | tuple[Any, Any],
        default: float | None = None,
        range: tuple[float, float] | None = None,  # noqa: A002
    ) -> None:
        self.scoring = scoring
        self._function = _function_of(scoring)
        self.name = scoring if isinstance(scoring, str) else _name_of(scoring)
        self.test = _as_dataset(test)
        self._given_default = None if default is None else _finite(default)
        self.range = _known_range(scoring) if range is None else _interval(range)

    def __repr__(self) -> str:
        return f"SupervisedScorer({self.name!r}, {self.test!r})"

    def __call__(self, model: Any) -> float:
        """Return the score of a fitted model on the test data.

        Parameters
        ----------
        model : object
            Fitted model. It need not be a scikit-learn estimator: ``predict``, and whatever else
            the metric asks for, is enough.
        """
        x, y = self.test
        if hasattr(self._function, "_score_func"):
            # scikit-learn's metrics compare arrays.
            y = self.test.y
        return float(self._function(self._scorable(model), own_copy(x), own_copy(y)))

    @property
    def default(self) -> float:
        """The utility of the empty coalition: as given, or the score of a dummy predictor.

        Raises
        ------
        InvalidOptionError
            If no dummy predictor can be scored.
        """
        return self._dummy_score if self._given_default is None else self._given_default

    @cached_property
    def _dummy_score(self) -> float:
        dummy = (
            DummyClassifier(strategy="prior")
            if self._predicts_labels
            else DummyRegressor(strategy="mean")
        )
        # Dummies look at the number of rows only; not all features would pass their checks.
        rows = np.zeros((self.test.n_rows, 1))
        try:
            dummy.fit(rows, self.test.y)
            score = self(dummy)
        except Exception as error:
            raise InvalidOptionError(
                f"{self.name} cannot score a {type(dummy).__name__} ({error}): pass the score of "
                "the empty coalition as default="
            ) from error
        if not math.isfinite(score):
            raise InvalidOptionError(
                f"{self.name} gives a {type(dummy).__name__} the score {score}: pass the score of "
                "the empty coalition as default="
            )
        return score

    @cached_property
    def fingerprint(self) -> str | None:
        """Digest of metric, test data and default; None if the function cannot be digested."""
        try:
            data = self.test.digest
        except DataError:
            return None
        metric = fingerprint_function(self._function)
        options = fingerprint_object(
            (self.scoring if isinstance(self.scoring, str) else None, self._given_default)
        )
        return fingerprint_of("SupervisedScorer", metric, data, options)

    @cached_property
    def _predicts_labels(self) -> bool:
        """Whether models predict classes: as the metric says, else as the target looks."""
        metric = getattr(self._function, "_score_func", self._function)
        module = str(getattr(metric, "__module__", ""))
        if module.startswith("sklearn.metrics._regression"):
            return False
        if module.startswith(("sklearn.metrics._classification", "sklearn.metrics._ranking")):
            return True
        return not type_of_target(self.test.y).startswith("continuous")

    def _scorable(self, model: Any) -> Any:
        """Return something that scikit-learn's scorers take: they refuse what is not tagged."""
        if not hasattr(self._function, "_score_func") or isinstance(model, BaseEstimator):
            return model
        if hasattr(model, "__sklearn_tags__"):
            return model
        if self._predicts_labels:
            return _AsClassifier(model, self._classes)
        return _AsRegressor(model)

    @cached_property
    def _classes(self) -> Any:
        return np.unique(self.test.y)


class _AsRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A fitted model of no library, as scikit-learn's scorers want to see it."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "model":
            raise AttributeError(name)
        return _with_arrays(getattr(self.model, name))


class _AsClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """The same for a classifier; without `classes_` of its own it has those of the test data."""

    def __init__(self, model: Any, classes: Any) -> None:
        self.model = model
        self.classes_ = as_array(getattr(model, "classes_", classes))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("model", "classes_"):
            raise AttributeError(name)
        return _with_arrays(getattr(self.model, name))


def _with_arrays(attribute: Any) -> Any:
    """Return an attribute of a model; a method that gives tensors gives arrays."""
    if not callable(attribute):
        return attribute

    @wraps(attribute)
    def method(*arguments: Any, **options: Any) -> Any:
        return as_array(attribute(*arguments, **options))

    return method


def _function_of(scoring: str | Scoring) -> Scoring:
    """Return the function that scores, by its name or as it is."""
    if isinstance(scoring, str):
        names = get_scorer_names()
        if scoring in names:
            function: Scoring = get_scorer(scoring)
            return function
        close = difflib.get_close_matches(scoring, names, n=1)
        guess = f"; did you mean {close[0]!r}?" if close else ""
        raise InvalidOptionError(
            f"scikit-learn has no scorer {scoring!r}{guess} All names: "
            "sklearn.metrics.get_scorer_names()"
        )
    if not callable(scoring):
        raise InvalidOptionError(
            f"scoring must be the name of a scikit-learn scorer or function(model, x, y), got "
            f"{scoring!r}"
        )
    return scoring


def _name_of(scoring: Scoring) -> str:
    metric = getattr(scoring, "_score_func", scoring)
    return str(getattr(metric, "__name__", type(scoring).__name__))


def _as_dataset(test: Dataset | tuple[Any, Any]) -> Dataset:
    if isinstance(test, Dataset):
        return test
    if isinstance(test, tuple) and len(test) == 2:
        return Dataset(*test)
    raise DataError(f"test must be a Dataset or a pair (x, y), got {type(test).__name__}")


def _finite(default: float) -> float:
    try:
        number = float(default)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise InvalidOptionError(f"default must be a finite number, got {default!r}")
    return number


def _interval(bounds: tuple[float, float]) -> tuple[float, float]:
    try:
        low, high = map(float, bounds)
    except (TypeError, ValueError):
        low, high = math.nan, math.nan
    if not low < high:
        raise InvalidOptionError(f"range must be a pair (least, largest), got {bounds!r}")
    return low, high


def _known_range(name: object) -> tuple[float, float]:
    """Return the least and the largest score of a scikit-learn scorer, by its name."""
    if not isinstance(name, str):
        return (-math.inf, math.inf)
    if name == "matthews_corrcoef":
        return (-1.0, 1.0)
    if name.startswith("neg_"):
        return (-math.inf, 0.0)
    if name.startswith(_AT_MOST_ONE):
        return (-math.inf, 1.0)
    if name.startswith(_UNIT):
        return (0.0, 1.0)
    return (-math.inf, math.inf)
