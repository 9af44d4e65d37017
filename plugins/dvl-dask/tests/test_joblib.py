"""The context ``joblib.parallel_config("dask")`` is honoured, and changes no bit."""

from __future__ import annotations

import os
import signal
import sys

import cloudpickle
import joblib
import numpy as np
import pytest

from dvl_core import JoblibBackend, SerialBackend
from dvl_core.errors import WorkerError
from dvl_core.games import FunctionGame
from dvl_core.stopping import MaxUpdates
from dvl_dask import local_client
from dvl_shapley import DataShapleyValuation


@pytest.fixture(scope="module")
def client():
    # Processes: in threads of this one, joblib would leave a client of its own as the current one.
    with local_client(2) as client:
        # Workers cannot import a module of tests.
        cloudpickle.register_pickle_by_value(sys.modules[__name__])
        yield client


def values(backend=None) -> tuple[bytes, bytes]:
    def square(coalitions):
        return (coalitions @ np.arange(1.0, coalitions.shape[1] + 1.0)) ** 1.5

    game = FunctionGame(6, square)
    result = (
        DataShapleyValuation(game, stopping=MaxUpdates(40), seed=1, backend=backend).fit().result
    )
    return result.values.tobytes(), result.stderr.tobytes()


def die(shared: int | None, task: int) -> int:
    if task == shared:
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def test_a_task_that_kills_every_worker_is_no_hang(client) -> None:
    """Joblib's own adapter waits for ever."""
    with client.as_current(), joblib.parallel_config("dask"):
        with pytest.raises(WorkerError, match="lost"):
            list(JoblibBackend(2).map(die, 1, range(4)))
        assert list(JoblibBackend(2).map(die, None, range(4))) == [0, 1, 2, 3]
    client.wait_for_workers(2, timeout=60)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_the_context_of_joblib(client, n_jobs) -> None:
    ran = client.run(lambda dask_worker: dask_worker.state.transition_counter)
    with client.as_current(), joblib.parallel_config("dask", n_jobs=n_jobs):
        found = values()
    assert found == values(SerialBackend())
    after = client.run(lambda dask_worker: dask_worker.state.transition_counter)
    assert all(after[worker] > ran[worker] for worker in ran)
