"""Data-OOB (Kwon & Zou 2023)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.ensemble import BaseEnsemble, RandomForestClassifier, RandomForestRegressor
from sklearn.ensemble._forest import BaseForest
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from dvl_core.data import Dataset
from dvl_core.digests import UndigestibleError, digest
from dvl_core.errors import DataError, InvalidOptionError
from dvl_core.profiles import MethodProfile
from dvl_core.utilities.fingerprint import fingerprint_function
from dvl_core.utilities.seeding import seeded
from dvl_core.valuation import OneShotValuation
from dvl_oob.design import OOBDesign, PointwiseScore

if TYPE_CHECKING:
    from dvl_core.protocols import Backend

__all__ = ["DataOOBValuation", "negative_squared_error", "point_accuracy"]


def point_accuracy(y_true: Any, y_predicted: Any) -> Any:
    """Return 1.0 where the prediction is right, else 0.0.

    Examples
    --------
    >>> point_accuracy(np.array(["a", "b"]), np.array(["a", "a"]))
    array([1., 0.])
    """
    return (y_true == y_predicted).astype(float)


def negative_squared_error(y_true: Any, y_predicted: Any) -> Any:
    """Return minus the squared error of each prediction.

    Examples
    --------
    >>> negative_squared_error(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
    array([-0., -4.])
    """
    return -np.square(y_true - y_predicted)


class DataOOBValuation(OneShotValuation):
    """Mean score of each training point over the base models whose bootstrap sample lacks it.

    A point that models trained without it keep predicting wrongly is likely to be wrong itself. No
    test set is needed. A point that every base model saw has no value (NaN); more base models help.

    Parameters
    ----------
    model : bagging ensemble or forest
        A scikit-learn ensemble with bootstrap samples, such as ``BaggingClassifier`` or
        ``RandomForestRegressor``. If it is fitted, it must have been so on the data to value;
        otherwise a copy is fitted.
    score : callable, optional
        ``score(y_true, y_predicted)`` gives one number per row. None: 1 for a right label and 0
        for a wrong one; for regression minus the squared error.
    seed : int, optional
        Decides the bootstrap samples of an ensemble that is not fitted, unless it has a
        ``random_state``; None: a fresh one, kept in the result.
    backend : Backend, optional
        Where base models predict; None: the active ``joblib.parallel_config`` if there is one.
    progress : bool
        Show a progress bar on stderr, if that is a terminal.
    checkpoint : path, optional
        File to resume from and to save the state of the run to.

    Raises
    ------
    InvalidOptionError
        If the model is no ensemble, or one without out-of-bag rows.

    References
    ----------
    Kwon, Y. and Zou, J. (2023). Data-OOB: Out-of-bag Estimate as a Simple and Efficient Data Value.
    ICML, eq. 1.

    Examples
    --------
    >>> train = Dataset([[float(i)] for i in range(20)], [0] * 10 + [1] * 10)
    >>> model = RandomForestClassifier(50, random_state=0)
    >>> result = DataOOBValuation(model).fit(train).result
    >>> bool(result.values[0] > 0.9)
    True
    """

    algorithm = "data-oob"
    profile = MethodProfile(
        answers="how well models that never saw a row predict it",
        guarantee="unbiased over bootstrap samples, with standard errors",
        cost="one bagging ensemble",
        needs="no test set",
    )

    def __init__(
        self,
        model: Any,
        *,
        score: PointwiseScore | None = None,
        seed: int | None = None,
        backend: Backend | None = None,
        progress: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> None:
        _check_model(model)
        self.model = model
        self.score = score
        self.seed = seed
        self.backend = backend
        self.progress = progress
        self.checkpoint = checkpoint

    @classmethod
    def default_model(cls, classification: bool) -> Any:
        """Return the ensemble to use when the user names none: a forest of 200 trees."""
        return RandomForestClassifier(200) if classification else RandomForestRegressor(200)

    def design(self, train: Dataset, seed: int) -> OOBDesign:
        """Return the design that values the players of `train`, after fitting if need be.

        Raises
        ------
        DataError
            If players are groups, there are several targets, or the model was fitted on other data.
        """
        if train.groups is not None:
            raise DataError("Data-OOB values single rows, but the players of this data are groups")
        if train.y.ndim != 1:
            raise DataError(f"Data-OOB needs one target, got {train.y.shape[1]}")
        model = self.model
        if not _is_fitted(model):
            model = train.fit(seeded(model, seed))
        samples = list(model.estimators_samples_)
        _check_samples(samples, train, model)
        classifies = is_classifier(model)
        return OOBDesign(
            models=list(model.estimators_),
            samples=samples,
            features=getattr(model, "estimators_features_", None),
            classes=model.classes_ if classifies else None,
            x=_as_models_take_it(model, train.x),
            y=train.y,
            score=self.score or (point_accuracy if classifies else negative_squared_error),
            content=self._content(model, train, samples),
        )

    def _content(self, model: Any, train: Dataset, samples: list[Any]) -> str:
        """Return a digest of what decides the values."""
        score = "default" if self.score is None else fingerprint_function(self.score)
        try:
            return digest(type(model), model.get_params(), samples, train.digest, score)
        except UndigestibleError as error:
            if self.checkpoint is None:
                return ""
            raise InvalidOptionError(
                f"a checkpoint needs a model and a score that can be recognised: {error}"
            ) from error


def _check_model(model: Any) -> None:
    """Raise unless `model` is an ensemble that leaves rows out of its bags."""
    name = type(model).__name__
    if not isinstance(model, BaseEnsemble):
        raise InvalidOptionError(
            f"Data-OOB needs an ensemble such as RandomForestClassifier(), got {model!r}"
        )
    if not hasattr(type(model), "estimators_samples_"):
        raise InvalidOptionError(
            f"Data-OOB needs an ensemble that keeps its bootstrap samples, such as "
            f"BaggingClassifier({name}()); {name} does not"
        )
    if not model.bootstrap and getattr(model, "max_samples", None) in (None, 1.0):
        raise InvalidOptionError(
            f"{name} has bootstrap=False, so no row is ever out of bag: set bootstrap=True"
        )


def _check_samples(samples: list[Any], train: Dataset, model: Any) -> None:
    """Raise if the model was fitted on other data, or nothing is out of bag."""
    rows = getattr(model, "_n_samples", None)
    if rows is not None and rows != len(train):
        raise DataError(
            f"the {type(model).__name__} was fitted on {rows} rows, but the training data has "
            f"{len(train)}: fit it on the same data, or pass it unfitted"
        )
    if all(len(np.unique(sample)) == len(train) for sample in samples):
        raise DataError("every base model was trained on all rows: none is ever out of bag")


def _is_fitted(model: Any) -> bool:
    try:
        check_is_fitted(model)
    except NotFittedError:
        return False
    return True


def _as_models_take_it(model: Any, x: Any) -> Any:
    """Return the features as the ensemble hands them to its base models, converted once."""
    if isinstance(model, BaseForest):
        # Trees convert to float32 at every call otherwise.
        return np.ascontiguousarray(x, dtype=np.float32) if not hasattr(x, "tocsr") else x.tocsr()
    return x.to_numpy() if hasattr(x, "to_numpy") else x
