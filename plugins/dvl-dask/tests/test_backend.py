"""Which client a backend uses, what reaches the workers, and that valuations do not notice."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys

import numpy as np
import pytest
from distributed import Client

from dvl_core import SerialBackend
from dvl_core.errors import InvalidOptionError
from dvl_core.games import FunctionGame
from dvl_core.stopping import MaxUpdates
from dvl_dask import DaskBackend, backend, local_client
from dvl_shapley import DataShapleyValuation


@pytest.fixture(scope="module")
def client():
    with local_client(2, processes=False) as client:
        yield client


def add(shared: int, task: int) -> int:
    return shared + task


def kind(shared: object, task: object) -> tuple[object, object]:
    return shared, task


def echo(shared: object, task: int) -> int:
    return task


def squares(coalitions: np.ndarray) -> np.ndarray:
    return (coalitions @ np.arange(1.0, coalitions.shape[1] + 1.0)) ** 2


def test_a_valuation_is_that_of_the_serial_backend(client) -> None:
    def values(where):
        game = FunctionGame(6, squares)
        valuation = DataShapleyValuation(game, stopping=MaxUpdates(40), seed=3, backend=where)
        return valuation.fit().result

    here, there = values(SerialBackend()), values(DaskBackend(client))
    assert here.values.tobytes() == there.values.tobytes()
    assert here.stderr.tobytes() == there.stderr.tobytes()


@pytest.mark.parametrize(
    "thing", [(len, [1, 2]), [1, (2, 3)], {"a": (sum, [4])}, "name", None, np.arange(3)]
)
def test_what_dask_would_take_for_its_own(client, thing) -> None:
    """Tuples that begin with a function, and containers, arrive as they are."""
    (shared, task), *_ = DaskBackend(client).map(kind, thing, [thing, thing])
    for arrived in (shared, task):
        assert type(arrived) is type(thing)
        assert np.array_equal(arrived, thing) if isinstance(thing, np.ndarray) else arrived == thing


class Pickled:
    """Counts how often it is pickled."""

    count = 0

    def __reduce__(self):
        Pickled.count += 1
        return Pickled, ()


def test_what_tasks_share_is_sent_once(client) -> None:
    results = DaskBackend(client).map(echo, Pickled(), range(30))
    assert list(results) == list(range(30))
    # Once from here, and at most once from each worker to another.
    assert 1 <= Pickled.count <= 3


def test_workers_are_counted(client) -> None:
    assert DaskBackend(client).n_workers == 2


def test_an_address(client) -> None:
    with DaskBackend(client.scheduler.address) as dask:
        assert dask.n_workers == 2
        assert list(dask.map(add, 1, [1, 2])) == [2, 3]
        own = dask.client
    assert own.status == "closed"
    assert client.status == "running"


def test_the_current_client(client) -> None:
    with client.as_current():
        dask = DaskBackend()
        assert dask.client is client
        assert list(dask.map(add, 1, [1])) == [2]
    dask.close()
    assert client.status == "running"


@pytest.mark.parametrize("how", ["closed", "left"])
def test_a_cluster_of_its_own(monkeypatch, how) -> None:
    monkeypatch.setattr(backend, "local_client", lambda n: local_client(n, processes=False))
    dask = DaskBackend(n_jobs=1)
    assert list(dask.map(add, 1, range(5))) == [1, 2, 3, 4, 5]
    own = dask.client
    assert dask.client is own
    if how == "closed":
        dask.close()
        dask.close()
    else:
        del dask
        gc.collect()
    assert own.status == "closed"
    assert own.cluster.status.name == "closed"


def test_what_is_no_client(client) -> None:
    with pytest.raises(InvalidOptionError, match=r"must be a distributed\.Client"):
        DaskBackend(3)

    async def use() -> None:
        address = client.scheduler.address
        async with Client(address, asynchronous=True, set_as_default=False) as unusable:
            with pytest.raises(InvalidOptionError, match="asynchronous"):
                DaskBackend(unusable)

    asyncio.run(use())


def test_torch_is_not_needed() -> None:
    program = "import sys, dvl_dask; dvl_dask.DaskBackend; print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout
    for heavy in ("'torch'", "'dvl_influence'", "'distributed'"):
        assert heavy not in loaded.decode()
