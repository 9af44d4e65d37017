"""Memory-mapped arrays, sparse matrices and frames, from the data set to the values."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from dvl_core import Dataset, MaxEvaluations, ModelUtility, SupervisedScorer
from dvl_core.backends import JoblibBackend, SerialBackend
from dvl_core.errors import DataError, UtilityError
from dvl_core.mapped import file_of, is_mapped
from dvl_core.protocols import Backend
from dvl_core.result import ValuationResult
from dvl_core.tabular import take_rows
from dvl_knn import KNNShapleyValuation
from dvl_oob import DataOOBValuation
from dvl_shapley import DataShapleyValuation, PermutationSampler

RNG = np.random.default_rng(3)
N = 20
X = RNG.normal(size=(N, 4)) * (RNG.random((N, 4)) < 0.7)
Y = (X[:, 0] + 0.2 * RNG.normal(size=N) > 0).astype(int)
X_TEST = RNG.normal(size=(40, 4))
Y_TEST = (X_TEST[:, 0] > 0).astype(int)
MIB = 1 << 20


def shapley(
    model: object, train: Dataset, test: Dataset, backend: Backend | None = None
) -> ValuationResult:
    utility = ModelUtility(model, SupervisedScorer("neg_log_loss", test))
    valuation = DataShapleyValuation(
        utility, PermutationSampler(), MaxEvaluations(60), seed=0, backend=backend
    )
    return valuation.fit(train).result


def on_disk(
    folder: Path, x: np.ndarray = X, order: str = "C", mode: str = "r", name: str = "x.npy"
) -> np.memmap:
    np.save(folder / name, np.asarray(x, order=order))
    return np.load(folder / name, mmap_mode=mode)


# Memory-mapped arrays


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_mapped_array_travels_by_its_file(tmp_path: Path, order: str) -> None:
    x = RNG.normal(size=(800, 1000))
    data = Dataset(on_disk(tmp_path, x, order), np.arange(800) % 2)
    sent = pickle.dumps(data)
    assert len(sent) < 30_000 < data.x.nbytes / 200
    arrived = pickle.loads(sent)  # noqa: S301
    assert is_mapped(arrived.x)
    assert not arrived.x.flags.writeable
    assert arrived.x.strides == data.x.strides
    np.testing.assert_array_equal(arrived.x, x)
    assert arrived.digest == data.digest == Dataset(x, data.y).digest
    assert len(pickle.dumps(arrived)) < 30_000


def resident_kilobytes(path: Path) -> int:
    """Return how much of a file this process holds in its mappings."""
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    return sum(
        int(next(line for line in lines if line.startswith("Rss:")).split()[1])
        for line in lines
        if line.endswith(str(path))
    )


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps"), reason="Linux tells the memory")
@pytest.mark.parametrize("read", ["rows", "digest"])
def test_pages_of_a_large_file_are_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: str
) -> None:
    x = RNG.normal(size=(2000, 128))
    data = Dataset(on_disk(tmp_path, x), np.arange(2000) % 2)
    held = {}
    for large in (x.nbytes + 1_000, x.nbytes):
        monkeypatch.setattr("dvl_core.mapped.LARGE", large)
        if read == "rows":
            rows = np.arange(1999, -1, -1)
            np.testing.assert_array_equal(take_rows(data.x, rows), x[::-1])
        else:
            assert Dataset(data.x, data.y).digest == Dataset(x, data.y).digest
        held[large] = resident_kilobytes(tmp_path / "x.npy")
    assert list(held.values()) == [pytest.approx(2000, abs=100), 0]
    np.testing.assert_array_equal(data.x, x)


def test_the_digest_of_chunks_holds_one_part_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zarr = pytest.importorskip("zarr")
    x = zarr.create_array(tmp_path / "x.zarr", shape=(4096, 256), dtype="f8", chunks=(64, 256))
    x[...] = 1.0
    monkeypatch.setattr("dvl_core.chunked.PART_BYTES", MIB)
    data = Dataset(x, np.arange(4096) % 2)
    tracemalloc.start()
    try:
        assert len(data.digest) == 32
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert MIB < peak < 5 * MIB < x.nbytes


def test_changes_of_a_private_mapping_are_not_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dvl_core.mapped.LARGE", 0)
    mapped = on_disk(tmp_path, mode="c")
    mapped[:] = 7.0
    np.testing.assert_array_equal(take_rows(mapped, np.array([3, 1])), np.full((2, X.shape[1]), 7))
    assert (mapped == 7).all()


def test_test_data_and_targets_travel_by_their_files_too(tmp_path: Path) -> None:
    x = on_disk(tmp_path, RNG.normal(size=(1000, 500)))
    y = on_disk(tmp_path, np.arange(1000) % 2, name="y.npy")
    names = [0] * 1000
    test = Dataset(x, y, groups=names)
    utility = ModelUtility(GaussianNB(), SupervisedScorer("accuracy", test)).with_data(test)
    assert len(pickle.dumps(utility)) < 40_000
    assert is_mapped(pickle.loads(pickle.dumps(test)).y)  # noqa: S301
    assert Dataset(X, Y).digest == pickle.loads(pickle.dumps(Dataset(X, Y))).digest  # noqa: S301


steps = st.sampled_from([1, 2, 3, -1, -2])


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_every_view_of_a_file_is_found_again(tmp_path: Path, data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 3)))
    dtype = data.draw(st.sampled_from(["<f8", "<f4", ">i2", "u1"]))
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    view = on_disk(tmp_path, array, data.draw(st.sampled_from("CF")))
    for _ in range(data.draw(st.integers(0, 3))):
        view = view[tuple(slice(None, None, data.draw(steps)) for _ in view.shape)]
        start = data.draw(st.integers(0, len(view) - 1))
        view = data.draw(st.sampled_from([view[start:], view.T, np.asarray(view)]))
        if data.draw(st.booleans()):
            found = file_of(view)
            assert found is not None
            view = found.open()
    found = file_of(view)
    assert found is not None
    opened = found.open()
    assert opened.dtype == view.dtype
    assert opened.strides == view.strides
    np.testing.assert_array_equal(opened, view)


def test_an_offset_into_a_raw_file(tmp_path: Path) -> None:
    numbers = np.arange(3000.0)
    (tmp_path / "raw").write_bytes(b"header " + numbers.tobytes())
    x = np.memmap(tmp_path / "raw", dtype=float, mode="r", offset=7, shape=(1000, 3))
    data = Dataset(x[100:900, 1:], np.arange(800))
    arrived = pickle.loads(pickle.dumps(data))  # noqa: S301
    np.testing.assert_array_equal(arrived.x, numbers.reshape(1000, 3)[100:900, 1:])


def test_slices_of_a_file_split_it_without_reading(tmp_path: Path) -> None:
    x = on_disk(tmp_path)
    train, test = Dataset(x[:12], Y[:12]), Dataset(x[12:], Y[12:])
    assert is_mapped(train.x)
    assert is_mapped(test.x)
    np.testing.assert_array_equal(copy.deepcopy(test).x, X[12:])
    assert type(train.select([3, 1]).x) is np.ndarray


def test_private_changes_travel_with_the_content(tmp_path: Path) -> None:
    x = on_disk(tmp_path, mode="c")
    x[0] = 7
    arrived = pickle.loads(pickle.dumps(Dataset(x, Y)))  # noqa: S301
    assert arrived.x[0].tolist() == [7, 7, 7, 7]
    assert np.load(tmp_path / "x.npy")[0].tolist() == X[0].tolist()


def test_a_file_without_a_name_travels_with_its_content(tmp_path: Path) -> None:
    data = Dataset(on_disk(tmp_path), Y)
    os.unlink(tmp_path / "x.npy")
    assert file_of(data.x) is None
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(data)).x, X)  # noqa: S301


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    sent = pickle.dumps(Dataset(on_disk(tmp_path), Y))
    (tmp_path / "x.npy").write_bytes(b"short")
    with pytest.raises(DataError, match=r"x\.npy.*every worker needs the file"):
        pickle.loads(sent)  # noqa: S301
    os.unlink(tmp_path / "x.npy")
    with pytest.raises(DataError, match=r"x\.npy.*every worker needs the file"):
        pickle.loads(sent)  # noqa: S301


def test_no_model_changes_a_file(tmp_path: Path) -> None:
    x = on_disk(tmp_path, mode="r+")
    data = Dataset(x, Y)
    assert np.shares_memory(data.x, x)
    assert x.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        data.fit(Clears())
    utility = ModelUtility(Clears(), SupervisedScorer("accuracy", data)).with_data(data)
    assert utility(np.ones((1, N), dtype=bool))[0] == np.mean(Y[0] == Y)
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), X)


class Clears(ClassifierMixin, BaseEstimator):
    """A model that writes into what it is fitted on."""

    def fit(self, x: np.ndarray, y: np.ndarray) -> Clears:
        x[:] = 0
        self.classes_ = np.unique(y)
        self.label_ = y[0]
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.full(len(x), self.label_)


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_whole_file_is_never_in_memory(tmp_path: Path, order: str) -> None:
    """The file is sparse on disk: 256 MiB of zeros but for a few rows."""
    n = 1 << 20
    x = np.lib.format.open_memmap(
        tmp_path / "x.npy", "w+", float, (n, 32), fortran_order=order == "F"
    )
    x[:20] = RNG.normal(size=(20, 32))
    y = np.zeros(n, dtype=np.int8)
    y[:10] = 1
    groups = np.minimum(np.arange(n), 20)
    data = Dataset(np.load(tmp_path / "x.npy", mmap_mode="r"), y, groups=groups)
    test = Dataset(data.x[:20], data.y[:20])
    utility = ModelUtility(GaussianNB(), SupervisedScorer("accuracy", test)).with_data(data)
    members = np.arange(21)[None] < 20
    tracemalloc.start()
    score = utility(members)
    arrived = pickle.loads(pickle.dumps(utility))  # noqa: S301
    again = arrived(members)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert score[0] > 0.8
    assert again[0] == score[0]
    assert peak < 64 * MIB < data.x.nbytes / 2


@pytest.mark.parametrize("backend", [SerialBackend(), JoblibBackend(2, "loky")], ids=repr)
@pytest.mark.parametrize("order", ["C", "F"])
def test_values_of_mapped_data_are_those_of_arrays(
    tmp_path: Path, order: str, backend: Backend
) -> None:
    model = LogisticRegression()
    expected = shapley(model, Dataset(X, Y), Dataset(X_TEST, Y_TEST), SerialBackend())
    train = Dataset(on_disk(tmp_path, X, order), Y)
    test = Dataset(on_disk(tmp_path, X_TEST, name="test.npy"), Y_TEST)
    result = shapley(model, train, test, backend)
    np.testing.assert_array_equal(result.values, expected.values)


# Sparse matrices

SPARSE = [
    sparse.csr_matrix,
    sparse.csc_matrix,
    sparse.coo_matrix,
    sparse.csr_array,
    sparse.csc_array,
    sparse.coo_array,
    sparse.lil_matrix,
    sparse.dok_array,
]


@pytest.mark.parametrize("make", SPARSE, ids=lambda make: make.__name__)
def test_sparse_matrices_from_data_to_values(make: Callable[..., object]) -> None:
    train, test = Dataset(make(X), Y), Dataset(make(X_TEST), Y_TEST)
    assert train.x.format == "csr"
    dense = shapley(LogisticRegression(), Dataset(X, Y), Dataset(X_TEST, Y_TEST))
    result = shapley(LogisticRegression(), train, test)
    np.testing.assert_allclose(result.values, dense.values, atol=1e-5)
    clean = train.drop_indices(result.sort()[:5].indices)
    assert LogisticRegression().fit(*clean).coef_.shape == (1, 4)
    np.testing.assert_array_equal(clean.fit(LogisticRegression()).classes_, [0, 1])
    again = Dataset(sparse.csr_matrix(X), Y)
    same_class = type(train.x) is sparse.csr_matrix
    assert (train.digest == again.digest) == same_class
    assert pickle.loads(pickle.dumps(train)).digest == train.digest  # noqa: S301


@pytest.mark.parametrize("make", [sparse.coo_matrix, sparse.csr_array], ids=lambda m: m.__name__)
def test_sparse_matrices_in_methods_that_read_models(make: Callable[..., object]) -> None:
    train, test = Dataset(make(X), Y), Dataset(make(X_TEST), Y_TEST)
    dense_train, dense_test = Dataset(X, Y), Dataset(X_TEST, Y_TEST)
    knn = KNNShapleyValuation(3, test).fit(train).result
    expected = KNNShapleyValuation(3, dense_test).fit(dense_train).result
    np.testing.assert_allclose(knn.values, expected.values, atol=1e-12)
    forest = RandomForestClassifier(20, random_state=0)
    oob = DataOOBValuation(forest).fit(train).result
    np.testing.assert_array_equal(
        oob.values, DataOOBValuation(forest).fit(dense_train).result.values
    )


def test_sparse_groups_split_and_workers() -> None:
    groups = np.arange(N) % 7
    train, test = Dataset.from_arrays(sparse.csc_array(X), Y, 15, random_state=1, groups=groups)
    serial = shapley(LogisticRegression(), train, test, SerialBackend())
    parallel = shapley(LogisticRegression(), train, test, JoblibBackend(2, "loky"))
    np.testing.assert_array_equal(serial.values, parallel.values)
    assert len(serial) == len(train)


# Frames


def houses() -> pd.DataFrame:
    rng = np.random.default_rng(8)
    table = pd.DataFrame(
        {
            "area": rng.normal(size=40).round(3),
            "city": rng.choice(["Ulm", "Bonn", "Köln"], 40),
            "heating": pd.Categorical(rng.choice(["gas", "oil"], 40), categories=["oil", "gas"]),
            "garden": rng.random(40) < 0.5,
        },
        index=[f"house-{i}" for i in range(40)],
    )
    table["sold"] = np.where(table["area"] + (table["city"] == "Ulm") > 0.4, "yes", "no")
    return table


def by_columns() -> object:
    encode = OneHotEncoder(handle_unknown="ignore")
    columns = ColumnTransformer(
        [("words", encode, ["city", "heating"]), ("rest", "passthrough", ["area", "garden"])]
    )
    return make_pipeline(columns, LogisticRegression())


def test_a_pandas_frame_through_a_pipeline_by_column_name() -> None:
    table = houses()
    train = Dataset.from_frame(table[:15], "sold")
    test = Dataset.from_frame(table[15:], "sold")
    result = shapley(by_columns(), train, test)
    assert result.names[:2].tolist() == ["house-0", "house-1"]
    assert np.ptp(result.values) > 0
    worst = result.sort()[:3]
    clean = train.drop_indices(worst.indices)
    assert not set(worst.names) & set(clean.x.index)
    assert clean.names.tolist() == clean.x.index.tolist()
    assert clean.fit(by_columns()).score(*test) > 0.6
    np.testing.assert_array_equal(by_columns().fit(*clean).classes_, ["no", "yes"])


@pytest.mark.parametrize("lazy", [False, True])
def test_polars_gives_the_values_of_pandas(lazy: bool) -> None:
    pl = pytest.importorskip("polars")
    table = houses()

    def polars(part: pd.DataFrame) -> object:
        columns = {name: part[name].tolist() for name in part.columns}
        frame = pl.DataFrame(columns).with_columns(pl.col("heating").cast(pl.Categorical))
        return frame.lazy() if lazy else frame

    train = Dataset.from_frame(polars(table[:15]), "sold")
    test = Dataset.from_frame(polars(table[15:]), "sold")
    result = shapley(by_columns(), train, test)
    expected = shapley(
        by_columns(),
        Dataset.from_frame(table[:15], "sold"),
        Dataset.from_frame(table[15:], "sold"),
    )
    np.testing.assert_allclose(result.values, expected.values, atol=1e-9)
    assert result.names.tolist() == list(range(15))
    assert train.x.dtypes["heating"] == "category"


def test_polars_columns_as_target_names_and_groups() -> None:
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame({"a": [1.0, 2.0, 3.0], "y": [0, 1, 0], "who": ["u", "v", "u"]})
    data = Dataset(frame.select("a").lazy(), frame.lazy().select("y"), groups=frame["who"])
    assert data.y.tolist() == [0, 1, 0]
    assert data.names.tolist() == ["u", "v"]
    named = Dataset(frame.select("a"), frame["y"], names=frame["who"])
    assert named.names.tolist() == ["u", "v", "u"]


# What all kinds share


def test_taken_rows_lie_one_after_the_other() -> None:
    by_column = Dataset(np.asfortranarray(X), Y)
    assert by_column.select([4, 2, 9]).x.flags.c_contiguous


def test_without_torch_nothing_loads_it() -> None:
    code = """
import sys
import numpy as np
from sklearn.linear_model import LogisticRegression
from dvl_core import Dataset, ModelUtility, SupervisedScorer
x, y = np.arange(12.0).reshape(6, 2), [0, 1, 0, 1, 0, 1]
data = Dataset(x, y)
utility = ModelUtility(LogisticRegression(), SupervisedScorer("accuracy", data))
bound = utility.with_data(data).with_seed(1)
bound(np.ones((1, 6), dtype=bool))
assert bound.fingerprint
assert not {"torch", "skorch", "polars"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_a_column_stays_a_column_for_nobody_but_torch() -> None:
    data = Dataset(X, Y[:, None])
    assert data.y.shape == (N,)
    assert [part.shape for part in data] == [(N, 4), (N,)]
    assert data.target_for(LogisticRegression()).shape == (N,)
    assert data.select([0, 1]).y.shape == (2,)


class FoldsOfEachClass(ClassifierMixin, BaseEstimator):
    """Needs three rows of some class; refuses a row of 99, too."""

    def fit(self, x: np.ndarray, y: np.ndarray) -> FoldsOfEachClass:
        if (x == 99).any():
            raise ValueError("99")
        search = GridSearchCV(GaussianNB(), {"var_smoothing": [1e-9]}, cv=3, error_score="raise")
        self.model_ = search.fit(x, y)
        self.classes_ = self.model_.classes_
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.model_.predict(x)


@pytest.mark.filterwarnings("ignore:The least populated class")
def test_too_few_rows_of_each_class_are_excused_and_bad_rows_are_not() -> None:
    y = np.arange(N) % 2
    scorer = SupervisedScorer("accuracy", Dataset(X_TEST, Y_TEST))
    utility = ModelUtility(FoldsOfEachClass(), scorer).with_data(Dataset(X, y))
    two_and_two = np.isin(np.arange(N), [0, 1, 2, 3])
    three_and_one = np.isin(np.arange(N), [0, 2, 4, 1, 3])
    evaluation = utility.evaluate(np.vstack([two_and_two, three_and_one]))
    assert evaluation.failed.tolist() == [True, False]
    x = X.copy()
    x[6] = 99
    spoilt = ModelUtility(FoldsOfEachClass(), scorer, on_error="default").with_data(Dataset(x, y))
    with pytest.raises(UtilityError, match="99"):
        spoilt(np.isin(np.arange(N), [6, 7, 8, 9, 10, 11])[None])
