"""The context ``joblib.parallel_config("dask")`` is honoured, and changes no bit."""

from __future__ import annotations

import joblib
import numpy as np
import pytest

from dvl_core import SerialBackend
from dvl_core.games import FunctionGame
from dvl_core.stopping import MaxUpdates
from dvl_dask import local_client
from dvl_shapley import DataShapleyValuation


@pytest.fixture(scope="module")
def client():
    # Processes: in threads of this one, joblib would leave a client of its own as the current one.
    with local_client(2) as client:
        yield client


def values(backend=None) -> tuple[bytes, bytes]:
    def square(coalitions):
        return (coalitions @ np.arange(1.0, coalitions.shape[1] + 1.0)) ** 1.5

    game = FunctionGame(6, square)
    result = (
        DataShapleyValuation(game, stopping=MaxUpdates(40), seed=1, backend=backend).fit().result
    )
    return result.values.tobytes(), result.stderr.tobytes()


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_the_context_of_joblib(client, n_jobs) -> None:
    ran = client.run(lambda dask_worker: dask_worker.state.transition_counter)
    with client.as_current(), joblib.parallel_config("dask", n_jobs=n_jobs):
        found = values()
    assert found == values(SerialBackend())
    after = client.run(lambda dask_worker: dask_worker.state.transition_counter)
    assert all(after[worker] > ran[worker] for worker in ran)
