"""Benchmarks of rates, overheads and memory: bounds, what is left out, and that the sides run."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "benchmarks"))

from cases import large_data, ledger, scaling
from page import section
from quantities import Goal, QuantityCase, QuantityResult, Row
from sides import quantities

CASES = [scaling.CASE, ledger.CASE, large_data.CASE]
PYTHONS = {"ours": Path(sys.executable)}


def tiny(case: QuantityCase, folder: Path, rounds: int = 1) -> QuantityResult:
    goals = [Goal(goal.label, goal.unit) for goal in case.goals]
    small = QuantityCase(
        case.name, case.title, case.what, case.module, goals, case.tiny, case.tiny, rounds
    )
    return small.measure(PYTHONS, folder, lambda _: None)


@pytest.mark.parametrize(
    ("goal", "values", "reached"),
    [
        (Goal("a", "s", at_most=2.0), [1.0, 2.0, 9.0], True),
        (Goal("a", "s", at_most=2.0), [1.0, 2.1, 9.0], False),
        (Goal("a", "s", at_least=2.0), [0.0, 2.0, 9.0], True),
        (Goal("a", "s", at_least=2.0), [0.0, 1.9, 9.0], False),
        (Goal("a", "s", at_least=2.0), [float("nan")], False),
        (Goal("a", "s", at_most=2.0), [float("nan")], False),
        (Goal("a", "s"), [7.0], True),
    ],
)
def test_a_bound_is_on_the_median(goal: Goal, values: list[float], reached: bool) -> None:
    row = Row(goal, values)
    result = QuantityResult("a", "A", "What.", [row], [], {})
    assert row.reached is reached
    assert result.passed is reached
    verdict = "" if goal.bound == "" else "**reached**" if reached else "**missed**"
    assert verdict in section(result)
    assert ("**" in section(result)) is (verdict != "")


def test_a_bound_is_written_out() -> None:
    assert Goal("a", "s", at_least=1_000_000).bound == "at least 1,000,000"
    assert Goal("a", "s", at_most=1.05).bound == "at most 1.05"


def test_what_a_side_does_not_give_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(command: list[str]) -> None:
        folder = Path(command[-1])
        assert json.loads((folder / "job.json").read_text()) == {"n": 3}
        outputs = {"values": {"there": 1.5}, "versions": {"python": "3"}}
        (folder / "outputs.json").write_text(json.dumps(outputs))

    monkeypatch.setattr("quantities.run_quietly", measured)
    goals = [Goal("there", "s"), Goal("not there", "s", at_most=1)]
    case = QuantityCase("a", "A", "Of {n}.", "module", goals, {"n": 3}, {"n": 1}, 2)
    result = case.measure(PYTHONS, tmp_path, lambda _: None)
    assert [(row.goal.label, row.values) for row in result.rows] == [("there", [1.5, 1.5])]
    assert result.passed
    page = section(result)
    assert "Of 3." in page
    assert "Not measured here, for lack of the package or server: not there." in page


def test_a_side_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "job.json").write_text('{"n": 2}')
    monkeypatch.setattr(sys, "argv", ["side", str(tmp_path)])
    quantities.serve(lambda size, _: {"twice": 2 * size["n"]}, ["numpy"])
    outputs = json.loads((tmp_path / "outputs.json").read_text())
    assert outputs["values"] == {"twice": 4}
    assert outputs["versions"].keys() == {"python", "numpy"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_cases_describe_what_they_run(case: QuantityCase) -> None:
    assert case.size.keys() == case.tiny.keys()
    assert "{" not in case.what.format(**case.size)
    assert any(goal.bound for goal in case.goals)


def test_records_are_counted(tmp_path: Path) -> None:
    result = tiny(ledger.CASE, tmp_path)
    assert {row.goal.label for row in result.rows} >= {"memory", "disk"}
    assert all(row.values[0] > 100 for row in result.rows)


@pytest.mark.slow
@pytest.mark.parametrize("case", [scaling.CASE, large_data.CASE], ids=lambda case: case.name)
def test_sides_measure_all_that_is_asked_for(case: QuantityCase, tmp_path: Path) -> None:
    result = tiny(case, tmp_path)
    assert result.left_out == []
    assert all(row.values[0] > 0 for row in result.rows)
