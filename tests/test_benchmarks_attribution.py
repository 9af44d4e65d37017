"""The benchmarks of influence: scores against retraining, bounds, pages, and what sides can do."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent / "benchmarks"))

pytest.importorskip("torch")

import attribution
from attribution import AttributionCase, Bound, datamodeling_score
from cases import datamodeling, influence
from measure import Script, Timing
from page import section
from retraining import DigitsNet

SIDES = Path(__file__).parent / "benchmarks" / "sides"
TINY = DigitsNet("tiny", "a tiny net", (64, 2, 10), 0.01, 0.1, 0.2, halves=4, starts=1)


def test_scores_that_predict_the_losses_have_a_correlation_of_one() -> None:
    rng = np.random.default_rng(0)
    halves = rng.random((30, 12)) < 0.5
    scores = rng.normal(size=(5, 12))
    losses = np.exp(-(halves @ scores.T))
    assert datamodeling_score(scores, halves, losses) == pytest.approx(1.0)
    assert datamodeling_score(-scores, halves, losses) == pytest.approx(-1.0)
    assert abs(datamodeling_score(rng.normal(size=(5, 12)), halves, losses)) < 0.5


def test_a_bound_is_a_number_or_what_others_reach() -> None:
    scores = {"dvl": 0.5, "a": 0.51, "b": 0.3}
    assert Bound("net", ("dvl",), 0.5).wanted(scores) == 0.5
    others = Bound("net", ("dvl",), {"a": 0.01, "b": 0.01})
    assert others.wanted(scores) == pytest.approx(0.5)
    assert Bound("net", ("b", "dvl"), 0.4).found(scores) == 0.5
    assert not Bound("net", ("dvl",), {"missing": 0.0}).ran(scores)


def test_nets_are_trained_on_halves_once_and_kept(tmp_path: Path) -> None:
    arrays = TINY.arrays()
    assert arrays["x"].shape == (800, 64)
    assert len(arrays["weights"]) == 64 * 2 + 2 + 2 * 10 + 10
    halves, losses = TINY.retrained(arrays, tmp_path)
    assert halves.shape == (4, 800)
    assert (halves.sum(axis=1) == 400).all()
    assert losses.shape == (4, 150)
    (file,) = tmp_path.iterdir()
    written = file.stat().st_mtime_ns
    again = TINY.retrained(arrays, tmp_path)
    assert file.stat().st_mtime_ns == written
    np.testing.assert_array_equal(again[1], losses)


def test_flipped_labels_are_other_labels() -> None:
    plain = DigitsNet("p", "p", (64, 10), 0.01, 0.0, 0.0, 1, 1).arrays()
    flipped = DigitsNet("f", "f", (64, 10), 0.01, 0.1, 0.0, 1, 1).arrays()
    assert (plain["y"] != flipped["y"]).sum() == 80
    assert (plain["y_test"] == flipped["y_test"]).all()


def test_a_case_tells_scores_and_whether_bounds_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = AttributionCase(
        "a",
        "A case",
        "What it is.",
        [TINY],
        [Script("dvl", "influence_ours", "w", 1), Script("pyDVL", "influence_pydvl", "w", 1)],
        [Bound(TINY.title, ("dvl",), 2.0), Bound(TINY.title, ("dvl",), {"pyDVL": 0.0})],
        tmp_path,
    )
    monkeypatch.setattr(
        Script,
        "time",
        lambda self, pythons, folder: Timing(1.0, {"scores": np.ones((150, 800))}, {"v": "1"}),
    )
    monkeypatch.setattr(attribution, "datamodeling_score", lambda *_: 0.5)
    python = Path(sys.executable)
    lines: list[str] = []
    result = case.measure({"ours": python}, tmp_path, lines.append)
    assert [bound.at_least for bound, _, _ in result.judged] == [2.0]
    assert len(lines) == 1
    result = case.measure({"ours": python, "influence": python}, tmp_path, lines.append)
    assert not result.passed
    text = section(result)
    assert "| dvl | 0.500 |" in text
    assert "at least 2.000. Measured: 0.500, **missed**" in text
    assert "at least 0.500. Measured: 0.500, **reached**" in text


@pytest.mark.parametrize(
    "case", [influence.CASE, influence.GRADIENTS, datamodeling.CASE], ids=lambda case: case.name
)
def test_sides_can_do_what_cases_ask_of_them(case) -> None:
    for side in case.sides:
        text = (SIDES / f"{side.module}.py").read_text()
        assert re.search(rf'"{side.work}": ', text), (side.label, side.work)
    labels = [side.label for side in case.sides]
    assert len(set(labels)) == len(labels)
    for bound in getattr(case, "bounds", ()):
        others = bound.at_least if isinstance(bound.at_least, dict) else ()
        assert {*bound.sides, *others} <= set(labels)
    for target in getattr(case, "targets", ()):
        assert {target.numerator, target.denominator} <= set(labels)


def test_arrays_of_the_timed_cases_describe_a_trained_net() -> None:
    from sides.influence_problem import problem_of

    problem = problem_of(influence.make(n=300, n_test=5))
    hits = (problem.model(problem.x).argmax(dim=1) == problem.y).float().mean()
    assert hits > 0.95
    assert len(problem.x_test) == 5
