"""Workers die, and the run goes on to the same bits; what kills them every time is named."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import psutil
import pytest
from sklearn.linear_model import LogisticRegression

from dvl_banzhaf import DataBanzhafValuation, MSRSampler
from dvl_core import recovery
from dvl_core.backends import JoblibBackend, SerialBackend
from dvl_core.data import Dataset
from dvl_core.errors import InvalidOptionError, UtilityError
from dvl_core.games import FunctionGame
from dvl_core.scorers import SupervisedScorer
from dvl_core.stopping import MaxEvaluations
from dvl_core.stores import DiskStore
from dvl_core.utilities import ModelUtility
from dvl_core.utilities.time_limit import TimeLimitError, time_limit
from dvl_shapley import DataShapleyValuation, PermutationSampler

LOKY = JoblibBackend(2, "loky")


def deadly(coalitions: np.ndarray, marker: Path, victim: int | None, parent: int) -> np.ndarray:
    """Kill the worker process: once, or whenever a coalition is that of one player."""
    values = np.tanh(coalitions @ np.arange(coalitions.shape[1]) / 10)
    if os.getpid() != parent:
        alone = victim is not None and (coalitions[:, victim] & (coalitions.sum(axis=1) == 1)).any()
        if alone or (victim is None and len(values) and not marker.exists()):
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return values


def valuation(marker: Path, victim: int | None = None, **options) -> DataShapleyValuation:
    game = FunctionGame(8, partial(deadly, marker=marker, victim=victim, parent=os.getpid()))
    return DataShapleyValuation(game, PermutationSampler(), MaxEvaluations(1600), seed=3, **options)


def same_bits(one, other) -> bool:
    return one.values.tobytes() == other.values.tobytes() and (
        one.stderr.tobytes() == other.stderr.tobytes() and one.n_evaluations == other.n_evaluations
    )


@pytest.mark.parametrize("streams", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_worker_that_is_killed_costs_no_bit(tmp_path, streams, monkeypatch) -> None:
    if not streams:
        monkeypatch.setattr(JoblibBackend, "_streams", lambda self: False)
    expected = valuation(tmp_path / "died", backend=SerialBackend()).fit().result
    assert not (tmp_path / "died").exists()
    found = valuation(tmp_path / "died", backend=LOKY).fit().result
    assert (tmp_path / "died").exists()
    assert same_bits(found, expected)


def test_the_coalition_that_kills_every_worker_is_named_and_nothing_is_lost(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(recovery, "ATTEMPTS", 1)
    options = {"backend": LOKY, "checkpoint": tmp_path / "checkpoint.npz"}
    with pytest.raises(UtilityError, match=r"died 1 times in a row on the coalition of 1 players "):
        valuation(tmp_path / "died", victim=5, **options).fit()
    assert (tmp_path / "checkpoint.npz").exists()
    expected = valuation(tmp_path / "unused").fit().result
    options["backend"] = SerialBackend()
    assert same_bits(valuation(tmp_path / "died", victim=5, **options).fit().result, expected)


def test_memory_that_is_short_for_a_moment_costs_no_bit(tmp_path) -> None:
    def short(coalitions: np.ndarray, calls: list[int]) -> np.ndarray:
        calls.append(len(coalitions))
        if len(calls) in (3, 7):
            raise MemoryError("not now")
        return np.sqrt(coalitions.sum(axis=1))

    def fitted(calls: list[int]):
        game = FunctionGame(6, partial(short, calls=calls))
        rule = MaxEvaluations(300)
        return DataBanzhafValuation(game, MSRSampler(), rule, backend=SerialBackend(), seed=1).fit()

    assert same_bits(fitted([]).result, fitted([0] * 10).result)


def test_memory_that_never_suffices_is_reported_with_the_coalition() -> None:
    def short(coalitions: np.ndarray) -> np.ndarray:
        if (coalitions.sum(axis=1) == 4).any():
            raise MemoryError("too large")
        return np.sqrt(coalitions.sum(axis=1))

    game = FunctionGame(6, short)
    rule = MaxEvaluations(300)
    with pytest.raises(UtilityError, match=r"the coalition of 4 players \[.*\]: too large"):
        DataBanzhafValuation(game, MSRSampler(), rule, backend=SerialBackend(), seed=1).fit()


class Sluggish(LogisticRegression):
    """Takes long on some numbers of rows, deaf to alarms if told so."""

    def __init__(self, slow: tuple[int, ...] = (), deaf: bool = False) -> None:
        super().__init__()
        self.slow = slow
        self.deaf = deaf

    def fit(self, x, y):
        if len(x) in self.slow:
            if self.deaf:
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
            with contextlib.suppress(Exception):
                time.sleep(60)
        return super().fit(x, y)


def limited(slow: tuple[int, ...], backend, deaf=False, on_error="default", **options):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 2))
    y = (x[:, 0] > 0).astype(int)
    scorer = SupervisedScorer("accuracy", Dataset(x[12:], y[12:]))
    utility = ModelUtility(Sluggish(slow, deaf), scorer, on_error=on_error, time_limit=0.3)
    rule = MaxEvaluations(100)
    made = DataShapleyValuation(
        utility, PermutationSampler(), rule, seed=2, backend=backend, **options
    )
    return made.fit(Dataset(x[:12], y[:12])).result


@pytest.mark.parametrize("backend", [SerialBackend(), LOKY], ids=repr)
def test_a_fit_that_hangs_is_cut_and_named(backend) -> None:
    start = time.perf_counter()
    with pytest.raises(UtilityError, match=r"coalition of 7 of 12 players .*longer than 0.3 s"):
        limited((7,), backend)
    assert time.perf_counter() - start < 30


def test_the_alarm_of_somebody_else_goes_on() -> None:
    rung = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    timer = signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(TimeLimitError), time_limit(0.05, os.getpid()):
            time.sleep(10)
        assert not rung
        with time_limit(10, os.getpid()):
            pass
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] < 0.3
        time.sleep(0.4)
        assert rung
    finally:
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *timer)


def test_fits_that_are_cut_count_as_failures_on_request(tmp_path) -> None:
    with DiskStore(tmp_path / "ledger.dvl") as store:
        result = limited((7,), SerialBackend(), on_error="score", store=store)
    assert result.n_failures >= 3
    assert np.isfinite(result.values).all()


def test_threads_are_told_that_nothing_is_cut() -> None:
    with pytest.warns(UserWarning, match="not in threads"):
        limited((), JoblibBackend(2, "threading"))


@pytest.mark.slow
def test_a_worker_that_hears_no_alarm_is_ended_and_its_coalition_named() -> None:
    with pytest.raises(UtilityError, match=r"the coalition of 7 players \["):
        limited((7,), LOKY, deaf=True)
    workers = psutil.Process().children(recursive=True)
    assert not [w for w in workers if w.status() == psutil.STATUS_ZOMBIE]


def test_a_time_limit_is_a_number_of_seconds() -> None:
    scorer = SupervisedScorer("accuracy", Dataset(np.zeros((2, 1)), np.array([0, 1])))
    for wrong in (0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InvalidOptionError, match="time_limit must be positive seconds"):
            ModelUtility(LogisticRegression(), scorer, time_limit=wrong)


@pytest.mark.slow
def test_a_joblib_context_survives_as_well(tmp_path) -> None:
    with joblib.parallel_config("loky", n_jobs=2):
        found = valuation(tmp_path / "died").fit().result
    assert (tmp_path / "died").exists()
    assert same_bits(found, valuation(tmp_path / "died").fit().result)
