"""Arrays and frames of Dask are the data sets that their content is."""

from __future__ import annotations

from functools import partial

import dask.array as da
import numpy as np
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from dvl_core import Dataset, ModelUtility, SupervisedScorer
from dvl_core.errors import DataError
from dvl_core.stopping import MaxUpdates
from dvl_dask import DaskBackend, in_memory, local_client
from dvl_shapley import DataShapleyValuation

pd = pytest.importorskip("pandas")
dd = pytest.importorskip("dask.dataframe")


@pytest.fixture(scope="module")
def client():
    with local_client(2, processes=False) as client:
        yield client


def table(n: int = 12):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "size": rng.normal(size=n),
            "rooms": rng.integers(1, 6, size=n),
            "kind": rng.choice(["flat", "house"], size=n),
            "new": rng.random(n) < 0.5,
            "colour": pd.Categorical(rng.choice(["red", "blue"], size=n)),
            "sold": rng.integers(0, 2, size=n),
        },
        index=[f"row{i}" for i in range(n)],
    )


def values(train: Dataset, test: Dataset, model, backend=None):
    utility = ModelUtility(model, SupervisedScorer("accuracy", test))
    valuation = DataShapleyValuation(utility, stopping=MaxUpdates(5), seed=1, backend=backend)
    return valuation.fit(train).result


def test_a_dataset_takes_arrays_and_frames_of_dask(client) -> None:
    frame = table(9)
    x, y = frame.drop(columns="sold"), frame["sold"]
    lazy_x, lazy_y = dd.from_pandas(x, npartitions=3), dd.from_pandas(y, npartitions=2)
    expected, found = Dataset(x, y), Dataset(lazy_x, lazy_y, groups=lazy_x["kind"])
    # Texts are of another type there.
    loose = dict.fromkeys(["check_dtype", "check_index_type", "check_categorical"], False)
    same = partial(pd.testing.assert_frame_equal, **loose)
    same(found.x, expected.x)
    np.testing.assert_array_equal(found.y, expected.y)
    assert found.names.tolist() == list(dict.fromkeys(x["kind"]))
    assert Dataset(lazy_x, lazy_y).names.tolist() == x.index.tolist()
    whole = Dataset.from_frame(dd.from_pandas(frame, npartitions=2), "sold")
    same(whole.x, expected.x)
    array = np.arange(12.0).reshape(6, 2)
    pair = da.from_array(array, chunks=(4, 1)), da.from_array([0, 1] * 3, chunks=5)
    assert Dataset(*pair).digest == Dataset(array, [0, 1] * 3).digest


def test_labels_that_each_file_repeats_name_nobody() -> None:
    part = table(5).reset_index(drop=True)
    lazy = dd.concat([dd.from_pandas(part, npartitions=1)] * 2)
    assert lazy.compute().index.tolist() == [*range(5), *range(5)]
    data = Dataset(lazy[["size", "rooms"]], lazy["sold"])
    assert data.names.tolist() == list(range(10))


def test_ragged_chunks(client) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(30, 4)), rng.integers(0, 2, size=30)
    pair = da.from_array(x, chunks=((7, 1, 22), (3, 1))), da.from_array(y, chunks=((29, 1),))
    data = Dataset(*in_memory(*pair, client=client))
    assert data.digest == Dataset(x, y).digest
    here = values(Dataset(x, y), Dataset(x, y), LogisticRegression())
    there = values(data, data, LogisticRegression(), DaskBackend(client))
    assert here.values.tobytes() == there.values.tobytes()


def test_chunks_of_unknown_length() -> None:
    x = np.arange(20.0).reshape(10, 2)
    lazy = da.from_array(x, chunks=(3, 2))
    kept = lazy[lazy[:, 0] > 5]
    assert np.isnan(kept.shape[0])
    assert np.array_equal(in_memory(kept), x[x[:, 0] > 5])


def test_a_frame_keeps_its_types_and_names(client) -> None:
    whole = table()
    lazy = dd.from_pandas(whole, npartitions=3)
    found, y = in_memory(lazy.drop(columns="sold"), lazy["sold"], client=client)
    assert list(found.dtypes[["size", "rooms", "new", "colour"]]) == list(
        whole.dtypes[["size", "rooms", "new", "colour"]]
    )
    data = Dataset(found, y)
    # Dask sorts by the index.
    ordered = whole.sort_index()
    assert data.names.tolist() == ordered.index.tolist()
    model = make_pipeline(
        make_column_transformer(
            (StandardScaler(), ["size", "rooms"]),
            (OneHotEncoder(handle_unknown="ignore"), ["kind", "new", "colour"]),
        ),
        LogisticRegression(),
    )
    direct = Dataset.from_frame(ordered, "sold")
    here = values(direct, direct, model)
    there = values(data, data, model, DaskBackend(client))
    assert here.values.tobytes() == there.values.tobytes()
    assert Dataset.from_frame(in_memory(lazy), "sold").names.tolist() == data.names.tolist()


def test_an_index_that_repeats_names_nobody() -> None:
    part = pd.DataFrame({"a": [1.0, 2.0], "y": [0, 1]})
    lazy = dd.concat([dd.from_pandas(part, npartitions=1)] * 2)
    found, y = in_memory(lazy[["a"]], lazy["y"])
    assert Dataset(found, y).names.tolist() == [0, 1, 2, 3]
    assert y.index.tolist() == [0, 1, 2, 3]


def test_one_pass() -> None:
    """What two tables have in common is computed once."""
    computed = []

    def load(block):
        computed.append(block.shape)
        return block

    lazy = da.zeros((6, 3), chunks=(3, 3)).map_blocks(load, meta=np.empty((0, 0)))
    x, y = in_memory(lazy[:, :2], lazy[:, 2])
    assert (x.shape, y.shape) == ((6, 2), (6,))
    assert len(computed) == 2


def test_what_is_not_of_dask_passes() -> None:
    texts = ["a", "b"]
    x, y = in_memory(texts, da.arange(2, chunks=1))
    assert x is texts
    assert y.tolist() == [0, 1]
    array = np.eye(2)
    assert in_memory(array) is array


def test_tables_that_do_not_belong_together() -> None:
    with pytest.raises(DataError, match="different numbers of rows: 4, 5"):
        in_memory(da.zeros((4, 2)), da.zeros(5))
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [1.0, 2.0]})
    turned = frame["b"].iloc[::-1]
    with pytest.raises(DataError, match="tables 1 and 2 have different indices"):
        in_memory(dd.from_pandas(frame, npartitions=1), turned)
