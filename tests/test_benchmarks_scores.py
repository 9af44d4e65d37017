"""The benchmarks of how good values are: scores, noise, and how they stand to published ones."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parent / "benchmarks"))

import scored
from cases import CASES, noisy_labels
from detection import METRICS, auroc, flip, known_rate_f1, scores, two_means_f1
from page import section
from run import main
from scored import Entry, Mean, Published, Row, ScoreCase, ScoreResult
from sides import noisy_labels as side

VALUES = st.lists(st.integers(-5, 5), min_size=3, max_size=12)


def split_with_least_squares(values: np.ndarray) -> set[frozenset[int]]:
    """Return the lower parts of all best splits of sorted values into two clusters."""
    order = np.argsort(values, kind="stable")
    cost = {}
    for cut in range(1, len(values)):
        low, high = values[order[:cut]], values[order[cut:]]
        if low.max() < high.min():
            cost[frozenset(order[:cut].tolist())] = low.var() * len(low) + high.var() * len(high)
    return {part for part, spread in cost.items() if spread <= min(cost.values()) + 1e-9}


def f1(taken: set[int] | frozenset[int], wrong: np.ndarray) -> float:
    hits = len(taken & set(np.flatnonzero(wrong)))
    return 2 * hits / (len(taken) + wrong.sum())


@settings(deadline=None, max_examples=200)
@given(VALUES, st.randoms())
def test_two_means_takes_the_lower_part_of_the_best_split(
    numbers: list[int], random: object
) -> None:
    values = np.array(numbers, dtype=float)
    wrong = np.zeros(len(values), dtype=bool)
    wrong[random.sample(range(len(values)), 2)] = True  # type: ignore[attr-defined]
    if np.ptp(values) == 0:
        assert two_means_f1(values, wrong) == 0
        return
    possible = [f1(part, wrong) for part in split_with_least_squares(values)]
    assert any(two_means_f1(values, wrong) == pytest.approx(score) for score in possible)


@settings(deadline=None)
@given(VALUES, st.integers(1, 2))
def test_known_rate_and_auroc_by_counting(numbers: list[int], n_wrong: int) -> None:
    values = np.array(numbers, dtype=float)
    wrong = np.arange(len(values)) < n_wrong
    lowest = sorted(range(len(values)), key=lambda row: (values[row], row))[:n_wrong]
    assert known_rate_f1(values, wrong) == pytest.approx(f1(set(lowest), wrong))
    pairs = np.sign(values[~wrong][:, None] - values[wrong])
    assert auroc(values, wrong) == pytest.approx((pairs + 1).mean() / 2)


def test_scores_of_a_perfect_separation_are_one() -> None:
    wrong = np.arange(50) < 10
    assert scores(np.where(wrong, -1.0, 1.0), wrong) == dict.fromkeys(METRICS, 1.0)


@settings(deadline=None)
@given(st.integers(2, 4), st.sampled_from([0.0, 0.2, 1.0]), st.integers(0, 10**6))
def test_flipping_changes_exactly_the_chosen_labels(
    n_classes: int, share: float, seed: int
) -> None:
    labels = np.array(list("abcd"))[np.arange(30) % n_classes]
    noisy, wrong = flip(labels, share, np.random.default_rng(seed))
    assert wrong.sum() == round(share * 30)
    assert ((noisy != labels) == wrong).all()
    assert set(noisy) <= set(labels)


def test_new_labels_are_drawn_from_all_other_classes() -> None:
    labels = np.zeros(300, dtype=int)
    labels[:2] = 1, 2
    noisy, _ = flip(labels, 1.0, np.random.default_rng(0))
    assert 100 < (noisy[2:] == 1).sum() < 200


@pytest.mark.parametrize(
    ("figures", "published", "runs", "word"),
    [
        ([0.5, 0.6], 0.3, 25, "above"),
        ([0.5, 0.6], 0.8, 25, "below"),
        ([0.5, 0.6], 0.6, 25, "level with"),
        ([0.5, 0.6], 0.7, 25, "below"),
        ([0.5, 0.6], 0.7, 1, "level with"),
        ([0.5, 0.5], 0.5, 1, "level with"),
        ([0.5], 0.9, 1, "beside"),
    ],
)
def test_a_mean_is_level_within_two_standard_errors_of_the_difference(
    figures: list[float], published: float, runs: int, word: str
) -> None:
    assert Mean.of(figures).stands(published, runs) == word


def made_up_result(figure: float) -> ScoreResult:
    published = Published("others, 10 runs", 10, {"one": {"F1": 0.5}})
    entry = Entry("good", "Good", "K = 1", [published])
    sample = {"one": {"F1": [figure, figure + 0.02], "AUROC": [0.9, 0.9]}}
    rows = [
        Row(entry, sample),
        Row(Entry("plain", "Plain", ""), {"two": {"F1": [0.25], "AUROC": [0.5]}}),
    ]
    return ScoreResult("a", "A", "what", ["F1", "AUROC"], ["one", "two"], rows)


def test_a_table_for_each_metric_with_published_figures_beside() -> None:
    result = made_up_result(0.7)
    result = replace(result, rows=result.rows[:1])
    page = section(result)
    assert "| Good | K = 1 | 2 | 0.710 ± 0.014, above 0.500 | |" in page
    assert "| Good | K = 1 | 2 | 0.900 ± 0.000 | |" in page
    assert "- Good (K = 1) beside others, 10 runs." in page
    assert result.passed


def test_figures_below_published_ones_are_told() -> None:
    result = made_up_result(0.3)
    assert result.below == ["Good (K = 1) on one, F1"]
    assert not result.passed


def test_a_method_need_not_run_on_all_data() -> None:
    result = replace(made_up_result(0.7), metrics=["F1"])
    assert "| Plain |  | 1 | | 0.250 ± 0.000 |" in section(result)


def test_all_methods_of_the_page_are_run_and_no_others() -> None:
    assert [entry.key for entry in noisy_labels.ENTRIES] == list(side.METHODS)


def test_methods_run_over_their_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1_600, 3))
    y = (x[:, 0] > 0).astype(int)
    methods = {
        "knn": side.Method(3, side.knn(5, "clean")),
        "other": side.Method(1, side.knn(5, "noisy"), ("other",)),
    }
    monkeypatch.setattr(side, "METHODS", methods)
    found = side.figures("one", x, y, 2)
    assert found.keys() == {"knn"}
    assert found["knn"].keys() == set(METRICS)
    assert len(found["knn"]["AUROC"]) == 2
    assert min(found["knn"]["AUROC"]) > 0.95
    assert found["knn"]["AUROC"][0] != found["knn"]["AUROC"][1]


def test_rows_are_drawn_as_the_page_says() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(3.0, 2.0, size=(2_000, 2)), rng.integers(0, 2, 2_000)
    task = side.draw(np.column_stack([x, np.ones(2_000)]), y, 0)
    assert len(task.train) == 1_000
    assert task.wrong.sum() == 200
    assert (len(task.noisy), len(task.clean)) == (100, 500)
    np.testing.assert_array_equal(task.noisy.x, task.clean.x[:100])
    assert (task.noisy.y != task.clean.y[:100]).sum() == 20
    assert not task.train.x[:, 2].any()
    rows = np.concatenate([task.train.x, task.clean.x])
    assert len(np.unique(rows[:, 0])) == 1_500
    assert abs(rows[:, 0].mean()) < 0.1


def made_up_case(folder: Path) -> ScoreCase:
    return ScoreCase("a", "A", "", "made_up", ["F1"], ["one"], [Entry("good", "Good", "")], folder)


def test_data_sets_that_are_not_there_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"page": tmp_path / "benchmarks.md", "results": tmp_path / "results"}
    files["page"].write_text("# Benchmarks\n\n## A\n\nlast time\n")
    assert main([], cases=[made_up_case(tmp_path)], **files) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "a is left out: no one.npz in" in said
    assert "set DVL_DATA" in said
    assert "last time" in files["page"].read_text()


def test_a_process_for_each_data_set_writes_what_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[Sequence[str]] = []

    def run(command: Sequence[str]) -> None:
        commands.append(command)
        found = {"figures": {"good": {"F1": [0.5]}}, "seconds": 1.0, "versions": {"numpy": "2"}}
        (Path(command[4]) / "outputs.json").write_text(json.dumps(found))

    monkeypatch.setattr(scored, "run_quietly", run)
    (tmp_path / "one.npz").touch()
    files = {"page": tmp_path / "benchmarks.md", "results": tmp_path / "results"}
    assert main(["--rounds", "2"], cases=[made_up_case(tmp_path)], **files) == 0
    assert [command[1:4] for command in commands] == [
        ["-m", "sides.made_up", str(tmp_path / "one.npz")]
    ]
    assert commands[0][5:] == ["2"]
    assert "| Good |  | 1 | 0.500 ± 0.000 |" in files["page"].read_text()
    assert json.loads((files["results"] / "a.json").read_text())["versions"]["dvl"]["numpy"] == "2"


def test_wrong_labels_of_real_data_are_found() -> None:
    case = next(case for case in CASES if case.name == "noisy-labels")
    assert isinstance(case, ScoreCase)
    if case.missing:
        pytest.skip(case.missing)
    with np.load(case.folder / "2dplanes.npz", allow_pickle=False) as arrays:
        task = side.draw(arrays["X"].astype(float), arrays["y"], 0)
    values = side.METHODS["knn-5-clean"].valuation(task).fit(task.train).result.values
    assert auroc(values, task.wrong) > 0.9
