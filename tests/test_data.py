from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression

from dvl_core import Dataset
from dvl_core.data import take_rows
from dvl_core.errors import DataError, InvalidOptionError

X = np.arange(12.0).reshape(6, 2)
Y = np.array([0, 1, 0, 1, 0, 1])


def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "size": [1.0, 2.0, np.nan, 4.0],
            "colour": ["red", "blue", "red", None],
            "shape": pd.Categorical(["round", "flat", "flat", "round"]),
            "label": ["yes", "no", "yes", "no"],
        }
    )


def test_players_are_rows_without_groups() -> None:
    data = Dataset(X, Y)
    assert len(data) == data.n_rows == 6
    assert data.groups is None
    np.testing.assert_array_equal(data.indices, np.arange(6))
    np.testing.assert_array_equal(data.names, np.arange(6))
    assert data.feature_names == ("x0", "x1")
    assert data.target_names == ()


def test_groups_are_players_in_order_of_first_appearance() -> None:
    data = Dataset(X, Y, groups=["z", "a", "z", "m", "a", "z"])
    assert len(data) == 3
    assert data.names.tolist() == ["z", "a", "m"]
    np.testing.assert_array_equal(data.groups, [0, 1, 0, 2, 1, 0])


@pytest.mark.parametrize(
    "groups", [[3, 1, 3], np.array(["b", "a", "b"]), pd.Series(["b", "a", "b"])]
)
def test_labels_of_groups_of_any_kind(groups: object) -> None:
    assert len(Dataset(np.eye(3), [0, 1, 0], groups=groups)) == 2


def test_names_default_to_the_index_of_a_frame() -> None:
    x = pd.DataFrame({"a": [1, 2]}, index=["first", "second"])
    assert Dataset(x, [0, 1]).names.tolist() == ["first", "second"]


@pytest.mark.parametrize(
    "names", [["u", 2, None], [("a", 1), ("b", 2), ("c", 3)], pd.Index(list("uvw"))]
)
def test_names_hold_no_objects(names: object) -> None:
    assert Dataset(np.eye(3), [0, 1, 0], names=names).names.dtype.kind == "U"


def test_unpacking_and_fit() -> None:
    data = Dataset([[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0])
    assert LinearRegression().fit(*data).coef_[0] == pytest.approx(2)
    model = LinearRegression()
    assert data.fit(model) is model
    assert model.intercept_ == pytest.approx(1)


def test_fit_returns_the_model_even_if_its_fit_returns_nothing() -> None:
    class Silent:
        def fit(self, x: np.ndarray, y: np.ndarray) -> None:
            self.mean = y.mean()

    assert Dataset(X, Y).fit(Silent()).mean == 0.5


def test_rows_of_a_mask_keep_the_order_of_the_data() -> None:
    data = Dataset(X, Y, groups=["z", "a", "z", "m", "a", "z"])
    assert data.rows(np.array([True, True, False])).tolist() == [0, 1, 2, 4, 5]
    assert data.rows(np.ones(3, dtype=bool)).tolist() == [0, 1, 2, 3, 4, 5]
    assert data.rows(np.zeros(3, dtype=bool)).tolist() == []


def test_rows_of_numbers_follow_the_numbers() -> None:
    data = Dataset(X, Y, groups=["z", "a", "z", "m", "a", "z"])
    assert data.rows([2, 0]).tolist() == [3, 0, 2, 5]
    assert Dataset(X, Y).rows([4, 1]).tolist() == [4, 1]
    assert data.rows([]).tolist() == []


def test_select_keeps_the_given_order_and_the_names() -> None:
    data = Dataset(X, Y, names=list("abcdef")).select([4, 1])
    assert data.names.tolist() == ["e", "b"]
    np.testing.assert_array_equal(data.x, X[[4, 1]])
    grouped = Dataset(X, Y, groups=["z", "a", "z", "m", "a", "z"]).select([2, 0])
    assert grouped.names.tolist() == ["m", "z"]
    assert grouped.n_rows == 4
    np.testing.assert_array_equal(grouped.groups, [0, 1, 1, 1])


def test_drop_indices_by_number_and_by_mask() -> None:
    data = Dataset(X, Y)
    dropped = data.drop_indices(np.array([5, 0]))
    assert dropped.names.tolist() == [1, 2, 3, 4]
    np.testing.assert_array_equal(dropped.y, Y[1:5])
    mask = np.array([True, False, False, False, False, True])
    assert data.drop_indices(mask).digest == dropped.digest
    assert data.drop_indices([]).digest == data.digest
    assert len(data) == 6


def test_dropping_again_keeps_original_names() -> None:
    assert Dataset(X, Y).drop_indices([0]).drop_indices([0]).names.tolist() == [2, 3, 4, 5]


@pytest.mark.parametrize(
    ("indices", "words"),
    [
        ([0, 0], "player 0 is given more than once"),
        ([6], "no player 6: they are numbered 0 to 5"),
        ([-1], "no player -1"),
        ([0.5], "whole numbers"),
        ([[0, 1]], "whole numbers"),
        (np.ones(5, dtype=bool), "mask of shape"),
        (range(6), "is left"),
    ],
)
def test_bad_drops(indices: object, words: str) -> None:
    if isinstance(indices, np.ndarray):
        with pytest.raises(DataError, match=words):
            Dataset(X, Y).select(indices)
        return
    with pytest.raises(DataError, match=words):
        Dataset(X, Y).drop_indices(indices)


def test_bad_mask_to_drop() -> None:
    with pytest.raises(DataError, match="mask of shape"):
        Dataset(X, Y).drop_indices(np.ones(5, dtype=bool))


@pytest.mark.parametrize(
    ("x", "y", "options", "words"),
    [
        (np.zeros((0, 2)), [], {}, "no rows"),
        ([], [], {}, "no rows"),
        (np.zeros((3, 0)), [1, 2, 3], {}, "no features"),
        ([[1, 2], [3]], [0, 1], {}, "ragged: row 0 has 2 entries, row 1 has 1"),
        ([[1, 2], 3], [0, 1], {}, "ragged: row 0 has 2 entries, row 1 has none"),
        (np.arange(3.0), [0, 1, 0], {}, "reshape"),
        (3.0, [0], {}, "must be an array"),
        (np.array(3.0), [0], {}, "table of rows"),
        (X, [0, 1], {}, "x has 6 rows but y has 2"),
        (X, np.zeros((6, 2, 2)), {}, "one or two dimensions"),
        (X, [[0], [1, 2], [0], [0], [0], [0]], {}, "y is ragged"),
        (X, [0, 1, np.nan, 1, np.nan, 1], {}, "missing or infinite in 2 of 6 rows .* row 2"),
        (X, [0, 1, np.inf, 1, 0, 1], {}, "row 2"),
        (X, ["a", "b", None, "a", "b", "a"], {}, "row 2"),
        (X, pd.array([1, 2, None, 4, 5, 6], dtype="Int64"), {}, "row 2"),
        (X, Y, {"names": ["a"]}, "6 players but names"),
        (X, Y, {"groups": [1, 2]}, "groups must hold one label"),
        (X, Y, {"groups": ["a", None, "a", "b", "b", "b"]}, "row 1 has no group"),
        (X, Y, {"feature_names": ["only"]}, "2 features but 1 feature names"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), [1], {}, "more than one column named 'a'"),
    ],
)
def test_bad_data(x: object, y: object, options: dict[str, object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        Dataset(x, y, **options)


def test_targets_become_plain_arrays() -> None:
    assert Dataset(X, Y[:, None]).y.shape == (6,)
    assert Dataset(X, np.column_stack([Y, Y])).y.shape == (6, 2)
    assert Dataset(X, pd.Series(list("abcabc"), dtype=object)).y.dtype.kind == "U"
    assert Dataset(X, pd.Categorical(list("abcabc"))).y.dtype.kind == "U"
    assert Dataset(X, pd.array([1, 2, 3, 4, 5, 6], dtype="Int64")).y.dtype.kind == "i"
    assert Dataset(X, pl.Series([1, 2, 3, 4, 5, 6])).y.tolist() == [1, 2, 3, 4, 5, 6]
    assert Dataset(X, [True, False] * 3).y.dtype == bool


def test_features_of_every_kind() -> None:
    assert isinstance(Dataset(frame(), Y[:4]).x, pd.DataFrame)
    assert Dataset(sparse.coo_matrix(X), Y).x.format == "csr"
    assert Dataset(X.tolist(), Y).x.dtype == float
    texts = Dataset(["short", "a longer text"], [0, 1])
    assert texts.x.dtype == object
    assert texts.select([1]).x.tolist() == ["a longer text"]
    assert texts.feature_names == ()
    images = Dataset(np.zeros((2, 3, 3)), [0, 1])
    assert images.x.shape == (2, 3, 3)


def test_polars_becomes_pandas() -> None:
    table = pl.DataFrame(
        {
            "number": [1, None, 3],
            "word": ["x", None, "z"],
            "kind": pl.Series(["u", "v", "u"], dtype=pl.Categorical),
            "level": pl.Series(["lo", "hi", "lo"], dtype=pl.Enum(["lo", "mid", "hi"])),
            "flag": [True, False, True],
            "label": ["no", "yes", "no"],
        }
    )
    for polars in (table, table.lazy()):
        data = Dataset.from_frame(polars, "label")
        assert isinstance(data.x, pd.DataFrame)
        assert data.feature_names == ("number", "word", "kind", "level", "flag")
        assert data.x["number"].isna().tolist() == [False, True, False]
        assert data.x["kind"].tolist() == ["u", "v", "u"]
        assert data.x["level"].cat.categories.tolist() == ["lo", "mid", "hi"]
        assert data.y.tolist() == ["no", "yes", "no"]


@pytest.mark.parametrize("x", [X, X.tolist(), sparse.csr_matrix(X), pd.DataFrame(X)])
def test_take_rows_copies(x: object) -> None:
    before = Dataset(x, Y).digest
    taken = take_rows(x, np.array([3, 1]))
    kind = type(taken)
    assert kind is type(x)
    values = taken.toarray() if sparse.issparse(taken) else np.asarray(taken)
    np.testing.assert_array_equal(values, X[[3, 1]])
    if isinstance(taken, np.ndarray):
        taken[:] = -1
    assert Dataset(x, Y).digest == before


def test_from_sklearn_splits() -> None:
    train, test = Dataset.from_sklearn(load_iris(), train_size=0.6, random_state=1, stratify=True)
    assert (len(train), len(test)) == (90, 60)
    assert np.bincount(train.y).tolist() == [30, 30, 30]
    assert train.target_names == ("setosa", "versicolor", "virginica")
    assert train.feature_names[0] == "sepal length (cm)"
    assert not set(train.names.tolist()) & set(test.names.tolist())
    whole = load_iris()
    np.testing.assert_array_equal(train.x, whole.data[train.names])
    again, _ = Dataset.from_sklearn(load_iris(), train_size=0.6, random_state=1, stratify=True)
    assert again.digest == train.digest


def test_from_sklearn_with_a_frame_keeps_it() -> None:
    train, _ = Dataset.from_sklearn(load_iris(as_frame=True), train_size=10)
    assert isinstance(train.x, pd.DataFrame)
    assert len(train) == 10
    assert train.feature_names[0] == "sepal length (cm)"


def test_from_sklearn_wants_a_bunch() -> None:
    with pytest.raises(DataError, match="`data` and `target`"):
        Dataset.from_sklearn({"x": 1})
    with pytest.raises(DataError, match="`data` and `target`"):
        Dataset.from_sklearn(X)


def test_from_arrays_with_groups_splits_rows() -> None:
    groups = np.arange(100) % 7
    x = np.arange(100.0)[:, None]
    train, test = Dataset.from_arrays(x, np.arange(100), 0.5, random_state=0, groups=groups)
    assert train.n_rows == test.n_rows == 50
    assert len(train) == len(test) == 7
    for part in (train, test):
        np.testing.assert_array_equal(part.names[part.groups], part.x[:, 0] % 7)


@pytest.mark.parametrize("train_size", [0.0, 1.0, -0.1, 6, 0, True, np.nan])
def test_bad_train_size(train_size: float) -> None:
    with pytest.raises(InvalidOptionError, match="train_size must be"):
        Dataset.from_arrays(X, Y, train_size)


def test_stratify_with_too_few_rows_of_a_class() -> None:
    with pytest.raises(DataError, match="cannot be split"):
        Dataset.from_arrays(X, [0, 0, 0, 0, 0, 1], 0.5, stratify=True)
    with pytest.raises(DataError, match="one row"):
        Dataset.from_arrays(X[:1], Y[:1])


def test_from_frame_groups_and_drops() -> None:
    full = frame().fillna({"colour": "blue"})
    data = Dataset.from_frame(full, "label", group_by="colour", drop=["shape"])
    assert data.feature_names == ("size",)
    assert data.names.tolist() == ["red", "blue"]
    assert len(data) == 2


def test_from_frame_with_several_targets() -> None:
    data = Dataset.from_frame(pd.DataFrame({"a": [1, 2], "b": [3, 4], "c": [5, 6]}), ["b", "c"])
    assert data.y.tolist() == [[3, 5], [4, 6]]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target": "lable"}, "no column 'lable'; did you mean 'label'"),
        ({"target": "zzz"}, "no column 'zzz'; there are: size, colour, shape, label"),
        ({"target": "label", "group_by": "color"}, "did you mean 'colour'"),
        ({"target": "label", "drop": ["siz"]}, "did you mean 'size'"),
        ({"target": "label", "drop": ["size", "colour", "shape"]}, "no features are left"),
        ({"target": "label", "group_by": "colour"}, "row 3 has no group"),
    ],
)
def test_bad_columns(options: dict[str, object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        Dataset.from_frame(frame(), **options)


def test_from_frame_wants_a_frame() -> None:
    with pytest.raises(DataError, match="pandas or polars frame, got ndarray"):
        Dataset.from_frame(X, "label")


def test_inputs_are_not_changed() -> None:
    table = frame()
    before = table.copy(deep=True)
    data = Dataset.from_frame(table, "label")
    data.drop_indices([0]).select([1])
    pd.testing.assert_frame_equal(table, before)


def test_memory_mapped_arrays_stay_so(tmp_path: object) -> None:
    path = f"{tmp_path}/x.npy"
    np.save(path, X)
    mapped = np.load(path, mmap_mode="r")
    data = Dataset(mapped, Y)
    assert data.x is mapped
    assert data.digest == Dataset(X, Y).digest
    assert type(take_rows(data.x, np.array([0, 2]))) is np.ndarray


def test_digest_follows_content() -> None:
    base = Dataset(X, Y)
    assert base.digest == Dataset(X.copy(order="F"), Y.tolist()).digest
    assert base.digest == Dataset(X, Y, names=list("abcdef")).digest
    changed = X.copy()
    changed[3, 1] += 1e-12
    others = [
        Dataset(changed, Y),
        Dataset(X, 1 - Y),
        Dataset(X, Y.astype(float)),
        Dataset(X.astype(np.float32), Y),
        Dataset(X.reshape(6, 1, 2), Y),
        Dataset(X, Y, groups=[0, 0, 1, 1, 2, 2]),
        Dataset(X, Y, groups=[0, 0, 0, 1, 2, 2]),
        Dataset(X, Y, feature_names=["a", "b"]),
        Dataset(pd.DataFrame(X), Y),
        Dataset(sparse.csr_matrix(X), Y),
    ]
    assert len({base.digest, *(other.digest for other in others)}) == len(others) + 1


def test_digest_of_frames_with_texts_and_categories() -> None:
    base = Dataset.from_frame(frame(), "label")
    assert base.digest == Dataset.from_frame(frame(), "label").digest
    for column, value in [("size", 9.0), ("colour", "green"), ("shape", "flat")]:
        table = frame()
        table.loc[0, column] = value
        assert Dataset.from_frame(table, "label").digest != base.digest
    levels = frame()
    levels["shape"] = levels["shape"].cat.add_categories("square")
    assert Dataset.from_frame(levels, "label").digest != base.digest
    as_text = frame().astype({"shape": str})
    assert Dataset.from_frame(as_text, "label").digest != base.digest


def test_digest_of_sparse_matrices_ignores_how_they_are_stored() -> None:
    dense = np.array([[0, 1.0, 2.0], [3.0, 0, 0]])
    csr = sparse.csr_matrix(dense)
    shuffled = sparse.csr_matrix(
        (np.array([2.0, 1.0, 3.0]), np.array([2, 1, 0]), np.array([0, 2, 3])), shape=(2, 3)
    )
    assert Dataset(csr, [0, 1]).digest == Dataset(shuffled, [0, 1]).digest
    assert Dataset(csr, [0, 1]).digest != Dataset(csr * 2, [0, 1]).digest


def test_digest_of_what_cannot_be_told() -> None:
    with pytest.raises(DataError, match="cannot be digested"):
        _ = Dataset([(i for i in range(2)), (i for i in range(3))], [0, 1]).digest


def test_pickle_round_trip() -> None:
    data = Dataset(X, Y, groups=["a", "a", "b", "b", "c", "c"])
    copy = pickle.loads(pickle.dumps(data))  # noqa: S301
    assert copy.digest == data.digest
    assert copy.names.tolist() == data.names.tolist()


def test_repr_tells_sizes() -> None:
    assert repr(Dataset(X, Y)) == "Dataset(6 rows, 2 features (ndarray), y int64)"
    grouped = repr(Dataset(X, Y, groups=[0, 0, 1, 1, 1, 1]))
    assert grouped == "Dataset(2 groups of 6 rows, 2 features (ndarray), y int64)"
    assert "DataFrame" in repr(Dataset(frame(), Y[:4]))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_select_and_drop_are_complements(data: st.DataObject) -> None:
    n_rows = data.draw(st.integers(2, 12))
    groups = data.draw(
        st.one_of(st.none(), st.lists(st.integers(0, 4), min_size=n_rows, max_size=n_rows))
    )
    x = np.arange(float(n_rows))[:, None]
    whole = Dataset(x, np.arange(n_rows), groups=groups)
    chosen = data.draw(st.lists(st.integers(0, len(whole) - 1), unique=True, min_size=1))
    selected = whole.select(chosen)
    assert selected.names.tolist() == whole.names[chosen].tolist()
    assert selected.x[:, 0].tolist() == whole.rows(chosen).tolist()
    mask = np.zeros(len(whole), dtype=bool)
    mask[chosen] = True
    assert sorted(whole.rows(chosen).tolist()) == whole.rows(mask).tolist()
    if len(chosen) < len(whole):
        rest = whole.drop_indices(chosen)
        assert sorted([*rest.y.tolist(), *selected.y.tolist()]) == list(range(n_rows))
        assert rest.names.tolist() == whole.names[~mask].tolist()


def test_iris_to_model() -> None:
    train, test = Dataset.from_sklearn(load_iris(), train_size=0.6, random_state=0)
    model = train.fit(LogisticRegression(max_iter=500))
    assert model.score(*test) > 0.9
    train, test = Dataset.from_sklearn(load_diabetes(), train_size=0.6, random_state=0)
    assert train.fit(LinearRegression()).score(*test) > 0.3
