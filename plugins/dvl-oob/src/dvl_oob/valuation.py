"""Data-OOB (Kwon & Zou 2023)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from dvl_core.data import Dataset
from dvl_core.digests import UndigestibleError, digest
from dvl_core.errors import DataError, InvalidOptionError
from dvl_core.profiles import MethodProfile
from dvl_core.utilities.seeding import seeded
from dvl_core.valuation import OneShotValuation
from dvl_oob.design import OOBDesign
from dvl_oob.ensembles import BaseModels, check_ensemble
from dvl_oob.scores import PointwiseScore, check_score, score_of

if TYPE_CHECKING:
    from dvl_core.protocols import Backend

__all__ = ["DataOOBValuation"]

DEFAULT_FLOOR = 1e-6


class DataOOBValuation(OneShotValuation):
    """Mean score of each training point over the base models whose bootstrap sample lacks it.

    A point that models trained without it keep predicting wrongly is likely to be wrong itself. No
    test set is needed. A point that every base model saw has no value (NaN); more base models help.

    Parameters
    ----------
    model : bagging ensemble or forest
        A scikit-learn ensemble with bootstrap samples, such as ``BaggingClassifier`` or
        ``RandomForestRegressor``, or another with ``estimators_`` and ``estimators_samples_``. If
        it is fitted, it must have been so on the data to value; otherwise a copy is fitted.
    score : str or callable, optional
        "accuracy": 1 for a right label, 0 for a wrong one. "log-likelihood": logarithm of the
        probability given to the right label. "squared-error", "absolute-error": minus that error.
        Or ``score(y_true, y_predicted)`` that gives one number per row. None: "accuracy" for
        classifiers, "squared-error" for regressors.
    probability_floor : float
        Of the log-likelihood: smaller probabilities count as this one, those of classes that a base
        model never saw too.
    whole_groups : bool
        If players are groups of rows: ask only the base models that saw no row of a group.
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
        If the model is no ensemble, or one without out-of-bag rows, or the score does not suit it.

    Notes
    -----
    If players are groups of rows, one base model gives one observation of a group: the mean score
    of those rows of the group that are out of its bag. The value is the mean of the observations
    over the base models that have any; groups of one row have the value of that row. Base models
    may have seen other rows of the group, which flatters groups of near duplicates. With
    ``whole_groups=True`` only base models count that saw none of them. These are few unless groups
    are small or the ensemble draws small bags (``max_samples``): a group of m rows is out of a
    bootstrap sample of the size of the data with a probability of about exp(-m).

    Standard errors say how far a value may be from that of infinitely many base models.

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
        score: Literal["accuracy", "log-likelihood", "squared-error", "absolute-error"]
        | PointwiseScore
        | None = None,
        probability_floor: float = DEFAULT_FLOOR,
        whole_groups: bool = False,
        seed: int | None = None,
        backend: Backend | None = None,
        progress: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> None:
        check_ensemble(model)
        check_score(score, probability_floor, model)
        if probability_floor != DEFAULT_FLOOR and score != "log-likelihood":
            raise InvalidOptionError(
                f"probability_floor is for score='log-likelihood', the score is {score!r}"
            )
        self.model = model
        self.score = score
        self.probability_floor = probability_floor
        self.whole_groups = whole_groups
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
            If there are several targets, or the model was fitted on other data.
        InvalidOptionError
            If the score turns out not to suit the fitted model.
        """
        if train.y.ndim != 1:
            raise DataError(f"Data-OOB needs one target, got {train.y.shape[1]}")
        model = self.model
        if not hasattr(model, "estimators_"):
            model = train.fit(seeded(model, seed))
            check_score(self.score, self.probability_floor, model)
        models = BaseModels.of(model, train)
        return OOBDesign(
            models=models,
            score=score_of(self.score, self.probability_floor, model, train.y),
            n_players=len(train),
            groups=train.groups,
            whole_groups=self.whole_groups,
            content="" if self.checkpoint is None else self._content(models, train),
        )

    def _content(self, models: BaseModels, train: Dataset) -> str:
        """Return a digest of what decides the values."""
        bags = [digest(models.bag(number)) for number in range(len(models))]
        options = (self.score, self.probability_floor, self.whole_groups)
        try:
            return digest(models.ensemble, bags, train.digest, options)
        except UndigestibleError as error:
            raise InvalidOptionError(
                f"a checkpoint needs a model and a score that can be recognised: {error}"
            ) from error
