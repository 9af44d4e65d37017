"""The base models of a fitted ensemble, and what each of them was trained on."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn import config_context
from sklearn.base import OutlierMixin, TransformerMixin
from sklearn.ensemble import BaggingClassifier, BaggingRegressor
from sklearn.ensemble._forest import BaseForest
from sklearn.utils import check_array

from dvl_core.data import take_rows
from dvl_core.errors import DataError, InvalidOptionError
from dvl_core.tabular import is_frame
from dvl_oob.trees import is_tree

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dvl_core.data import Dataset
    from dvl_core.protocols import AnyArray, BoolArray

__all__ = ["BaseModels", "check_ensemble", "encodes_labels"]

SKLEARN_ENSEMBLES = (BaseForest, BaggingClassifier, BaggingRegressor)
BAGS_FROM_SEEDS = (BaseForest.estimators_samples_, BaggingClassifier.estimators_samples_)


@dataclass(frozen=True, eq=False)
class BaseModels:
    """The base models of a fitted ensemble, with the rows and columns that each was trained on.

    The bags of scikit-learn's ensembles follow from seeds. They are drawn again one at a time: all
    at once they could take more memory than the data.

    Parameters
    ----------
    ensemble : estimator
        The fitted ensemble.
    x : array, sparse matrix or frame [n, d]
        Features, in the layout that the base models take.
    kept_bags : sequence of arrays, optional
        The bags, if the ensemble cannot draw them one at a time.
    """

    ensemble: Any
    x: Any
    kept_bags: Sequence[AnyArray] | None

    @classmethod
    def of(cls, ensemble: Any, train: Dataset) -> BaseModels:
        """Return the base models of an ensemble that was fitted on `train`.

        Raises
        ------
        DataError
            If it was fitted on other data, does not know all bags, or no row is ever out of bag.
        """
        _check_same_data(ensemble, train)
        draws = getattr(type(ensemble), "estimators_samples_", None) in BAGS_FROM_SEEDS
        kept = None if draws else list(ensemble.estimators_samples_)
        models = cls(ensemble, _as_models_take_it(ensemble, train.x), kept)
        n_bags = len(getattr(ensemble, "_seeds", ensemble.estimators_) if kept is None else kept)
        if n_bags != len(models):
            raise DataError(
                f"the {models.name} has {len(models)} base models but knows the bags of {n_bags} "
                "only (a bagging ensemble with warm_start forgets those of earlier fits): fit it "
                "in one go, or pass it unfitted"
            )
        if not any(models.out_of_bag(number).any() for number in range(len(models))):
            raise DataError("every base model was trained on all rows: none is ever out of bag")
        return models

    @property
    def name(self) -> str:
        """Class of the ensemble."""
        return type(self.ensemble).__name__

    @property
    def n_rows(self) -> int:
        """Number of rows that the ensemble was trained on."""
        return int(self.x.shape[0])

    def __len__(self) -> int:
        """Return the number of base models."""
        return len(self.ensemble.estimators_)

    def __getitem__(self, number: int) -> Any:
        """Return a base model."""
        return self.ensemble.estimators_[number]

    def bag(self, number: int) -> NDArray[Any]:
        """Return the rows that a base model was trained on, repeats included."""
        if self.kept_bags is not None:
            return np.asarray(self.kept_bags[number])
        alone = copy.copy(self.ensemble)
        alone.estimators_ = [self[number]]
        if hasattr(alone, "_seeds"):
            alone._seeds = alone._seeds[number : number + 1]
        bag: NDArray[Any] = alone.estimators_samples_[0]
        return bag

    def out_of_bag(self, number: int) -> BoolArray:
        """Return which rows [n] a base model was not trained on.

        Raises
        ------
        DataError
            If the base model, a tree, knows of another number of rows than its bag has.
        """
        bag, unseen = self.bag(number), np.ones(self.n_rows, dtype=bool)
        try:
            unseen[bag] = False
        except IndexError as error:
            raise DataError(_fitted_on_other_data(self.ensemble, "more rows")) from error
        if is_tree(self[number]):
            trained_on = int(self[number].tree_.n_node_samples[0])
            in_bag = self.n_rows - int(unseen.sum())
            # Repeats are weights of one row, or rows of their own.
            if trained_on not in (in_bag, len(bag)):
                raise DataError(
                    f"a tree of the {self.name} was trained on {trained_on} rows, but its entry in "
                    f"estimators_samples_ has {in_bag}: they do not belong together"
                )
        return unseen

    def features(self, number: int, rows: NDArray[np.intp]) -> Any:
        """Return the features of some rows, those columns that a base model was trained on."""
        x = take_rows(self.x, rows)
        columns = getattr(self.ensemble, "estimators_features_", None)
        if columns is None or np.array_equal(columns[number], np.arange(self.x.shape[1])):
            return x
        return x.iloc[:, columns[number]] if is_frame(x) else x[:, columns[number]]

    @property
    def row_cost(self) -> float:
        """Stored numbers per row."""
        stored = self.x.nnz if hasattr(self.x, "nnz") else np.prod(self.x.shape)
        return max(1.0, float(stored) / self.n_rows)


def check_ensemble(model: Any) -> None:
    """Raise unless `model` is an ensemble that leaves rows out of its bags.

    Raises
    ------
    InvalidOptionError
        With the reason.
    """
    name = type(model).__name__
    if isinstance(model, type) or not callable(getattr(model, "fit", None)):
        raise InvalidOptionError(
            f"Data-OOB needs an ensemble such as RandomForestClassifier(), got {model!r}"
        )
    if isinstance(model, OutlierMixin | TransformerMixin):
        raise InvalidOptionError(
            f"Data-OOB needs an ensemble that predicts the target; {name} does not"
        )
    if not hasattr(type(model), "estimators_samples_") and "estimators_samples_" not in vars(model):
        raise InvalidOptionError(
            f"Data-OOB needs an ensemble that keeps its bootstrap samples (estimators_samples_), "
            f"such as BaggingClassifier({name}()); {name} does not"
        )
    size = getattr(model, "max_samples", None)
    all_rows = size is None or (isinstance(size, float) and size == 1.0)
    if not getattr(model, "bootstrap", True) and all_rows:
        raise InvalidOptionError(
            f"{name} has bootstrap=False, so no row is ever out of bag: set bootstrap=True"
        )


def encodes_labels(ensemble: Any) -> bool:
    """Return whether base models predict positions in the ensemble's ``classes_``, not labels.

    Those of scikit-learn do. Others are told by the classes that their base models know.
    """
    if isinstance(ensemble, SKLEARN_ENSEMBLES):
        return True
    known = {c for model in ensemble.estimators_ for c in list(getattr(model, "classes_", ()))}
    return not known <= set(ensemble.classes_)


def _check_same_data(ensemble: Any, train: Dataset) -> None:
    """Raise if the ensemble shows that it was fitted on other data than `train`."""
    rows = getattr(ensemble, "_n_samples", train.n_rows)
    if rows != train.n_rows:
        raise DataError(_fitted_on_other_data(ensemble, f"{rows} rows, not {train.n_rows}"))
    width = train.x.shape[1] if len(train.x.shape) > 1 else 1
    columns = getattr(ensemble, "n_features_in_", width)
    if columns != width:
        raise DataError(_fitted_on_other_data(ensemble, f"{columns} features, not {width}"))
    names = getattr(ensemble, "feature_names_in_", None)
    if is_frame(train.x) and names is not None and list(names) != list(train.x.columns):
        raise DataError(_fitted_on_other_data(ensemble, f"the columns {list(names)}"))
    if hasattr(ensemble, "classes_"):
        known, here = np.sort(np.asarray(ensemble.classes_)), np.unique(train.y)
        if not np.array_equal(known, here):
            seen = f"the classes {known.tolist()}, not {here.tolist()}"
            raise DataError(_fitted_on_other_data(ensemble, seen))


def _fitted_on_other_data(ensemble: Any, what: str) -> str:
    return (
        f"the {type(ensemble).__name__} was fitted on {what}: fit it on the data to value, or pass "
        "it unfitted"
    )


def _as_models_take_it(ensemble: Any, x: Any) -> Any:
    """Return the features as the ensemble hands them to its base models, converted once."""
    models = ensemble.estimators_
    if hasattr(models[0], "feature_names_in_"):
        return x
    if all(is_tree(model) for model in models):
        layout: dict[str, Any] = {"dtype": np.float32, "order": "C"}
    else:
        layout = {"dtype": None, "ensure_2d": False, "allow_nd": True}
    # Missing values were for the ensemble to refuse.
    with config_context(assume_finite=True):
        return check_array(x, accept_sparse="csr", **layout)
