"""What the sides of a benchmark do: the same work, measured on its own."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent / "benchmarks"))

from cases import CASES
from measure import OURS, Case, Script
from page import section
from results import Result
from sides import floor, influence_ours, ours
from sides.common import Prepared, measured

pytestmark = pytest.mark.slow
MODULES = {"floor": floor, "influence_ours": influence_ours, "ours": ours}
WITH_VALUES = [case for case in CASES if isinstance(case, Case) and case.size]


@pytest.mark.parametrize("case", WITH_VALUES, ids=lambda case: case.name)
def test_our_sides_and_the_floor_compute_the_same(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = case.make(**case.tiny)
    outputs = {}
    for side in case.sides:
        assert isinstance(side, Script)
        if side.environment != OURS:
            continue
        # A side that does without a plugin says so to its process, which here is this one.
        monkeypatch.setenv("DVL_DISABLE_PLUGINS", "")
        module = MODULES[side.module]
        numbers = {name: np.array(value) for name, value in side.numbers.items()}
        prepared = module.PREPARE[side.work]({**arrays, **numbers})
        outputs[side.label] = prepared.outputs(prepared.work())
    differences = case.check(arrays, outputs)
    assert any(label.startswith("dvl") for label in differences)
    for label, difference in differences.items():
        assert difference <= case.tolerated(label)
        key = "scores" if "scores" in outputs[label] else "values"
        found = outputs[label][key]
        assert np.ptp(found) > 0
        shift = 2 * case.tolerated(label) * max(1.0, np.abs(found).max())
        wrong = {**outputs[label], key: found + shift}
        assert case.check(arrays, {**outputs, label: wrong})[label] > case.tolerated(label)


def test_a_bound_that_a_result_states_is_on_the_page() -> None:
    case = next(case for case in CASES if case.name == "knn-large")
    prepared = ours.knn_large({**case.make(5_000, 3)})
    outputs = {"dvl": prepared.outputs(prepared.work())}
    assert 0 < outputs["dvl"]["error_bound"] <= 1e-3
    result = Result("a", "A", "", {"dvl": [1.0]}, remarks=case.remark(outputs))
    assert "1.0e-03 for each value." in section(result)


def test_our_book_keeping_does_not_work_less_than_the_others() -> None:
    case = next(case for case in CASES if case.name == "msr")
    arrays = {**case.make(**case.tiny), "n_coalitions": np.array(65)}
    prepared = ours.msr(arrays)
    assert 65 <= len(prepared.outputs(prepared.work())["coalitions"]) <= 128


def test_permutations_are_handed_to_the_others_in_full() -> None:
    permutations = ours.drawn_permutations(7, 5, seed=3)
    assert permutations.shape == (5, 7)
    assert (np.sort(permutations, axis=1) == np.arange(7)).all()
    assert len(np.unique(permutations, axis=0)) > 1


def test_a_script_is_timed_in_a_process_of_its_own(tmp_path: Path) -> None:
    case = next(case for case in CASES if case.name == "knn")
    for name in ("inputs.npz", "tiny.npz"):
        np.savez(tmp_path / name, **case.make(**case.tiny))
    timing = Script("floor", "floor", "knn", 1).time({"ours": Path(sys.executable)}, tmp_path)
    assert timing.seconds > 0
    assert timing.outputs["values"].shape == (case.tiny["n"],)
    assert {"python", "numpy", "scikit-learn"} <= timing.versions.keys()


def test_memory_of_the_work_is_measured_beyond_what_was_held_before() -> None:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the system does not tell")
    held = np.ones(4_000_000)
    np.ones(16_000_000).sum()
    prepared = Prepared(lambda: np.ones(8_000_000).sum(), lambda total: {"total": total})
    summary, outputs = measured(prepared)
    assert outputs["total"] == 2 * held.sum()
    peak, beyond = summary["memory"]
    assert 55 < beyond < 75
    assert peak > beyond + 30
