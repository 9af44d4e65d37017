"""Workers that die, data that is lost, clusters without workers: no bit changes, nothing hangs.

Functions that run on workers are local to a test: they travel by value.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from itertools import pairwise

import numpy as np
import pytest
from distributed import Client, Future, LocalCluster

from dvl_core import SerialBackend
from dvl_core.errors import DvlError, InvalidOptionError, WorkerError
from dvl_core.games import FunctionGame
from dvl_core.stopping import MaxUpdates
from dvl_dask import DaskBackend, local_client
from dvl_shapley import DataShapleyValuation, PermutationSampler


@pytest.fixture(scope="module")
def processes():
    with local_client(2) as client:
        yield client


@pytest.fixture(scope="module")
def threads():
    with local_client(2, threads_per_worker=2, processes=False, resources={"seat": 1}) as client:
        yield client


def ready(client, number: int = 2) -> None:
    client.wait_for_workers(number, timeout=60)


def values(function, backend, updates=60):
    """Return the Shapley values and standard errors of a game, as bytes."""
    valuation = DataShapleyValuation(
        FunctionGame(6, function),
        PermutationSampler(),
        MaxUpdates(updates),
        seed=3,
        backend=backend,
    )
    result = valuation.fit().result
    return result.values.tobytes(), result.stderr.tobytes()


def smooth(coalitions: np.ndarray) -> np.ndarray:
    return (coalitions @ np.arange(1.0, coalitions.shape[1] + 1.0)) ** 1.5


def slowly(seconds: float):
    """Return `smooth` with a pause, to travel by value."""

    def function(coalitions):
        time.sleep(seconds)
        return (coalitions @ np.arange(1.0, coalitions.shape[1] + 1.0)) ** 1.5

    return function


def once_deadly(flag):
    """Return `smooth`, but the first worker that gets some way with it is killed."""

    def function(coalitions):
        time.sleep(0.002)
        try:
            with open(flag, "x"):
                pass
        except FileExistsError:
            pass
        else:
            os.kill(os.getpid(), signal.SIGKILL)
        return (coalitions @ np.arange(1.0, coalitions.shape[1] + 1.0)) ** 1.5

    return function


def test_a_worker_killed_in_the_middle_changes_no_bit(processes, tmp_path) -> None:
    ready(processes)
    before = set(processes.nthreads())
    found = values(once_deadly(str(tmp_path / "died")), DaskBackend(processes))
    assert (tmp_path / "died").exists()
    assert found == values(smooth, SerialBackend())
    ready(processes)
    assert set(processes.nthreads()) != before


def test_all_workers_killed_in_the_middle(processes) -> None:
    """What the tasks share is lost with the last of them, and sent again."""
    ready(processes)

    def add(shared, task):
        time.sleep(0.02)
        return shared + task

    pids = list(processes.run(os.getpid).values())
    results = DaskBackend(processes).map(add, 10, range(20))
    found = [next(results)]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    assert [*found, *results] == list(range(10, 30))


def test_a_task_that_kills_every_worker(processes) -> None:
    ready(processes)

    def die(shared, task):
        if task == shared:
            os.kill(os.getpid(), signal.SIGKILL)
        return task

    backend = DaskBackend(processes)
    with pytest.raises(WorkerError, match="lost"):
        list(backend.map(die, 1, range(3)))
    assert list(backend.map(die, None, range(5))) == list(range(5))


def lose_everything(client) -> None:
    """Make the cluster forget what it was given, as when the last worker that had it dies."""
    client.cancel([Future(key, client) for key in list(client.futures)])


def test_what_was_lost_is_sent_again(threads) -> None:
    results = DaskBackend(threads).map(pow, 2, iter(range(40)))
    found = []
    for _ in range(3):
        found += [next(results) for _ in range(8)]
        lose_everything(threads)
    assert [*found, *results] == [2**i for i in range(40)]


def test_without_retries_a_loss_is_an_error(threads) -> None:
    def wait(shared, task):
        time.sleep(shared)
        return task

    backend = DaskBackend(threads, retries=0)
    results = backend.map(wait, 0.05, range(40))
    assert next(results) == 0
    lose_everything(threads)
    with pytest.raises(WorkerError, match="lost"):
        list(results)
    assert list(backend.map(pow, 2, range(3))) == [1, 2, 4]


@pytest.mark.parametrize("kind", [ValueError, MemoryError, OSError, TimeoutError])
def test_exceptions_of_tasks_come_as_themselves(threads, kind) -> None:
    def fail(shared, task):
        if task == 3:
            raise shared("on purpose")
        return task

    results = DaskBackend(threads).map(fail, kind, range(10))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(kind, match="on purpose"):
        next(results)


def test_resources_limit_what_runs_at_the_same_time(threads) -> None:
    """Each of the two workers has two threads and one seat."""

    def when(shared, task):
        from distributed import get_worker

        start = time.monotonic()
        time.sleep(0.02)
        return get_worker().address, start, time.monotonic()

    free = DaskBackend(threads)
    seated = DaskBackend(threads, resources={"seat": 1})
    assert (free.n_workers, seated.n_workers) == (4, 2)
    assert DaskBackend(threads, resources={"seat": 0.5}).n_workers == 4
    runs = sorted(seated.map(when, None, range(12)))
    assert len({address for address, _, _ in runs}) == 2
    for (one, _, end), (other, start, _) in pairwise(runs):
        assert one != other or end <= start


def test_fewer_jobs_than_threads(threads) -> None:
    def when(shared, task):
        start = time.monotonic()
        time.sleep(0.01)
        return start, time.monotonic()

    backend = DaskBackend(threads, n_jobs=1)
    assert backend.n_workers == 1
    runs = list(backend.map(when, None, range(6)))
    for (_, end), (start, _) in pairwise(runs):
        assert end <= start


def test_impossible_resources_are_refused(threads) -> None:
    backend = DaskBackend(threads, resources={"seat": 2, "GPU": 1})
    assert backend.n_workers == 1
    with pytest.raises(InvalidOptionError, match=r"best of 2 offers 1 seat, 0 GPU; start workers"):
        list(backend.map(pow, 2, [1]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_jobs": 0}, "n_jobs must be"),
        ({"retries": -1}, "retries must be"),
        ({"worker_timeout": 0}, "worker_timeout must be"),
        ({"resources": {"GPU": 0}}, "positive number of 'GPU', got 0"),
        ({"resources": ["GPU"]}, "must be a mapping"),
    ],
)
def test_options_out_of_range(options, message) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        DaskBackend(**options)


def test_a_client_that_was_closed() -> None:
    with local_client(1, processes=False) as client:
        backend = DaskBackend(client)
        assert list(backend.map(pow, 2, [1])) == [2]
    with pytest.raises(InvalidOptionError, match="closed"):
        list(backend.map(pow, 2, [1]))


@pytest.fixture
def elastic():
    """A cluster without workers, that would be adaptive once told so."""
    with LocalCluster(
        n_workers=0,
        threads_per_worker=1,
        processes=False,
        protocol="tcp://",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        silence_logs=40,
    ) as cluster:
        yield cluster


def test_an_adaptive_cluster_grows(elastic) -> None:
    elastic.adapt(minimum=0, maximum=2, interval="50ms", wait_count=10, target_duration="200ms")
    with Client(elastic, set_as_default=False) as client:
        backend = DaskBackend(client)
        assert client.nthreads() == {}
        assert backend.n_workers == 2

        def where(shared, task):
            from distributed import get_worker

            time.sleep(0.05)
            return get_worker().address

        assert len(set(backend.map(where, None, range(30)))) == 2
        assert values(slowly(0.001), backend) == values(smooth, SerialBackend())


def test_an_adaptive_cluster_without_limit(elastic) -> None:
    elastic.adapt(minimum=0)
    with Client(elastic, set_as_default=False) as client:
        assert DaskBackend(client).n_workers == 2
        assert DaskBackend(client, n_jobs=3).n_workers == 3


def test_no_worker_ever_comes(elastic) -> None:
    with Client(elastic, set_as_default=False) as client:
        backend = DaskBackend(client, worker_timeout=0.2)
        assert backend.n_workers == 1
        with pytest.raises(DvlError, match=r"no worker for 0\.2 s: start workers"):
            list(backend.map(pow, 2, [1]))


def test_all_workers_leave(elastic) -> None:
    def wait(shared, task):
        time.sleep(0.05)
        return task

    with Client(elastic, set_as_default=False) as client:
        elastic.scale(1)
        results = DaskBackend(client, worker_timeout=0.5).map(wait, None, range(1000))
        assert next(results) == 0
        elastic.scale(0)
        with pytest.raises(DvlError, match="no worker"):
            list(results)


@pytest.mark.slow
def test_a_restarted_cluster() -> None:
    with local_client(2) as client:
        results = DaskBackend(client).map(pow, 2, range(30))
        found = [next(results) for _ in range(5)]
        client.restart()
        assert [*found, *results] == [2**i for i in range(30)]


@pytest.mark.slow
def test_an_interpreter_that_exits_in_the_middle(tmp_path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, time\n"
        "from dvl_dask import DaskBackend\n"
        "def wait(shared, task):\n"
        "    time.sleep(0.05)\n"
        "    return task\n"
        "if __name__ == '__main__':\n"
        "    results = DaskBackend(n_jobs=2).map(wait, None, range(100000))\n"
        "    print([next(results) for _ in range(3)])\n"
        "    sys.exit(7)\n"
    )
    ended = subprocess.run([sys.executable, program], capture_output=True, timeout=60, text=True)
    assert (ended.returncode, ended.stdout) == (7, "[0, 1, 2]\n")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_workers_killed_at_random(seed) -> None:
    """A valuation is the same to the bit however many workers die while it runs."""
    rng = np.random.default_rng(seed)
    over = threading.Event()
    killed = []

    def kill(client) -> None:
        # A nanny gives up on a worker that dies while it starts.
        while not over.wait(0.5 + rng.uniform(0.0, 0.5)):
            with contextlib.suppress(OSError):
                pids = list(client.run(os.getpid).values())
                if len(pids) == 2:
                    os.kill(int(rng.choice(pids)), signal.SIGKILL)
                    killed.append(1)

    with local_client(2) as client:
        killer = threading.Thread(target=kill, args=(client,))
        killer.start()
        try:
            found = values(slowly(0.05), DaskBackend(client), 600)
        finally:
            over.set()
            killer.join()
    assert killed
    assert found == values(smooth, SerialBackend(), 600)
