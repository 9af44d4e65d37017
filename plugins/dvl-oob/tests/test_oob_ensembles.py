"""Which ensembles and data Data-OOB takes, and what it says of the others."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.ensemble import (
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from dvl_core.data import Dataset
from dvl_core.errors import DataError, InvalidOptionError
from dvl_core.options import parse_option
from dvl_oob import DataOOBValuation
from dvl_oob.ensembles import BaseModels

FLOWERS = Dataset(*load_iris(return_X_y=True))
SHORT_TREE = DecisionTreeClassifier(max_depth=2)


def values(model: Any, data: Dataset = FLOWERS, **options: Any) -> np.ndarray:
    return DataOOBValuation(model, seed=0, **options).fit(data).result.values


@pytest.mark.parametrize(
    "model",
    [
        RandomForestClassifier(7, random_state=0),
        ExtraTreesClassifier(7, bootstrap=True, max_samples=40, random_state=0),
        BaggingClassifier(n_estimators=7, max_features=2, random_state=0),
        BaggingClassifier(n_estimators=7, max_samples=0.2, bootstrap=False, random_state=0),
    ],
    ids=repr,
)
def test_bags_drawn_one_at_a_time_are_those_of_the_ensemble(model: Any) -> None:
    weights = np.random.default_rng(0).random(150)
    for sample_weight in (None, weights) if model.bootstrap else (None,):
        model.fit(*FLOWERS, sample_weight=sample_weight)
        models = BaseModels.of(model, FLOWERS)
        assert models.kept_bags is None
        for number, bag in enumerate(model.estimators_samples_):
            assert_array_equal(models.bag(number), bag)


def test_memory_does_not_hold_all_bags() -> None:
    x = np.arange(10_000.0)[:, None]
    data = Dataset(x, x[:, 0] > 4_000)
    model = data.fit(BaggingClassifier(DecisionTreeClassifier(max_depth=1), n_estimators=80))
    all_bags = sum(bag.nbytes for bag in model.estimators_samples_)
    tracemalloc.start()
    values(model, data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.6 * all_bags


def test_frames_need_no_names_in_base_models(recwarn: pytest.WarningsRecorder) -> None:
    frame = pd.DataFrame(FLOWERS.x, columns=list("abcd"))
    for model in (
        RandomForestClassifier(40),
        BaggingClassifier(make_pipeline(StandardScaler(), SHORT_TREE), n_estimators=40),
    ):
        assert_array_equal(values(model), values(model, Dataset(frame, FLOWERS.y)))
    assert not [w for w in recwarn if "feature names" in str(w.message)]


def test_frames_of_texts_reach_pipelines() -> None:
    frame = pd.DataFrame({"colour": ["red", "blue"] * 30, "size": np.arange(60) % 3})
    labels = np.where(frame["colour"] == "red", "warm", "cold")
    encoder = OneHotEncoder(handle_unknown="ignore")
    model = BaggingClassifier(make_pipeline(encoder, SHORT_TREE), n_estimators=40)
    assert (values(model, Dataset(frame, labels)) == 1).all()


@pytest.mark.parametrize(
    "model",
    [
        RandomForestClassifier(40),
        BaggingClassifier(n_estimators=40, max_features=2),
        BaggingClassifier(make_pipeline(StandardScaler(with_mean=False), SHORT_TREE), 40),
    ],
    ids=repr,
)
def test_sparse_features(model: Any) -> None:
    data = Dataset(sparse.csr_array(FLOWERS.x), FLOWERS.y)
    for score in ("accuracy", "log-likelihood"):
        assert_allclose(values(model, data, score=score), values(model, score=score))


def test_missing_features_are_left_to_the_trees() -> None:
    x = FLOWERS.x.copy()
    x[::3, 0] = np.nan
    data = Dataset(x, FLOWERS.y)
    model = data.fit(RandomForestClassifier(30, oob_score=True, random_state=0))
    assert values(model, data).mean() == pytest.approx(model.oob_score_, abs=0.05)


def test_warm_start() -> None:
    forest = RandomForestClassifier(10, warm_start=True, random_state=0).fit(*FLOWERS)
    forest.set_params(n_estimators=40).fit(*FLOWERS)
    at_once = RandomForestClassifier(40, random_state=0).fit(*FLOWERS)
    assert_array_equal(values(forest), values(at_once))
    bagging = BaggingClassifier(n_estimators=10, warm_start=True).fit(*FLOWERS)
    bagging.set_params(n_estimators=25).fit(*FLOWERS)
    with pytest.raises(DataError, match="25 base models but knows the bags of 15 only"):
        DataOOBValuation(bagging).fit(FLOWERS)


class Stranger:
    """An ensemble of another package, whose base models know the labels, or codes of them."""

    def __init__(self, encode: bool, base: Any = SHORT_TREE) -> None:
        self.encode = encode
        self.base = base

    def fit(self, x: np.ndarray, y: np.ndarray) -> Stranger:
        rng = np.random.default_rng(0)
        self.classes_, codes = np.unique(y, return_inverse=True)
        self.estimators_samples_ = [rng.integers(0, len(y), len(y)) for _ in range(40)]
        target = codes if self.encode else y
        self.estimators_ = [
            clone(self.base).fit(x[bag], target[bag]) for bag in self.estimators_samples_
        ]
        return self


@pytest.mark.parametrize("labels", [np.array([1, 2, 3]), np.array(["a", "b", "c"])])
@pytest.mark.parametrize("base", [KNeighborsClassifier(1), DecisionTreeClassifier(random_state=0)])
def test_ensembles_of_other_packages(labels: np.ndarray, base: Any) -> None:
    data = Dataset(FLOWERS.x, labels[FLOWERS.y])
    for encode in (False, True):
        model = data.fit(Stranger(encode, base))
        unseen = [~np.isin(np.arange(150), bag) for bag in model.estimators_samples_]
        target = FLOWERS.y if encode else data.y
        right = [base.predict(data.x) == target for base in model.estimators_]
        expected = np.sum(np.array(right) & unseen, axis=0) / np.sum(unseen, axis=0)
        assert_allclose(values(model, data), expected)
        # The probabilities of these models are 0 and 1.
        likelihood = values(model, data, score="log-likelihood")
        assert_allclose(likelihood, (1 - expected) * np.log(1e-6), atol=1e-12)


def test_an_ensemble_of_another_package_with_other_rows_is_refused() -> None:
    model = Stranger(True).fit(*FLOWERS)
    with pytest.raises(DataError, match="fitted on more rows"):
        DataOOBValuation(model).fit(FLOWERS.select(np.arange(120)))


class ThinningForest(RandomForestClassifier):
    """Draws its bags from half of the rows, of which estimators_samples_ knows nothing."""

    def fit(self, x: np.ndarray, y: np.ndarray) -> ThinningForest:
        super().fit(x[::2], y[::2])
        self._n_samples = self._n_samples_bootstrap = len(y)
        return self


def test_bags_that_are_not_those_of_the_trees_are_refused() -> None:
    with pytest.raises(DataError, match="do not belong together"):
        DataOOBValuation(ThinningForest(10)).fit(FLOWERS)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (LogisticRegression(), "keeps its bootstrap samples"),
        (GradientBoostingClassifier(), "keeps its bootstrap samples"),
        (RandomForestClassifier, "needs an ensemble"),
        ("forest", "needs an ensemble"),
        (IsolationForest(), "predicts the target"),
        (ExtraTreesClassifier(), "bootstrap=True"),
        (BaggingClassifier(bootstrap=False), "bootstrap=True"),
    ],
)
def test_unsuitable_models_are_refused(model: Any, message: str) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        DataOOBValuation(model)


def test_one_row_a_bag_is_not_all_rows() -> None:
    model = BaggingClassifier(bootstrap=False, max_samples=1, n_estimators=9)
    assert np.isfinite(values(model)).all()


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (RandomForestClassifier(), {"score": "r2"}, "score must be one of accuracy"),
        (RandomForestClassifier(), {"score": "squared-error"}, "is for regression"),
        (RandomForestRegressor(), {"score": "accuracy"}, "is for classifiers"),
        (BaggingClassifier(LinearSVC()), {"score": "log-likelihood"}, "LinearSVC has none"),
        (RandomForestClassifier(), {"probability_floor": 0.1}, "is for score='log-likelihood'"),
        (
            RandomForestClassifier(),
            {"score": "log-likelihood", "probability_floor": 0.0},
            "between 0 and 1",
        ),
    ],
)
def test_unsuitable_scores_are_refused_before_fitting(
    model: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        DataOOBValuation(model, **options)


def test_a_model_fitted_on_other_data_is_refused() -> None:
    model = RandomForestClassifier(10).fit(*FLOWERS)
    fewer = FLOWERS.drop_indices([0])
    narrower = Dataset(FLOWERS.x[:, :3], FLOWERS.y)
    relabelled = Dataset(FLOWERS.x, FLOWERS.y + 1)
    for data, message in [
        (fewer, "fitted on 150 rows, not 149"),
        (narrower, "fitted on 4 features, not 3"),
        (relabelled, r"the classes \[0, 1, 2\], not \[1, 2, 3\]"),
    ]:
        with pytest.raises(DataError, match=message):
            DataOOBValuation(model).fit(data)
    named = Dataset(pd.DataFrame(FLOWERS.x, columns=list("abcd")), FLOWERS.y)
    swapped = Dataset(named.x[list("bacd")], FLOWERS.y)
    with pytest.raises(DataError, match="the columns"):
        DataOOBValuation(RandomForestClassifier(10).fit(*named)).fit(swapped)


def test_several_targets_are_refused() -> None:
    data = Dataset(FLOWERS.x, FLOWERS.x[:, :2])
    with pytest.raises(DataError, match="one target, got 2"):
        DataOOBValuation(RandomForestRegressor()).fit(data)


def test_the_smallest_data() -> None:
    two = Dataset([[0.0], [1.0]], ["a", "b"])
    assert values(RandomForestClassifier(40), two).tolist() == [0.0, 0.0]
    numbers = Dataset([[0.0], [1.0]], [0.0, 3.0])
    assert values(BaggingRegressor(n_estimators=40), numbers).tolist() == [-9.0, -9.0]
    with pytest.raises(DataError, match="none is ever out of bag"):
        DataOOBValuation(RandomForestClassifier(5)).fit(Dataset([[0.0]], ["a"]))


def test_a_single_class() -> None:
    data = Dataset(np.arange(10.0)[:, None], ["a"] * 10)
    for model in (RandomForestClassifier(30), BaggingClassifier(KNeighborsClassifier(1), 30)):
        assert values(model, data).tolist() == [1.0] * 10
        assert values(model, data, score="log-likelihood").tolist() == [0.0] * 10


def test_options_of_the_command_line() -> None:
    assert parse_option(DataOOBValuation, "score", "log-likelihood") == "log-likelihood"
    assert parse_option(DataOOBValuation, "probability-floor", "0.01") == 0.01
    assert parse_option(DataOOBValuation, "whole-groups", "true") is True
