"""What docs/scaling.md says of failures: each row of its table has tests, here or elsewhere."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from sklearn.linear_model import LogisticRegression

from dvl_core import Dataset, DiskStore, MaxEvaluations, ModelUtility, SupervisedScorer
from dvl_core.backends import JoblibBackend, SerialBackend
from dvl_core.errors import DvlWarning, StoreError, UtilityError
from dvl_core.games import FunctionGame
from dvl_core.result import ValuationResult
from dvl_core.stores.record_file import HEADER, RECORD
from dvl_shapley import DataShapleyValuation, PermutationSampler

ROOT = Path(__file__).parents[1]
LOKY = JoblibBackend(2, "loky")

HERE = "tests/test_scaling_page.py"
RECOVERY = "tests/test_recovery.py"
REPRODUCED = "tests/test_reproducibility.py"
COMMAND = "tests/test_cli_value_interrupted.py"
STORES = "tests/test_stores.py"
DASK = "plugins/dvl-dask/tests/test_faults.py"
RAY = "plugins/dvl-ray/tests/test_conformance.py"
MEMCACHED = "plugins/dvl-memcached/tests/test_failures.py"

ROWS = {
    "a worker process is killed or runs out of memory": {
        RECOVERY: (
            "test_a_worker_that_is_killed_costs_no_bit",
            "test_memory_that_is_short_for_a_moment_costs_no_bit",
        ),
        DASK: ("test_a_worker_killed_in_the_middle_changes_no_bit",),
        RAY: ("test_a_valuation_is_that_of_the_serial_backend_though_a_worker_dies",),
    },
    "a coalition kills its worker every time": {
        RECOVERY: ("test_the_coalition_that_kills_every_worker_is_named_and_nothing_is_lost",),
        HERE: ("test_clusters_name_the_coalition_that_kills_every_worker",),
    },
    "a fit fails on a coalition without a class, or too small": {
        HERE: ("test_fits_without_a_class_are_counted_in_worker_processes",),
    },
    "a fit fails otherwise": {
        HERE: ("test_an_error_of_a_model_is_not_tried_again",),
    },
    "a fit hangs": {
        RECOVERY: (
            "test_a_fit_that_hangs_is_cut_and_named",
            "test_fits_that_are_cut_count_as_failures_on_request",
            "test_threads_are_told_that_nothing_is_cut",
        ),
        HERE: (
            "test_a_fit_that_hangs_on_ray_is_cut_and_named",
            "test_workers_of_dask_are_threads_to_a_time_limit",
        ),
    },
    "Ctrl-C": {
        REPRODUCED: ("test_ctrl_c_keeps_the_partial_result",),
        COMMAND: ("test_ctrl_c_saves_the_partial_result_and_the_same_command_goes_on",),
        HERE: ("test_a_run_that_is_cut_off_leaves_no_process",),
    },
    "the whole run is killed": {
        REPRODUCED: ("test_sigkill_and_resume_equal_the_uninterrupted_run",),
        COMMAND: ("test_a_killed_run_goes_on_to_the_same_bytes",),
        STORES: ("test_what_a_killed_writer_acknowledged_is_there",),
        HERE: ("test_a_run_that_is_cut_off_leaves_no_process",),
    },
    "records of a store are damaged": {
        HERE: ("test_a_damaged_store_costs_what_is_damaged",),
    },
    "a store is that of another utility": {
        HERE: ("test_a_store_of_another_utility_is_like_an_empty_one",),
    },
    "a store is no store, or cannot be read or written": {
        STORES: ("test_files_of_others_are_refused_and_left_alone", "test_impossible_paths"),
        HERE: ("test_a_run_without_its_ledger_stops",),
    },
    "a memcached server is gone": {
        MEMCACHED: ("test_killed_and_restarted_in_the_middle_of_a_run",),
        HERE: ("test_workers_go_on_without_a_memcached_server",),
    },
}
"""The first column of the table, and the tests that show the rest of each row."""


def test_each_row_has_tests() -> None:
    text = (ROOT / "docs" / "scaling.md").read_text()
    table = text.split("## What happens when something fails")[1].split("\n\n")[1]
    assert [row.split("|")[1].strip() for row in table.splitlines()[2:]] == list(ROWS)
    for tests in ROWS.values():
        for file, names in tests.items():
            source = (ROOT / file).read_text()
            assert all(f"def {name}(" in source for name in names), (file, names)


class FailsOnce(LogisticRegression):
    """Cannot be trained on ten rows, the first time."""

    def __init__(self, marker: str = "") -> None:
        super().__init__()
        self.marker = marker

    def fit(self, x, y):
        if self.marker and len(x) == 10:
            try:
                Path(self.marker).touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                raise ValueError("no model of ten rows")
        return super().fit(x, y)


def value(backend, *, scorer="neg_log_loss", marker="", **options) -> ValuationResult:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(42, 2))
    y = (x[:, 0] > 0).astype(int)
    utility = ModelUtility(FailsOnce(marker), SupervisedScorer(scorer, Dataset(x[12:], y[12:])))
    rule = MaxEvaluations(100)
    valuation = DataShapleyValuation(
        utility, PermutationSampler(), rule, seed=2, backend=backend, **options
    )
    return valuation.fit(Dataset(x[:12], y[:12])).result


@pytest.fixture(scope="module")
def plain() -> ValuationResult:
    return value(SerialBackend())


def same_bits(one: ValuationResult, other: ValuationResult) -> bool:
    return one.values.tobytes() == other.values.tobytes() and (
        one.stderr.tobytes() == other.stderr.tobytes() and one.n_evaluations == other.n_evaluations
    )


def test_fits_without_a_class_are_counted_in_worker_processes(plain) -> None:
    found = value(LOKY)
    assert same_bits(found, plain)
    # At least the first player of each permutation, and the empty coalition.
    assert found.n_failures == plain.n_failures > 100 / 12


def test_a_damaged_store_costs_what_is_damaged(tmp_path, plain) -> None:
    path = tmp_path / "ledger.dvl"
    with DiskStore(path) as store:
        value(SerialBackend(), store=store)
        n_records = len(store)
    content = bytearray(path.read_bytes())
    damaged = range(len(HEADER) + 20, len(content), 3 * RECORD.itemsize)
    for place in damaged:
        content[place] ^= 1
    path.write_bytes(content)
    with DiskStore(path) as store:
        assert (len(store), store.n_damaged) == (n_records - len(damaged), len(damaged))
        again = value(LOKY, store=store)
        assert len(store) == n_records
    assert same_bits(again, plain)
    assert 0 < again.n_computed < plain.n_computed / 2


def test_a_store_of_another_utility_is_like_an_empty_one(tmp_path, plain) -> None:
    with DiskStore(tmp_path / "ledger.dvl") as store:
        value(SerialBackend(), scorer="accuracy", store=store)
        found = value(SerialBackend(), store=store)
    with DiskStore(tmp_path / "empty.dvl") as store:
        alone = value(SerialBackend(), store=store)
    assert same_bits(found, plain)
    assert found.n_computed == alone.n_computed


def test_workers_go_on_without_a_memcached_server(plain, capfd) -> None:
    pytest.importorskip("pymemcache")
    from dvl_memcached import MemcachedStore

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.warns(DvlWarning, match=r"memcached server .* failed") as told:
        found = value(LOKY, store=MemcachedStore(f"127.0.0.1:{port}"))
    assert same_bits(found, plain)
    assert len([warning for warning in told if issubclass(warning.category, DvlWarning)]) == 1
    # Workers tell it as well, each once, where they write.
    assert capfd.readouterr().err.count("DvlWarning") <= 2


def test_an_error_of_a_model_is_not_tried_again(tmp_path) -> None:
    with pytest.raises(UtilityError, match=r"coalition of 10 of 12 players .*no model of ten rows"):
        value(LOKY, marker=str(tmp_path / "failed"))


def test_a_run_without_its_ledger_stops(tmp_path) -> None:
    (tmp_path / "other").write_text("a file of another program")
    with pytest.raises(StoreError, match="is not a dvl store"):
        value(LOKY, store=DiskStore(tmp_path / "other"))
    assert (tmp_path / "other").read_text() == "a file of another program"


class Sleepy(LogisticRegression):
    """Sleeps for a minute over seven rows."""

    def fit(self, x, y):
        if len(x) == 7:
            time.sleep(self.max_iter)
        return super().fit(x, y)


def limited(backend, seconds: float, nap: int) -> ValuationResult:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 2))
    y = (x[:, 0] > 0).astype(int)
    scorer = SupervisedScorer("accuracy", Dataset(x[12:], y[12:]))
    utility = ModelUtility(Sleepy(max_iter=nap), scorer, time_limit=seconds)
    rule = MaxEvaluations(100)
    valuation = DataShapleyValuation(utility, PermutationSampler(), rule, seed=2, backend=backend)
    return valuation.fit(Dataset(x[:12], y[:12])).result


@pytest.fixture
def dask():
    pytest.importorskip("distributed")
    from dvl_dask import DaskBackend, local_client

    with local_client(2) as client:
        yield DaskBackend(client)


@pytest.fixture
def ray():
    cloudpickle = pytest.importorskip("ray.cloudpickle")
    from dvl_ray import RayBackend

    # Workers cannot import a module of tests.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with RayBackend(n_jobs=2) as backend:
        yield backend


@pytest.mark.slow
def test_a_fit_that_hangs_on_ray_is_cut_and_named(ray) -> None:
    with pytest.raises(UtilityError, match=r"coalition of 7 of 12 players .*longer than 0.5 s"):
        limited(ray, 0.5, 60)


@pytest.mark.slow
def test_workers_of_dask_are_threads_to_a_time_limit(dask) -> None:
    dask.client.run(sys.path.append, str(Path(__file__).parent))
    found = limited(dask, 0.5, 1)
    assert same_bits(found, limited(SerialBackend(), 60, 1))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dask", "ray"])
def test_clusters_name_the_coalition_that_kills_every_worker(request, tmp_path, name) -> None:
    parent = os.getpid()

    def deadly(coalitions):
        alone = coalitions[:, 5] & (coalitions.sum(axis=1) == 1)
        if os.getpid() != parent and alone.any():
            os.kill(os.getpid(), signal.SIGKILL)
        return (coalitions @ np.arange(1.0, coalitions.shape[1] + 1.0)) ** 1.5

    def run(backend):
        valuation = DataShapleyValuation(
            FunctionGame(8, deadly, fingerprint="deadly"),
            PermutationSampler(),
            MaxEvaluations(800),
            seed=3,
            backend=backend,
            checkpoint=tmp_path / "checkpoint.npz",
        )
        return valuation.fit().result

    backend = request.getfixturevalue(name)
    with pytest.raises(UtilityError, match=r"the coalition of 1 players \[5\]"):
        run(backend)
    assert list(backend.map(pow, 2, range(4))) == [1, 2, 4, 8]
    assert (tmp_path / "checkpoint.npz").exists()
    assert run(SerialBackend()).n_evaluations > 0


def marked(mark: str) -> list[psutil.Process]:
    """Return the processes that have inherited a mark in their environment."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("DVL_TEST_MARK") == mark and process.pid != os.getpid():
                found.append(process)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "killed"])
@pytest.mark.parametrize("name", ["joblib", "dask", "ray"])
def test_a_run_that_is_cut_off_leaves_no_process(tmp_path, name, number) -> None:
    """Ctrl-C comes from a terminal to all processes of a command at once."""
    rows = [f"{(i * 7) % 11},{(i * 3) % 5},{'yes' if i % 3 else 'no'}" for i in range(40)]
    (tmp_path / "data.csv").write_text("\n".join(["a,b,label", *rows]) + "\n")
    (tmp_path / "slow_model.py").write_text(
        "import time\n"
        "from sklearn.naive_bayes import GaussianNB\n"
        "class Slow(GaussianNB):\n"
        "    def fit(self, x, y):\n"
        "        time.sleep(0.01)\n"
        "        return super().fit(x, y)\n"
    )
    command = [str(Path(sys.executable).with_name("dvl")), "value", "data.csv", "--target", "label"]
    command += ["--model", "slow_model:Slow", "--budget", "20000", "--out", "out"]
    command += ["--backend", name, "--n-jobs", "2"]
    mark = f"{tmp_path}"
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "DVL_TEST_MARK": mark}
    with (tmp_path / "errors").open("w") as errors:
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "out" / "checkpoint.npz").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(1)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.kill()
        code = process.wait(timeout=60)
        # Some processes of Ray take a minute to notice that their parent was killed.
        _, left = psutil.wait_procs(marked(mark), timeout=90)
        assert not left
    finally:
        for remaining in marked(mark):
            with suppress(psutil.Error):
                remaining.kill()
    if number == signal.SIGINT:
        assert code == 130
        told = (tmp_path / "errors").read_text()
        assert "Traceback" not in told
        assert told.splitlines()[-1].startswith("interrupted: the partial result is in out")
