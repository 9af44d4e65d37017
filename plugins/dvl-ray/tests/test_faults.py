"""What happens when workers, nodes, clusters and the process itself die."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from dvl_core import SerialBackend
from dvl_core.errors import WorkerError
from dvl_core.games import FunctionGame
from dvl_core.stopping import MaxUpdates
from dvl_ray import RayBackend, session
from dvl_shapley import DataShapleyValuation, PermutationSampler

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True, scope="module")
def importable():
    import ray.cloudpickle

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


def add(shared: int, task: int) -> int:
    return shared + task


def nap(seconds: float, task: int) -> int:
    time.sleep(seconds)
    return task


def node_of(shared: float, task: int) -> str:
    import ray

    time.sleep(shared)
    return ray.get_runtime_context().get_node_id()


def slow_game(coalitions: np.ndarray) -> np.ndarray:
    time.sleep(0.05)
    return np.tanh(coalitions @ np.arange(coalitions.shape[1])) ** 2.0


def processes(word: str) -> list[psutil.Process]:
    """Return what was started here whose command line has this word."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if word in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_workers_killed_at_random_change_no_bit(capfd) -> None:
    def values(backend) -> np.ndarray:
        game = FunctionGame(8, slow_game)
        valuation = DataShapleyValuation(
            game, PermutationSampler(), MaxUpdates(400), seed=2, backend=backend
        )
        return valuation.fit().result

    over = threading.Event()
    killed = []

    def kill_now_and_then() -> None:
        chance = random.Random(0)
        while not over.wait(chance.uniform(0.5, 1.5)):
            busy = processes("ray::run_tasks")
            if busy:
                victim = chance.choice(busy)
                victim.kill()
                killed.append(victim.pid)

    serial = values(SerialBackend())
    with RayBackend(n_jobs=2, max_retries=5) as backend:
        assert backend.n_workers == 2
        killer = threading.Thread(target=kill_now_and_then)
        killer.start()
        try:
            there = values(backend)
        finally:
            over.set()
            killer.join()
    assert killed
    assert capfd.readouterr().out == ""
    assert serial.values.tobytes() == there.values.tobytes()
    assert serial.stderr.tobytes() == there.stderr.tobytes()


@pytest.mark.parametrize("victim", ["gcs_server", "raylet/raylet"])
def test_a_cluster_that_is_gone_is_reported_and_replaced(victim) -> None:
    with RayBackend(n_jobs=2) as backend:
        results = backend.map(nap, 0.2, range(1000))
        assert next(results) == 0
        for process in processes(victim):
            process.kill()
        start = time.monotonic()
        with pytest.raises(WorkerError):
            list(results)
        assert time.monotonic() - start < 55
        assert list(backend.map(add, 1, range(5))) == [1, 2, 3, 4, 5]


@pytest.fixture
def cluster():
    """Two nodes with a CPU each, which somebody else has started."""
    from ray.cluster_utils import Cluster

    with session._on_loopback():
        cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
        )
        try:
            cluster.add_node(num_cpus=1, resources={"special": 2})
            cluster.wait_for_nodes()
            yield cluster
        finally:
            cluster.shutdown()


def test_a_cluster_of_others_is_used_and_left_alone(cluster) -> None:
    import ray

    with RayBackend(cluster.address) as backend:
        assert backend.n_workers == 2
        assert len(set(backend.map(node_of, 0.3, range(8)))) == 2
        special = RayBackend(cluster.address, num_cpus=0, resources={"special": 1})
        assert special.n_workers == 2
        assert len(set(special.map(node_of, 0.3, range(8)))) == 1
    assert not ray.is_initialized()
    with RayBackend(cluster.address) as backend:
        assert list(backend.map(add, 1, range(3))) == [1, 2, 3]


def test_a_node_that_dies_or_comes(cluster) -> None:
    with RayBackend(cluster.address) as backend:
        results = backend.map(nap, 0.5, range(30))
        assert next(results) == 0
        second = next(node for node in cluster.worker_nodes)
        cluster.remove_node(second, allow_graceful=False)
        assert list(results) == list(range(1, 30))
        # Its tasks were tried again before the cluster has noticed that the node is gone.
        patience = time.monotonic() + 60
        while backend.n_workers > 1 and time.monotonic() < patience:
            time.sleep(0.5)
        assert backend.n_workers == 1
        patient = RayBackend(num_cpus=2, wait_seconds=120)
        late: list[int] = []
        waiting = threading.Thread(target=lambda: late.extend(patient.map(add, 1, range(3))))
        waiting.start()
        time.sleep(3)
        assert not late
        cluster.add_node(num_cpus=2)
        waiting.join(timeout=60)
        assert late == [1, 2, 3]
        assert backend.n_workers == 3


PROGRAM = """
    import os, sys, time
    from dvl_ray import RayBackend

    def nap(seconds, task):
        time.sleep(seconds)
        return task

    if __name__ == "__main__":
        backend = RayBackend(n_jobs=2)
        results = backend.map(nap, 0.3, range(1000))
        print(next(results), flush=True)
        {ending}
"""


@pytest.mark.parametrize(
    ("ending", "codes"),
    [
        ("sys.exit(0)", {0}),
        ("raise ValueError", {1}),
        ("os.kill(os.getpid(), 9)", {-9}),
        ("os.kill(os.getpid(), 15)", {-15}),
        # Ray's hook for exceptions makes it 1.
        ("list(results)", {1, 130, -signal.SIGINT}),
    ],
)
def test_a_process_that_ends_amid_a_run_leaves_nothing(tmp_path, ending, codes) -> None:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(PROGRAM.format(ending=ending)))
    process = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "0\n"
        family = psutil.Process(process.pid).children(recursive=True)
        if ending == "list(results)":
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode in codes
    assert output == ""
    assert family
    # Some take more than a minute to notice that their parent was killed.
    _, alive = psutil.wait_procs(family, timeout=120)
    assert not alive


def test_the_command_line_starts_a_cluster_and_ends_it(tmp_path) -> None:
    rows = ["a,b,label", *(f"{i % 7},{i % 5},{i % 2}" for i in range(30))]
    (tmp_path / "data.csv").write_text("\n".join(rows))
    dvl = Path(sys.executable).with_name("dvl")
    command = [dvl, "value", tmp_path / "data.csv", "--target", "label", "--budget", "200"]
    command += ["--backend", "ray", "--n-jobs", "2", "--out", tmp_path / "out"]
    environment = os.environ | {"RAY_ADDRESS": ""}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "ray" not in done.stdout.lower().replace(str(tmp_path).lower(), "")
    assert "Traceback" not in done.stderr
    assert (tmp_path / "out" / "values.csv").exists()
