"""The benchmarks of what evaluations and book-keeping cost, and in whose environment sides run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent / "benchmarks"))

import overheads
import priced
from cases import bookkeeping, many_players, price
from measure import OUR_LIBRARY, OURS, Case, Command, Script, Timing
from overheads import Chart, Job, OverheadCase, OverheadResult, Timed
from page import section
from priced import Entry, PriceCase, PriceResult, Row
from sides import overheads as overheads_side
from sides import overheads_ours
from sides import price as price_side

OUR_PYTHON = {OURS: Path("ours")}


def test_sides_run_in_the_environment_of_their_library() -> None:
    sides = [Script("", module, "msr", 1) for module in ("floor", "ours", "peer", "opendataval")]
    assert [(side.environment, side.library) for side in sides] == [
        (OURS, OUR_LIBRARY),
        (OURS, OUR_LIBRARY),
        ("peer", "pyDVL"),
        ("others", "opendataval"),
    ]
    assert Command("dvl", "dvl", (), 1).environment == OURS


def test_a_side_without_its_environment_is_left_out_and_versions_name_each_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def time(side: Script, pythons: Mapping[str, Path], folder: Path) -> Timing:
        return Timing(1.0, versions={"python": str(pythons[side.environment])})

    monkeypatch.setattr(Script, "time", time)
    modules = ("floor", "ours", "peer", "opendataval")
    sides = [Script(module, module, "", 1) for module in modules]
    case = Case("a", "A", "", sides)
    assert case.has_peers
    assert not Case("a", "A", "", sides[:2]).has_peers
    result = case.measure({**OUR_PYTHON, "others": Path("third")}, tmp_path, lambda _: None)
    assert list(result.seconds) == ["floor", "ours", "opendataval"]
    assert result.versions == {
        OUR_LIBRARY: {"python": "ours"},
        "opendataval": {"python": "third"},
    }


def priced_row(entry: Entry, gaps: Sequence[float], faster: Sequence[float] = (20.0,)) -> Row:
    return Row(entry, 100, [0.5 * ratio for ratio in faster], [0.5 for _ in faster], gaps, 50)


SHARE, SMOOTH = Entry("M", "two", "accuracy"), Entry("M", "number", "r2")


@pytest.mark.parametrize(
    ("entry", "gaps", "agrees"),
    [
        (SHARE, [0.0] * 99 + [0.02], True),
        (SHARE, [0.0] * 98 + [0.02] * 2, False),
        (SHARE, [0.0] * 99 + [0.04], False),
        (SMOOTH, [9e-7] * 100, True),
        (SMOOTH, [0.0] * 99 + [2e-6], False),
        (SMOOTH, [0.0] * 99 + [float("nan")], False),
    ],
)
def test_scores_agree_if_nearly_all_are_equal_and_none_is_far_apart(
    entry: Entry, gaps: list[float], agrees: bool
) -> None:
    row = priced_row(entry, gaps)
    assert row.agrees is agrees
    result = PriceResult("a", "A", "what", [row], {})
    assert result.passed is agrees
    assert ("**differs**" in section(result)) is not agrees


@pytest.mark.parametrize(("at_least", "reached"), [(None, True), (20, True), (21, False)])
def test_the_median_over_rounds_has_to_reach_the_target(
    at_least: float | None, reached: bool
) -> None:
    entry = SHARE._replace(at_least=at_least)
    result = PriceResult("a", "A", "what", [priced_row(entry, [0.0], [10.0, 20.0, 40.0])], {})
    assert result.passed is reached
    page = section(result)
    assert "| M | accuracy | 100,000 | 5,000 | 20 | 10 to 40 |" in page
    assert page.count("reached") == (at_least == 20)
    assert page.count("**missed**") == (at_least == 21)


@pytest.mark.parametrize("entry", price.CASE.entries, ids=lambda e: f"{e.model}, {e.score}")
def test_each_model_of_the_page_is_worth_the_same_in_both_ways(entry: Entry) -> None:
    arrays = price.make(40, 20, 6 if entry.model.startswith("Torch") else 40)
    alone, together = price_side.ways(entry.model, entry.targets, entry.score, arrays)
    seconds, scores = price_side.timed(alone, together, arrays["coalitions"], 1)
    assert (seconds > 0).all()
    assert np.ptp(scores[0]) > 0
    gaps = np.abs(scores[0] - scores[1]).tolist()
    assert Row(entry, 40, [1.0], [1.0], gaps, 20).agrees


def test_all_models_are_on_the_page() -> None:
    assert {entry.model for entry in price.CASE.entries} == price_side.MODELS.keys()


def test_a_model_that_is_not_taken_over_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.tree import DecisionTreeClassifier

    monkeypatch.setitem(price_side.MODELS, "tree", DecisionTreeClassifier)
    with pytest.raises(RuntimeError, match="tree is not taken over"):
        price_side.ways("tree", "two", "accuracy", price.make(20, 10, 4))


def test_coalitions_are_of_all_sizes_but_never_empty_or_full() -> None:
    sizes = price.make(30, 5, 2_000)["coalitions"].sum(axis=1)
    assert set(sizes) == set(range(1, 30))
    assert len(price.make()["coalitions"]) >= 640


def test_the_two_ways_take_turns_block_by_block() -> None:
    calls: list[tuple[str, int]] = []

    def way(name: str, score: float) -> Callable[[Any], Any]:
        def evaluate(coalitions: Any) -> Any:
            calls.append((name, len(coalitions)))
            return np.full(len(coalitions), score)

        return evaluate

    coalitions = np.ones((100, 3), dtype=bool)
    seconds, scores = price_side.timed(way("a", 1.0), way("b", 2.0), coalitions, 2)
    assert calls[2:] == [
        *(("a", 64), ("b", 64), ("b", 36), ("a", 36)),
        *(("b", 64), ("a", 64), ("a", 36), ("b", 36)),
    ]
    assert seconds.shape == (2, 2)
    assert (scores == np.repeat([[1.0], [2.0]], 100, axis=1)).all()


def test_a_process_for_each_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs: list[dict[str, Any]] = []

    def run(command: Sequence[str]) -> None:
        assert command[:3] == ["ours", "-m", "sides.price"]
        jobs.append(json.loads((Path(command[3]) / "job.json").read_text()))
        outputs = {"alone": [8.0], "together": [1.0], "gaps": [0.0], "versions": {"numpy": "2"}}
        (tmp_path / "outputs.json").write_text(json.dumps(outputs))

    monkeypatch.setattr(priced, "run_quietly", run)
    entries = [SHARE._replace(at_least=9), SMOOTH]
    case = PriceCase("a", "A", "what", entries, lambda: price.make(8, 4, 10))
    told: list[str] = []
    result = case.measure(OUR_PYTHON, tmp_path, told.append, 7)
    assert [job["rounds"] for job in jobs] == [7, 7]
    assert [job["score"] for job in jobs] == ["accuracy", "r2"]
    assert [line.endswith("MISSED") for line in told] == [True, False]
    assert [(row.n_evaluations, row.n_test) for row in result.rows] == [(10, 4), (10, 4)]
    assert "dvl and floor: numpy 2." in section(result)


def overhead_case() -> OverheadCase:
    return OverheadCase(
        name="a",
        title="A",
        what="what",
        rows=[(Job("dvl", "MSR", 10, 100, 3), 10), (Job("pyDVL", "MSR", 10, 100), None)],
        by_evaluations=[Job("dvl", "MSR", 10, 100, 3), Job("dvl", "MSR", 10, 400)],
        by_players=[Job(s, "MSR", n, 100) for s in ("dvl", "pyDVL") for n in (10, 20)],
        multiple=100,
    )


def measured_overheads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pythons: Mapping[str, Path], seconds: float
) -> tuple[OverheadResult, list[list[Any]], list[str]]:
    """Return the result if an evaluation takes `seconds` a player, what was run and what told."""
    run_jobs = []

    def run(command: Sequence[str]) -> None:
        jobs = json.loads((tmp_path / "jobs.json").read_text())
        run_jobs.append([*command[:3], jobs])
        runs = [
            {
                "seconds": [seconds * job["n"] * job["n_evaluations"]] * job["rounds"],
                "evaluations": job["n_evaluations"],
            }
            for job in jobs
        ]
        outputs = {"runs": runs, "versions": {"numpy": "2"}}
        (tmp_path / "outputs.json").write_text(json.dumps(outputs))

    monkeypatch.setattr(overheads, "run_quietly", run)
    told: list[str] = []
    result = overhead_case().measure(pythons, tmp_path, told.append)
    return result, run_jobs, told


@pytest.mark.parametrize(("seconds", "reached"), [(1e-6, True), (1.1e-6, False)])
def test_microseconds_of_an_evaluation_have_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, reached: bool
) -> None:
    result, _, told = measured_overheads(tmp_path, monkeypatch, OUR_PYTHON, seconds)
    assert result.passed is reached
    assert told[0].endswith("MISSED") is not reached
    text = "10 | 10 to 10" if reached else "11 | 11 to 11"
    word = "reached" if reached else "missed"
    assert f"| dvl: MSR | 10 | 100 | 3 | {text} | at most 10, **{word}** |" in section(result)


def test_a_process_for_each_side_runs_each_job_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pythons = {**OUR_PYTHON, "peer": Path("peer")}
    result, run_jobs, _ = measured_overheads(tmp_path, monkeypatch, pythons, 1e-6)
    assert overhead_case().has_peers
    assert [command[:3] for command in run_jobs] == [
        ["ours", "-m", "sides.overheads_ours"],
        ["peer", "-m", "sides.overheads_pydvl"],
    ]
    # One of ours is in the table and in a chart; the rounds tell it from another.
    assert [len(command[3]) for command in run_jobs] == [4, 2]
    assert [row.job.side for row in result.rows] == ["dvl", "pyDVL"]
    assert result.versions.keys() == {"dvl", "pyDVL"}


def test_without_peers_their_rows_and_curves_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, run_jobs, _ = measured_overheads(tmp_path, monkeypatch, OUR_PYTHON, 1e-6)
    assert len(run_jobs) == 1
    assert [row.job.side for row in result.rows] == ["dvl"]
    assert result.charts["players"].curves.keys() == {"dvl: MSR"}


def test_charts_hold_seconds_and_scale_short_runs_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, _, _ = measured_overheads(tmp_path, monkeypatch, OUR_PYTHON, 1e-6)
    by_evaluations, by_players = result.charts["evaluations"], result.charts["players"]
    np.testing.assert_allclose(by_evaluations.curves["dvl: MSR"], [(100, 1e-3), (400, 4e-3)])
    np.testing.assert_allclose(by_players.curves["dvl: MSR"], [(10, 1e-2), (20, 4e-2)])
    assert by_evaluations.powers == pytest.approx({"dvl: MSR": 1.0})
    assert by_players.powers == pytest.approx({"dvl: MSR": 2.0})
    assert "power of the players: dvl: MSR: 2.00.\n" in section(result)


def test_charts_are_drawn_to_the_same_bytes_and_shown(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    chart = Chart(
        "Seconds",
        "players",
        {"dvl: MSR": [(10, 0.1), (100, 1.0)], "pyDVL: MSR": [(10, 2.0), (20, 3.0)]},
    )
    job = Job("dvl", "MSR", 10, 100)
    rows = [overheads.Row(job, Timed([1.0], 100), None)]
    result = OverheadResult("a", "A", "what", rows, {"players": chart}, {})
    drawn = []
    for folder in ("one", "two"):
        for name, draw in result.figures().items():
            assert f"(images/benchmarks/{name})" in section(result)
            draw(tmp_path / folder / name)
            drawn.append((tmp_path / folder / name).read_bytes())
    assert drawn[0] == drawn[1]
    assert b"pyDVL: MSR" in drawn[0]
    assert b"<dc:date>" not in drawn[0]


def test_each_sampler_values_an_additive_game_within_its_errors() -> None:
    weights = overheads_side.weights_of(30)
    for sampler in overheads_ours.SAMPLERS:
        result = overheads_ours.result_of(sampler, weights, 3_000)
        assert 2_800 < result.n_evaluations <= 3_000
        gaps = np.abs(result.values - weights)
        assert (gaps <= 6 * result.stderr + 1e-9).all(), sampler
        values, n_evaluations = overheads_ours.RUNS[sampler](weights, 3_000)
        assert n_evaluations == result.n_evaluations
        np.testing.assert_array_equal(values, result.values)


def test_jobs_take_turns_to_and_fro_and_each_has_its_rounds() -> None:
    order: list[tuple[int, int]] = []

    def run(weights: Any, n_evaluations: int) -> tuple[Any, int]:
        order.append((len(weights), n_evaluations))
        return weights, n_evaluations - 1

    jobs = [{"sampler": "s", "n": n, "n_evaluations": 50, "rounds": n} for n in (3, 1, 2)]
    found = overheads_side.timed({"s": run}, jobs)
    assert order == [overheads_side.WARM_UP, *((n, 50) for n in (3, 1, 2, 2, 3, 3))]
    assert [len(record["seconds"]) for record in found] == [3, 1, 2]
    assert all(record["evaluations"] == 49 for record in found)


def test_all_samplers_of_ours_are_timed() -> None:
    ours = {job.sampler for job in bookkeeping.CASE.jobs if job.side == "dvl"}
    assert ours == overheads_ours.SAMPLERS.keys()


def test_values_of_many_players_add_up_and_have_errors() -> None:
    side = {
        "values": np.array([0.1, 0.2]),
        "stderr": np.array([0.1, 0.1]),
        "to_share": np.array(0.3),
        "n_evaluations": np.array(10),
    }
    case = many_players.CASE
    assert case.check({}, {"dvl": side})["dvl"] <= case.tolerance
    for wrong in (0.0, np.nan, np.inf):
        broken = {**side, "stderr": np.array([0.1, wrong])}
        assert np.isnan(case.check({}, {"dvl": broken})["dvl"])
    assert "of the standard errors that the result states 1.0e-01" in case.remark({"dvl": side})[0]


def test_a_result_is_ready_for_json(tmp_path: Path) -> None:
    from results import save

    row = replace(priced_row(SHARE, [0.0]), n_evaluations=7)
    save(PriceResult("a", "A", "what", [row], {}), tmp_path)
    assert json.loads((tmp_path / "a.json").read_text())["rows"][0]["n_evaluations"] == 7
