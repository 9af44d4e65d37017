"""The same seed gives the same bits: whatever the backend, the grouping, or an interruption."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import joblib
import numpy as np
import psutil
import pytest
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression

from dvl_banzhaf import DataBanzhafValuation
from dvl_core import tasks
from dvl_core.backends import JoblibBackend, SerialBackend
from dvl_core.data import Dataset
from dvl_core.errors import CheckpointError, RunInterrupted, UtilityError
from dvl_core.games import FunctionGame
from dvl_core.protocols import Backend
from dvl_core.result import ValuationResult
from dvl_core.run_state import RunState
from dvl_core.samplers import UniformSampler
from dvl_core.scorers import SupervisedScorer
from dvl_core.stopping import MaxEvaluations, MaxUpdates, MinUpdates, RankCorrelation
from dvl_core.stores import DiskStore, MemoryStore
from dvl_core.utilities import ModelUtility
from dvl_shapley import (
    AntitheticPermutationSampler,
    DataShapleyValuation,
    PermutationSampler,
    TruncatedPermutationSampler,
)

WEIGHTS = np.random.default_rng(0).normal(size=(12, 12))


def quadratic(coalitions: np.ndarray) -> np.ndarray:
    """Matrix products: the last bits depend on the shape of the batch."""
    z = coalitions.astype(float)
    return np.tanh(((z @ WEIGHTS) * z).sum(axis=1))


def same_bits(a: ValuationResult, b: ValuationResult) -> bool:
    return all(
        getattr(a, field).tobytes() == getattr(b, field).tobytes()
        for field in ("values", "stderr", "variances", "counts")
    ) and (a.n_evaluations, a.stop_reason) == (b.n_evaluations, b.stop_reason)


def game_valuation(**options: object) -> DataShapleyValuation:
    options = {"sampler": PermutationSampler(), "stopping": MinUpdates(60), "seed": 5} | options
    sampler, stopping = options.pop("sampler"), options.pop("stopping")
    return DataShapleyValuation(FunctionGame(12, quadratic), sampler, stopping, **options)


@pytest.mark.parametrize(
    "sampler",
    [
        PermutationSampler(),
        AntitheticPermutationSampler(),
        TruncatedPermutationSampler(tolerance=0.2, burn_in=0.2),
        UniformSampler(),
    ],
    ids=repr,
)
@pytest.mark.parametrize(
    "backend",
    [JoblibBackend(2, "threading"), JoblibBackend(2, "loky"), JoblibBackend(3, "threading")],
    ids=repr,
)
@pytest.mark.filterwarnings("ignore::dvl_core.errors.DvlWarning")
def test_backends_give_the_same_bits(sampler: object, backend: Backend) -> None:
    serial = game_valuation(sampler=sampler, backend=SerialBackend()).fit().result
    other = game_valuation(sampler=sampler, backend=backend).fit().result
    assert same_bits(serial, other)


def test_grouping_of_blocks_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    serial = game_valuation().fit().result
    for size in (1, 7, 50):
        monkeypatch.setattr(tasks.BlockQueue, "_wanted_size", lambda self, number, size=size: size)
        grouped = game_valuation(backend=JoblibBackend(2, "threading")).fit().result
        assert same_bits(serial, grouped)


@pytest.mark.parametrize("context", ["loky", "threading"])
def test_the_active_joblib_context_is_honoured(context: str) -> None:
    serial = game_valuation().fit().result
    with joblib.parallel_config(context, n_jobs=2):
        inside = game_valuation().fit().result
    assert same_bits(serial, inside)


def test_models_give_the_same_bits_on_processes() -> None:
    x, y = make_classification(60, 5, random_state=0)
    train, test = Dataset.from_arrays(x, y, train_size=0.5, random_state=0)
    utility = ModelUtility(LogisticRegression(), SupervisedScorer("neg_log_loss", test))

    def run(backend: Backend) -> ValuationResult:
        rule = MaxEvaluations(1000) | RankCorrelation(0.3)
        return DataBanzhafValuation(utility, None, rule, seed=1, backend=backend).fit(train).result

    assert same_bits(run(SerialBackend()), run(JoblibBackend(2, "loky")))


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_a_store_changes_what_is_computed_but_no_bit(kind: str, tmp_path: Path) -> None:
    plain = game_valuation().fit().result
    store = MemoryStore() if kind == "memory" else DiskStore(tmp_path / "ledger")
    first = game_valuation(store=store).fit().result
    again = game_valuation(store=store).fit().result
    parallel = game_valuation(store=store, backend=JoblibBackend(2, "loky")).fit().result
    assert same_bits(plain, first)
    assert same_bits(plain, again)
    assert same_bits(plain, parallel)
    assert again.n_computed == 0
    assert parallel.n_computed == 0
    assert first.n_computed == plain.n_evaluations


def test_blocks_past_the_stop_are_not_counted() -> None:
    rule = MaxUpdates(13)
    parallel = game_valuation(stopping=rule, backend=JoblibBackend(2, "threading")).fit().result
    assert same_bits(game_valuation(stopping=rule).fit().result, parallel)


def test_a_run_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "state.npz"
    whole = game_valuation(stopping=MaxUpdates(80)).fit().result
    game_valuation(stopping=MaxUpdates(20), checkpoint=path).fit()
    resumed = game_valuation(stopping=MaxUpdates(80), checkpoint=path).fit().result
    assert same_bits(whole, resumed)


def test_a_finished_run_returns_at_once(tmp_path: Path) -> None:
    path = tmp_path / "state.npz"
    first = game_valuation(checkpoint=path).fit().result

    def unwanted(coalitions: np.ndarray) -> np.ndarray:
        raise AssertionError("nothing is left to evaluate")

    game = FunctionGame(12, unwanted, fingerprint=FunctionGame(12, quadratic).fingerprint)
    valuation = DataShapleyValuation(
        game, PermutationSampler(), MinUpdates(60), seed=5, checkpoint=path
    )
    assert same_bits(first, valuation.fit().result)


def test_a_fresh_seed_is_resumed_with_its_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "state.npz"
    first = game_valuation(seed=None, stopping=MaxUpdates(20), checkpoint=path).fit().result
    resumed = game_valuation(seed=None, stopping=MaxUpdates(40), checkpoint=path).fit().result
    assert resumed.seed == first.seed
    assert same_bits(resumed, game_valuation(seed=first.seed, stopping=MaxUpdates(40)).fit().result)


@pytest.mark.parametrize(
    ("options", "culprit"),
    [({"seed": 6}, "seed"), ({"sampler": AntitheticPermutationSampler()}, "design")],
)
def test_a_checkpoint_of_another_run_is_refused(
    options: dict[str, object], culprit: str, tmp_path: Path
) -> None:
    path = tmp_path / "state.npz"
    game_valuation(checkpoint=path).fit()
    with pytest.raises(CheckpointError, match=culprit):
        game_valuation(checkpoint=path, **options).fit()


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_a_damaged_checkpoint_is_named(damage: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "state.npz"
    game_valuation(checkpoint=path).fit()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] if damage is None else damage)
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        game_valuation(checkpoint=path).fit()


def test_an_error_keeps_the_blocks_before_it(tmp_path: Path) -> None:
    path = tmp_path / "state.npz"
    fingerprint = FunctionGame(12, quadratic).fingerprint
    calls = 0

    def failing(coalitions: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        values = quadratic(coalitions)
        if calls == 9:
            values[3] = np.nan
        return values

    game = FunctionGame(12, failing, fingerprint=fingerprint)
    broken = DataShapleyValuation(
        game, PermutationSampler(), MinUpdates(60), seed=5, checkpoint=path
    )
    with pytest.raises(UtilityError, match="nan"):
        broken.fit()
    resumed = game_valuation(checkpoint=path).fit().result
    assert same_bits(game_valuation().fit().result, resumed)


@pytest.mark.parametrize("sampler", [PermutationSampler(), None], ids=["permutation", "default"])
@pytest.mark.parametrize("moment", ["anchors", "block", "fold"])
def test_ctrl_c_at_any_moment_leaves_a_state_that_goes_on(
    sampler: object, moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping = MaxEvaluations(600)
    options = {"sampler": sampler, "stopping": stopping, "backend": SerialBackend()}
    straight = game_valuation(**options).fit().result
    calls = {"utility": 0}

    def interrupted(coalitions: np.ndarray) -> np.ndarray:
        calls["utility"] += 1
        if calls["utility"] == {"anchors": 1, "block": 6}.get(moment):
            os.kill(os.getpid(), signal.SIGINT)
        return quadratic(coalitions)

    def half_folded(self: RunState, block: tasks.Block) -> None:
        self.count(block)
        if block.number == 3:
            os.kill(os.getpid(), signal.SIGINT)
        self.accumulator.fold(block.sample)
        self.next_block = block.number + 1

    path = tmp_path / "run.npz"
    game = FunctionGame(12, interrupted, fingerprint="quadratic")
    with monkeypatch.context() as patched:
        if moment == "fold":
            patched.setattr(RunState, "fold", half_folded)
        with pytest.raises(RunInterrupted):
            DataShapleyValuation(
                game, sampler, stopping, seed=5, backend=SerialBackend(), checkpoint=path
            ).fit()
    game = FunctionGame(12, quadratic, fingerprint="quadratic")
    resumed = DataShapleyValuation(game, sampler, stopping, seed=5, checkpoint=path).fit().result
    assert same_bits(resumed, straight)


def test_ctrl_c_keeps_the_partial_result(tmp_path: Path) -> None:
    path = tmp_path / "state.npz"
    fingerprint = FunctionGame(12, quadratic).fingerprint
    calls = 0

    def interrupting(coalitions: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls == 9:
            raise KeyboardInterrupt
        return quadratic(coalitions)

    game = FunctionGame(12, interrupting, fingerprint=fingerprint)
    valuation = DataShapleyValuation(
        game, PermutationSampler(), MinUpdates(60), seed=5, checkpoint=path
    )
    with pytest.raises(RunInterrupted):
        valuation.fit()
    assert valuation.result.stop_reason == "interrupted"
    assert valuation.result.counts.min() > 0
    assert not valuation.result.converged.any()
    resumed = game_valuation(checkpoint=path).fit().result
    assert same_bits(game_valuation().fit().result, resumed)


SCRIPT = textwrap.dedent(
    """
    import sys, time
    import numpy as np
    from dvl_shapley import DataShapleyValuation, PermutationSampler
    from dvl_core import FunctionGame, JoblibBackend, MaxUpdates, SerialBackend, engine

    engine.SECONDS_BETWEEN_CHECKPOINTS = 0.01
    engine.SHARE_OF_TIME_FOR_CHECKPOINTS = 0.5

    def slow(coalitions):
        time.sleep(0.01)
        return np.tanh(coalitions.sum(axis=1) + coalitions[:, 0])

    if __name__ == "__main__":
        game = FunctionGame(9, slow)
        backend = JoblibBackend(2, "loky") if "loky" in sys.argv else SerialBackend()
        valuation = DataShapleyValuation(
            game, PermutationSampler(), MaxUpdates(800), seed=3, checkpoint=sys.argv[1],
            backend=backend,
        )
        valuation.fit().result.save(sys.argv[2])
    """
)


def killed_and_resumed(folder: Path, delays: list[float], *words: str) -> ValuationResult:
    """Run the script, kill it with SIGKILL after each delay, then let it finish."""
    script = folder / "job.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(folder / "state.npz"), str(folder / "out.npz")]
    command += words
    for delay in delays:
        process = subprocess.Popen(command)
        time.sleep(delay)
        workers = psutil.Process(process.pid).children(recursive=True)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        _, alive = psutil.wait_procs(workers, timeout=30)
        assert not alive, "workers outlive a run that was killed"
    subprocess.run(command, check=True, timeout=120)
    return ValuationResult.load(folder / "out.npz")


def test_sigkill_and_resume_equal_the_uninterrupted_run(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    whole = killed_and_resumed(tmp_path / "whole", [])
    cut = killed_and_resumed(tmp_path / "cut", [1.6, 2.0])
    assert same_bits(whole, cut)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_many_random_kills_change_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "whole").mkdir()
    whole = killed_and_resumed(tmp_path / "whole", [])
    for trial, delay in enumerate(rng.uniform(0.1, 4.0, size=100)):
        folder = tmp_path / str(trial)
        folder.mkdir()
        words = ["loky"] if trial % 2 else []
        assert same_bits(whole, killed_and_resumed(folder, [delay], *words)), trial
