"""Data-OOB against a plain recomputation, and where peers go wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris, make_classification, make_regression
from sklearn.ensemble import (
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from dvl_core.backends import JoblibBackend, SerialBackend
from dvl_core.data import Dataset
from dvl_core.errors import DataError, DvlWarning, InvalidOptionError
from dvl_oob import DataOOBValuation

NAMES = np.array(["setosa", "versicolor", "virginica"])


def labelled() -> Dataset:
    x, y = load_iris(return_X_y=True)
    return Dataset(x, NAMES[y])


def recomputed(model: object, data: Dataset) -> np.ndarray:
    """Mean out-of-bag score by the public interface of the ensemble, one model after the other."""
    total, count = np.zeros(len(data)), np.zeros(len(data))
    columns = getattr(model, "estimators_features_", [np.arange(data.x.shape[1])] * 10**4)
    for tree, sample, features in zip(
        model.estimators_, model.estimators_samples_, columns, strict=False
    ):
        rows = np.setdiff1d(np.arange(len(data)), sample)
        predicted = tree.predict(data.x[rows][:, features])
        if hasattr(model, "classes_"):
            total[rows] += model.classes_[predicted.astype(int)] == data.y[rows]
        else:
            total[rows] -= (predicted - data.y[rows]) ** 2
        count[rows] += 1
    return total / count


@pytest.mark.parametrize(
    "model",
    [
        RandomForestClassifier(40, random_state=0),
        RandomForestClassifier(40, max_samples=0.3, random_state=0),
        ExtraTreesClassifier(40, bootstrap=True, random_state=0),
        BaggingClassifier(n_estimators=30, random_state=0),
        BaggingClassifier(n_estimators=30, max_features=0.5, random_state=0),
        BaggingClassifier(n_estimators=30, max_samples=0.5, bootstrap=False, random_state=0),
        BaggingClassifier(LogisticRegression(max_iter=500), n_estimators=30, random_state=0),
        BaggingClassifier(LinearSVC(random_state=0), n_estimators=30, random_state=0),
    ],
    ids=repr,
)
def test_string_labels_and_feature_bagging(model: object) -> None:
    data = labelled()
    fitted = model.fit(data.x, data.y)
    result = DataOOBValuation(fitted).fit(data).result
    np.testing.assert_allclose(result.values, recomputed(fitted, data), rtol=1e-12)
    assert result.values.mean() > 0.8


@pytest.mark.parametrize(
    "model",
    [RandomForestRegressor(40, random_state=0), BaggingRegressor(n_estimators=40, random_state=0)],
    ids=repr,
)
def test_regression(model: object) -> None:
    x, y = make_regression(120, 4, random_state=0)
    data = Dataset(x, y)
    fitted = model.fit(x, y)
    result = DataOOBValuation(fitted).fit(data).result
    np.testing.assert_allclose(result.values, recomputed(fitted, data), rtol=1e-9)
    assert (result.values < 0).all()


def test_standard_errors_are_those_of_the_mean_over_models() -> None:
    data = labelled()
    model = RandomForestClassifier(60, random_state=1).fit(*data)
    result = DataOOBValuation(model).fit(data).result
    scores = [[] for _ in range(len(data))]
    for tree, sample in zip(model.estimators_, model.estimators_samples_, strict=True):
        for row in np.setdiff1d(np.arange(len(data)), sample):
            predicted = model.classes_[int(tree.predict(data.x[row : row + 1])[0])]
            scores[row].append(float(predicted == data.y[row]))
    assert result.counts.tolist() == [len(s) for s in scores]
    expected = [np.std(s, ddof=1) / np.sqrt(len(s)) for s in scores]
    np.testing.assert_allclose(result.stderr, expected, atol=1e-12)


def test_an_unfitted_model_is_fitted_on_a_copy_with_the_seed() -> None:
    data = labelled()
    model = RandomForestClassifier(30)
    first = DataOOBValuation(model, seed=4).fit(data).result
    again = DataOOBValuation(model, seed=4).fit(data).result
    other = DataOOBValuation(model, seed=5).fit(data).result
    assert first.values.tobytes() == again.values.tobytes()
    assert first.values.tobytes() != other.values.tobytes()
    assert not hasattr(model, "estimators_")


def test_frames_need_no_names_in_base_models(recwarn: pytest.WarningsRecorder) -> None:
    data = labelled()
    frame = pd.DataFrame(data.x, columns=list("abcd"))
    for model in (RandomForestClassifier(20), BaggingClassifier(n_estimators=10)):
        plain = DataOOBValuation(model, seed=0).fit(data).result
        framed = DataOOBValuation(model, seed=0).fit(Dataset(frame, data.y)).result
        np.testing.assert_array_equal(plain.values, framed.values)
    assert not [w for w in recwarn if "feature names" in str(w.message)]


def test_a_score_of_ones_own() -> None:
    def absolute(y_true: np.ndarray, y_predicted: np.ndarray) -> np.ndarray:
        return -np.abs(y_true - y_predicted)

    x, y = make_regression(60, 3, random_state=0)
    result = DataOOBValuation(RandomForestRegressor(20), score=absolute, seed=0).fit(Dataset(x, y))
    squared = DataOOBValuation(RandomForestRegressor(20), seed=0).fit(Dataset(x, y))
    assert (result.result.values > squared.result.values).mean() > 0.5


def test_rows_that_are_never_out_of_bag_have_no_value() -> None:
    data = labelled()
    with pytest.warns(DvlWarning, match="have no value"):
        result = DataOOBValuation(RandomForestClassifier(2), seed=0).fit(data).result
    assert np.isnan(result.values[result.counts == 0]).all()
    assert (result.counts == 0).any()


def test_backends_and_checkpoints_change_no_bit(tmp_path: Path) -> None:
    data = labelled()
    values = [
        DataOOBValuation(RandomForestClassifier(50), seed=1, backend=backend, checkpoint=path)
        .fit(data)
        .result.values.tobytes()
        for backend, path in [
            (SerialBackend(), None),
            (JoblibBackend(2, "threading"), None),
            (JoblibBackend(2, "loky"), None),
            (None, tmp_path / "c.npz"),
            (None, tmp_path / "c.npz"),
        ]
    ]
    assert len(set(values)) == 1


def test_flipped_labels_have_low_values() -> None:
    x, y = make_classification(400, 6, n_informative=5, n_redundant=0, class_sep=2, random_state=1)
    flipped = np.random.default_rng(0).choice(400, 40, replace=False)
    y[flipped] = 1 - y[flipped]
    valuation = DataOOBValuation(RandomForestClassifier(100), seed=0).fit(Dataset(x, y))
    lowest = valuation.values(sort=True)[:80].indices
    assert len(set(flipped) & set(lowest)) >= 34


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (LogisticRegression(), "needs an ensemble"),
        (GradientBoostingClassifier(), "keeps its bootstrap samples"),
        (RandomForestClassifier, "needs an ensemble"),
        ("forest", "needs an ensemble"),
        (ExtraTreesClassifier(), "bootstrap=True"),
    ],
)
def test_unsuitable_models_are_refused(model: object, message: str) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        DataOOBValuation(model)


def test_a_model_fitted_on_other_data_is_refused() -> None:
    data = labelled()
    model = RandomForestClassifier(10).fit(*data)
    with pytest.raises(DataError, match="fitted on 150 rows"):
        DataOOBValuation(model).fit(data.drop_indices([0]))


def test_groups_are_refused() -> None:
    data = labelled()
    with pytest.raises(DataError, match="groups"):
        DataOOBValuation(RandomForestClassifier()).fit(
            Dataset(data.x, data.y, groups=np.arange(150) // 2)
        )
