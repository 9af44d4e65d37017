"""The backend passes the conformance kit, and valuations do not notice it: all on one cluster."""

from __future__ import annotations

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import psutil
import pytest
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_info

from dvl_core import (
    Dataset,
    DiskStore,
    JoblibBackend,
    ModelUtility,
    SerialBackend,
    SupervisedScorer,
    ValuationResult,
)
from dvl_core.errors import (
    InvalidOptionError,
    UtilityError,
    WorkerError,
)
from dvl_core.games import FunctionGame
from dvl_core.stopping import MaxUpdates
from dvl_core.testing import conformance_test
from dvl_core.threads import limit_worker
from dvl_ray import RayBackend, session
from dvl_ray.calls import Calls
from dvl_shapley import DataShapleyValuation

PARENT = os.getpid()


@pytest.fixture(autouse=True, scope="module")
def ray():
    with RayBackend(n_jobs=2) as backend:
        assert backend.n_workers == 2
        # Workers cannot import a module of tests.
        import ray.cloudpickle

        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        yield backend


test_ray_conforms = conformance_test("backend", partial(RayBackend, n_jobs=2))


def only_once(marker: Path) -> bool:
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def add(shared: int, task: int) -> int:
    return shared + task


def die(marker: Path, task: int) -> int:
    """Kill the worker, the first time that task 3 comes."""
    if task == 3 and only_once(marker):
        os.kill(os.getpid(), signal.SIGKILL)
    return task


class Mortal(LogisticRegression):
    """Seven points are the death of the process, once."""

    def __init__(self, marker: str = "", C: float = 1.0) -> None:
        super().__init__(C=C)
        self.marker = marker

    def fit(self, X: np.ndarray, y: np.ndarray) -> Mortal:
        if len(y) == 7 and only_once(Path(self.marker)):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().fit(X, y)


def same_bits(a, b) -> bool:
    return a.values.tobytes() == b.values.tobytes() and a.stderr.tobytes() == b.stderr.tobytes()


def model_values(marker: Path, backend) -> ValuationResult:
    x, y = make_classification(40, 5, random_state=0)
    train, test = Dataset.from_arrays(x, y, train_size=0.3, random_state=0)
    utility = ModelUtility(Mortal(str(marker)), SupervisedScorer("neg_log_loss", test))
    rule = MaxUpdates(20)
    return DataShapleyValuation(utility, stopping=rule, seed=3, backend=backend).fit(train).result


def test_a_valuation_is_that_of_the_serial_backend_though_a_worker_dies(ray, tmp_path) -> None:
    there = model_values(tmp_path / "dead", ray)
    assert (tmp_path / "dead").exists()
    assert same_bits(there, model_values(tmp_path / "dead", SerialBackend()))


def squares(coalitions: np.ndarray) -> np.ndarray:
    return np.tanh(coalitions @ np.arange(coalitions.shape[1])) ** 2.0


class Deadly:
    """Squares, at the price of a worker's life, once."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __call__(self, coalitions: np.ndarray) -> np.ndarray:
        if (coalitions.sum(axis=1) == 5).any() and only_once(self.marker):
            os.kill(os.getpid(), signal.SIGKILL)
        return squares(coalitions)


def game_values(function=squares, **options) -> ValuationResult:
    game = FunctionGame(7, function)
    return DataShapleyValuation(game, stopping=MaxUpdates(40), seed=3, **options).fit().result


def test_a_task_whose_worker_dies_is_tried_again(ray, tmp_path) -> None:
    assert list(ray.map(die, tmp_path / "dead", range(8))) == list(range(8))
    assert (tmp_path / "dead").exists()


def test_without_retries_the_loss_is_reported(ray, tmp_path) -> None:
    strict = RayBackend(max_retries=0)
    results = strict.map(die, tmp_path / "dead", range(8))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(WorkerError, match=r"tried once on Ray and lost: WorkerCrashedError"):
        next(results)
    assert list(strict.map(die, tmp_path / "dead", range(8))) == list(range(8))


def fail(folder: Path, task: int) -> None:
    (folder / f"{time.time_ns()}").touch()
    raise UtilityError("coalition 7 failed on purpose")


def test_an_exception_of_a_task_comes_as_itself_and_is_not_tried_again(ray, tmp_path) -> None:
    with pytest.raises(UtilityError) as caught:
        list(ray.map(fail, tmp_path, [1]))
    assert type(caught.value) is UtilityError
    assert str(caught.value) == "coalition 7 failed on purpose"
    assert "in fail" in str(caught.value.__cause__)
    assert len(list(tmp_path.iterdir())) == 1


class Pickled:
    """Counts how often it is pickled."""

    count = 0

    def __reduce__(self):
        Pickled.count += 1
        return Pickled, ()


def echo(shared: object, task: int) -> int:
    return task


def test_what_tasks_share_is_sent_once(ray) -> None:
    assert list(ray.map(echo, Pickled(), range(30))) == list(range(30))
    assert Pickled.count == 1


def flags(shared: np.ndarray, task: np.ndarray) -> tuple[bool, bool, int]:
    return shared.flags.writeable, shared.flags.owndata, id(shared)


def test_arrays_are_used_from_the_object_store(ray) -> None:
    found = set(ray.map(flags, np.zeros((1000, 100)), [np.ones(3)] * 40))
    assert {(writeable, own) for writeable, own, _ in found} == {(False, False)}
    # Each of two workers unpickles it for its first task, and for all that follow.
    assert len({address for *_, address in found}) <= 4


def threads(parent: int, task: int) -> list[int]:
    limit_worker(parent)
    return [pool["num_threads"] for pool in threadpool_info()]


def test_workers_use_one_thread_each(ray) -> None:
    for counts in ray.map(threads, PARENT, range(4)):
        assert counts
        assert set(counts) == {1}


def test_demands_decide_how_many_tasks_there_is_room_for(ray) -> None:
    assert RayBackend(num_cpus=0.5).n_workers == 4
    assert RayBackend(num_cpus=0.5, n_jobs=3).n_workers == 3
    wide = RayBackend(num_cpus=2)
    assert wide.n_workers == 1
    assert list(wide.map(add, 1, range(3))) == [1, 2, 3]


@pytest.mark.parametrize(
    ("demands", "words"),
    [
        ({"num_cpus": 64}, "CPU: 64"),
        ({"num_gpus": 32}, "GPU: 32"),
        ({"memory": 1e15}, "memory: 1e"),
        ({"resources": {"unheard": 1}}, "unheard: 1"),
        ({"num_cpus": 64, "wait_seconds": 0.5}, "set wait_seconds"),
    ],
    ids=str,
)
def test_what_no_node_has_is_refused(ray, monkeypatch, demands, words) -> None:
    monkeypatch.setattr("dvl_ray.calls.SECONDS_BETWEEN_LOOKS", 0.2)
    with pytest.raises(InvalidOptionError, match=words):
        list(RayBackend(**demands).map(add, 1, [1]))


def variable(name: str, task: int) -> str | None:
    return os.environ.get(name)


@pytest.mark.slow
def test_an_environment_of_its_own(ray) -> None:
    special = RayBackend(n_jobs=1, runtime_env={"env_vars": {"DVL_RAY_TEST": "here"}})
    assert list(special.map(variable, "DVL_RAY_TEST", [1])) == ["here"]
    assert list(ray.map(variable, "DVL_RAY_TEST", [1])) == [None]


def leave_traces(folder: Path, task: int) -> int:
    (folder / f"begun-{task}").touch()
    time.sleep(0.2)
    (folder / f"ended-{task}").touch()
    return task


def test_closing_cancels_what_waits_and_lets_the_rest_finish(ray, tmp_path) -> None:
    list(ray.map(add, 1, range(4)))
    results = ray.map(leave_traces, tmp_path, range(100))
    assert next(results) == 0
    results.close()
    at_close = {path.name for path in tmp_path.glob("begun-*")}
    assert list(ray.map(add, 1, [1])) == [2]
    time.sleep(0.5)
    begun = {path.name.removeprefix("begun-") for path in tmp_path.glob("begun-*")}
    assert begun == {path.name.removeprefix("ended-") for path in tmp_path.glob("ended-*")}
    # What is first in the queue may be about to begin, on both workers.
    assert len(begun) <= len(at_close) + 2
    assert len(begun) <= 4


def slow_game(coalitions: np.ndarray) -> np.ndarray:
    time.sleep(0.02)
    return coalitions.sum(axis=1) ** 2.0


def test_a_stopping_rule_leaves_no_worker_busy(ray) -> None:
    import ray as library

    game = FunctionGame(6, slow_game)
    DataShapleyValuation(game, stopping=MaxUpdates(5), seed=1, backend=ray).fit()
    until = time.monotonic() + 3
    while library.available_resources().get("CPU") != 2 and time.monotonic() < until:
        time.sleep(0.05)
    assert library.available_resources()["CPU"] == 2


def test_the_engine_goes_on_after_a_loss(ray, tmp_path) -> None:
    strict = RayBackend(max_retries=0)
    there = game_values(Deadly(tmp_path / "dead"), backend=strict)
    assert (tmp_path / "dead").exists()
    assert same_bits(there, game_values(backend=SerialBackend()))


def test_a_store_and_a_checkpoint(ray, tmp_path) -> None:
    with DiskStore(tmp_path / "ledger") as store:
        first = game_values(backend=ray, store=store, checkpoint=tmp_path / "run")
        again = game_values(backend=ray, store=store)
        resumed = game_values(backend=ray, checkpoint=tmp_path / "run")
    assert first.n_computed > again.n_computed == 0
    serial = game_values(backend=SerialBackend())
    assert all(same_bits(serial, result) for result in (first, again, resumed))


@pytest.mark.parametrize("context", [joblib.parallel_config, joblib.parallel_backend])
def test_the_joblib_context_is_honoured(ray, monkeypatch, context) -> None:
    sent = []
    original = Calls.start
    monkeypatch.setattr(Calls, "start", lambda *a: (sent.append(1), original(*a))[1])
    with context("ray", n_jobs=2):
        inside = game_values()
    assert sent
    assert same_bits(inside, game_values(backend=SerialBackend()))


def test_the_joblib_backend_by_name(ray) -> None:
    there = game_values(backend=JoblibBackend(2, "ray"))
    assert same_bits(there, game_values(backend=SerialBackend()))


def test_joblib_sends_an_argument_that_comes_again_once(ray) -> None:
    Pickled.count = 0
    thing = Pickled()
    with joblib.parallel_config("ray", n_jobs=2):
        results = joblib.Parallel(return_as="generator")(
            joblib.delayed(echo)(thing, i) for i in range(30)
        )
        assert list(results) == list(range(30))
    assert Pickled.count == 2


def test_joblib_raises_what_the_call_raised(ray, tmp_path) -> None:
    with joblib.parallel_config("ray", n_jobs=2), pytest.raises(UtilityError, match="on purpose"):
        joblib.Parallel()(joblib.delayed(fail)(tmp_path, i) for i in range(30))
    assert list(ray.map(add, 1, [1])) == [2]


def test_a_connection_of_the_user_is_used_and_left_alone(ray, monkeypatch) -> None:
    import ray as library

    monkeypatch.setattr(session, "_current", None)
    with RayBackend() as guest:
        assert guest.n_workers == 2
        assert list(guest.map(add, 1, [1])) == [2]
    assert library.is_initialized()
    assert list(ray.map(add, 1, [1])) == [2]


def test_one_process_is_connected_to_one_cluster(ray) -> None:
    import ray as library

    here = library.get_runtime_context().gcs_address
    port = here.rpartition(":")[2]
    assert RayBackend(here).n_workers == RayBackend(f"localhost:{port}").n_workers == 2
    with pytest.raises(InvalidOptionError, match="cannot use the one at"):
        assert RayBackend("127.0.0.1:9").n_workers


def test_a_cluster_of_its_own_listens_here_only_and_is_gone_after_close(ray) -> None:
    family = [p for p in psutil.Process().children(recursive=True) if is_of_ray(p)]
    assert any("raylet" in p.name() for p in family)
    assert any("gcs_server" in p.name() for p in family)
    listening = {
        connection.laddr.ip
        for process in family
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening
    assert all(ip.removeprefix("::ffff:").startswith("127.") for ip in listening), listening
    ray.close()
    ray.close()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive


def is_of_ray(process: psutil.Process) -> bool:
    try:
        return "ray" in " ".join(process.cmdline())
    except psutil.Error:
        return False
