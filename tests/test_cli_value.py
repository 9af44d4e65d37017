"""``dvl value``: the main job, from a file to values.csv, report.html and run.json."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from dvl_core.cli.main import cli
from dvl_core.job.outputs import OutputFolder
from dvl_core.result import ValuationResult

SHARED = Path(__file__).parents[2] / "shared" / "data"


def table(rows: int = 60, seed: int = 0) -> pd.DataFrame:
    """Return rows of two classes, with a column of each type, a seller and some missing values."""
    rng = np.random.default_rng(seed)
    label = np.arange(rows) % 2
    frame = pd.DataFrame(
        {
            "size": rng.normal(size=rows) + 2 * label,
            "colour": rng.choice(["red", "green", "blue"], rows),
            "seller": rng.choice(["ann", "bob", "cem", "dee", "eve"], rows),
            "label": np.where(label == 1, "good", "bad"),
        }
    )
    frame.loc[3, "size"] = np.nan
    frame.loc[5, "colour"] = None
    return frame


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.csv"
    table().to_csv(path, index=False)
    return path


def value(data: Path, out: Path, *arguments: str, target: str = "label") -> Result:
    words = ["value", str(data), "--target", target, "--out", str(out), *arguments]
    return CliRunner().invoke(cli, words)


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "values.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def run_of(out: Path) -> dict:
    return json.loads((out / "run.json").read_text())


def test_a_file_is_valued_worst_first_and_everything_is_written(data: Path, tmp_path: Path) -> None:
    done = value(data, tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    lines = rows(tmp_path / "out")
    assert list(lines[0]) == ["index", "name", "value", "stderr", "count"]
    assert len(lines) == 48
    values = [float(line["value"]) for line in lines]
    assert values == sorted(values)
    assert len({line["index"] for line in lines}) == 48
    assert all(0 <= int(line["index"]) < 60 for line in lines)
    run = run_of(tmp_path / "out")
    assert run["status"] == "done"
    assert run["method"] == "data-oob"
    assert run["seed"] == 0
    assert run["versions"]["dvl-core"]
    assert run["data"]["rows_valued"] == 48
    assert run["encoding"]["numeric"] == ["size"]
    assert set(run["encoding"]["categorical"]) == {"colour", "seller"}
    assert str(tmp_path / "out" / "report.html") in done.stdout
    loaded = ValuationResult.load(tmp_path / "out" / "result.npz")
    assert sorted(loaded.values.tolist()) == values


def test_stdout_is_for_data_and_stderr_for_messages(tmp_path: Path) -> None:
    frame = table()
    frame["id"] = [f"customer number {i}" for i in range(len(frame))]
    frame.to_csv(tmp_path / "d.csv", index=False)
    done = value(tmp_path / "d.csv", tmp_path / "out")
    assert "note: column 'id' is left out: its 48 distinct texts are names" in done.stderr
    assert "note:" not in done.stdout
    assert done.stdout.startswith("48 rows valued by data-oob")
    assert "\r" not in done.stderr


def test_a_model_and_a_budget_ask_for_shapley(data: Path, tmp_path: Path) -> None:
    arguments = ["--model", "sklearn.naive_bayes:GaussianNB", "--budget", "300", "--seed", "3"]
    done = value(data, tmp_path / "out", *arguments, "--scorer", "balanced_accuracy")
    assert done.exit_code == 0, done.stderr
    run = run_of(tmp_path / "out")
    assert run["method"] == "shapley"
    assert 0 < run["evaluations"] <= 300
    assert run["judge"] == {"model": "GaussianNB()", "scorer": "balanced_accuracy"}
    assert "budget of 300 evaluations" in run["stop_reason"]


def test_model_options_reach_the_model(data: Path, tmp_path: Path) -> None:
    arguments = ["--model", "sklearn.tree:DecisionTreeClassifier", "--budget", "150"]
    done = value(data, tmp_path / "out", *arguments, "--model-options", '{"max_depth": 2}')
    assert done.exit_code == 0, done.stderr
    assert run_of(tmp_path / "out")["judge"]["model"] == "DecisionTreeClassifier(max_depth=2)"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--method", "knn-shapley"],
        ["--method", "loo"],
        ["--method", "banzhaf", "--budget", "200"],
        ["--method", "beta-shapley", "--option", "alpha=16", "--budget", "200"],
        ["--method", "shapley", "--sampler", "stratified", "--stop", "max-updates=8"],
        ["--method", "random"],
    ],
    ids=lambda a: a[1],
)
def test_methods_samplers_options_and_rules_by_name(
    data: Path, tmp_path: Path, arguments: list[str]
) -> None:
    done = value(data, tmp_path / "out", *arguments)
    assert done.exit_code == 0, done.stderr
    assert len(rows(tmp_path / "out")) == 48
    assert run_of(tmp_path / "out")["method"] == arguments[1]


def test_groups_are_players(data: Path, tmp_path: Path) -> None:
    done = value(data, tmp_path / "out", "--group-by", "seller", "--budget", "200")
    assert done.exit_code == 0, done.stderr
    assert {line["name"] for line in rows(tmp_path / "out")} == {"ann", "bob", "cem", "dee", "eve"}
    run = run_of(tmp_path / "out")
    assert run["data"]["players"] == 5
    assert "seller" not in run["encoding"]["categorical"]
    assert "5 groups valued by shapley" in done.stdout


def test_rows_and_columns_are_chosen(data: Path, tmp_path: Path) -> None:
    done = value(data, tmp_path / "out", "--where", "seller != 'ann'", "--drop", "colour")
    assert done.exit_code == 0, done.stderr
    frame = pd.read_csv(data)
    kept = set(frame.index[frame["seller"] != "ann"])
    assert {int(line["index"]) for line in rows(tmp_path / "out")} < kept
    run = run_of(tmp_path / "out")
    assert run["encoding"]["categorical"] == ["seller"]
    assert run["data"]["rows_valued"] + run["data"]["rows_tested_on"] == len(kept)


def test_a_test_file_leaves_all_rows_to_be_valued(data: Path, tmp_path: Path) -> None:
    table(30, seed=9).to_csv(tmp_path / "test.csv", index=False)
    done = value(data, tmp_path / "out", "--test", str(tmp_path / "test.csv"))
    assert done.exit_code == 0, done.stderr
    assert {int(line["index"]) for line in rows(tmp_path / "out")} == set(range(60))
    assert run_of(tmp_path / "out")["data"]["rows_tested_on"] == 30


def test_parquet_gives_the_values_of_csv(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    pd.read_csv(data).to_parquet(tmp_path / "data.parquet")
    for source in (data, tmp_path / "data.parquet"):
        assert value(source, tmp_path / source.suffix, "--seed", "2").exit_code == 0
    first, second = ((tmp_path / s / "values.csv").read_bytes() for s in (".csv", ".parquet"))
    assert first == second


def test_numbers_are_predicted_as_numbers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=50)})
    frame["price"] = 3 * frame["x"] + rng.normal(size=50)
    frame.to_csv(tmp_path / "d.csv", index=False)
    done = value(tmp_path / "d.csv", tmp_path / "out", "--budget", "300", target="price")
    assert done.exit_code == 0, done.stderr
    run = run_of(tmp_path / "out")
    assert run["task"] == "regression"
    assert run["judge"]["scorer"] == "r2"


def test_rows_without_a_target_and_empty_columns_are_left_out_with_a_note(tmp_path: Path) -> None:
    frame = table()
    frame.loc[[7, 8], "label"] = None
    frame["nothing"] = np.nan
    frame.to_csv(tmp_path / "d.csv", index=False)
    done = value(tmp_path / "d.csv", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    assert "note: 2 rows without a target are left out" in done.stderr
    assert "note: column 'nothing' is left out: all its values are missing" in done.stderr
    assert not {"7", "8"} & {line["index"] for line in rows(tmp_path / "out")}


def test_fewer_rows_than_neighbours_are_valued_exactly(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [0.0, 1.0, 0.1, 0.9], "label": [0, 1, 0, 1]})
    frame.to_csv(tmp_path / "d.csv", index=False)
    frame.iloc[:2].to_csv(tmp_path / "t.csv", index=False)
    arguments = ["--method", "knn-shapley", "--test", str(tmp_path / "t.csv")]
    done = value(tmp_path / "d.csv", tmp_path / "out", *arguments)
    assert done.exit_code == 0, done.stderr
    # K = 5 > 4 rows: each row is worth 1/5 for every test point of its label, half of them.
    assert [float(line["value"]) for line in rows(tmp_path / "out")] == pytest.approx([0.1] * 4)


def test_an_error_bound_is_stated_everywhere(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("--method", "knn-shapley", "--option", "tolerance=0.1")
    result = value(data, out, *arguments)
    assert "values may be off by up to 0.1 each" in result.stdout
    assert "exact but for an error of at most 0.1 each" in (out / "report.html").read_text()
    assert "values may be off by up to 0.1 each" in value(data, out, *arguments).stdout


def test_the_same_seed_gives_the_same_bytes_on_any_backend(data: Path, tmp_path: Path) -> None:
    arguments = ["--budget", "250", "--seed", "5"]
    for name, more in {
        "serial": [],
        "again": [],
        "loky": ["--n-jobs", "2"],
        "joblib": ["--backend", "joblib"],
    }.items():
        done = value(data, tmp_path / name, *arguments, *more)
        assert done.exit_code == 0, done.stderr
    written = {(tmp_path / n / "values.csv").read_bytes() for n in ("serial", "again", "loky")}
    assert written == {(tmp_path / "joblib" / "values.csv").read_bytes()}
    assert value(data, tmp_path / "other", *arguments[:2], "--seed", "6").exit_code == 0
    assert (tmp_path / "other" / "values.csv").read_bytes() not in written


def test_what_is_done_is_returned_at_once(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = value(data, out, "--budget", "200")
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.iterdir()}
    again = value(data, out, "--budget", "200")
    assert again.exit_code == 0
    assert "this run is done already" in again.stderr
    assert again.stdout == first.stdout
    after = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.iterdir()}
    assert after == before


@pytest.mark.parametrize("lost", ["values.csv", "result.npz", "report.json", "report.html"])
def test_a_file_that_was_lost_is_written_again_without_training(
    data: Path, tmp_path: Path, lost: str
) -> None:
    out = tmp_path / "out"
    value(data, out, "--budget", "200")
    before = (out / "values.csv").read_bytes()
    (out / lost).unlink()
    again = value(data, out, "--budget", "200")
    assert again.exit_code == 0, again.stderr
    assert "this run is done already" not in again.stderr
    assert (out / lost).is_file()
    assert (out / "values.csv").read_bytes() == before
    assert run_of(out)["computed"] == 0


def test_another_run_is_not_overwritten_unless_asked_for(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    value(data, out, "--budget", "200")
    (out / "notes.txt").write_text("mine")
    before = (out / "values.csv").read_bytes()
    other = value(data, out, "--budget", "150", "--seed", "4")
    assert other.exit_code == 1
    assert "holds another run (it differs in budget, seed)" in other.stderr
    assert "--overwrite" in other.stderr
    assert (out / "values.csv").read_bytes() == before
    replaced = value(data, out, "--budget", "150", "--seed", "4", "--overwrite")
    assert replaced.exit_code == 0, replaced.stderr
    assert run_of(out)["identity"]["seed"] == 4
    assert (out / "values.csv").read_bytes() != before
    assert (out / "notes.txt").read_text() == "mine"


def test_other_data_is_another_run(data: Path, tmp_path: Path) -> None:
    value(data, tmp_path / "out")
    table(seed=8).to_csv(data, index=False)
    other = value(data, tmp_path / "out")
    assert other.exit_code == 1
    assert "differs in data_sha256" in other.stderr


def test_a_store_spares_what_another_method_trained(data: Path, tmp_path: Path) -> None:
    store = ["--store", f"disk:{tmp_path / 'ledger'}", "--sampler", "msr", "--budget", "192"]
    assert value(data, tmp_path / "a", "--method", "banzhaf", *store).exit_code == 0
    done = value(data, tmp_path / "b", "--method", "shapley", *store)
    assert done.exit_code == 0, done.stderr
    first, second = run_of(tmp_path / "a"), run_of(tmp_path / "b")
    assert first["computed"] == first["evaluations"] == 192
    assert second["evaluations"] == 192
    assert second["computed"] == 0


def test_players_without_a_value_come_last_and_names_are_quoted(tmp_path: Path) -> None:
    result = ValuationResult(
        values=[0.1, np.nan, -2.5, 0.1],
        stderr=[0.5, np.inf, 0.25, 0.0],
        variances=[0.0] * 4,
        counts=[3, 0, 2, 1],
        converged=[True] * 4,
        names=["a,b", "nobody", 'say "x"', "two\nlines"],
    )
    OutputFolder(tmp_path).write_values(result, np.array([10, 11, 12, 13]))
    assert [list(row.values()) for row in rows(tmp_path)] == [
        ["12", 'say "x"', "-2.5", "0.25", "2"],
        ["10", "a,b", "0.1", "0.5", "3"],
        ["13", "two\nlines", "0.1", "0.0", "1"],
        ["11", "nobody", "", "inf", "0"],
    ]


def test_progress_is_shown_on_a_terminal_only(data: Path, tmp_path: Path) -> None:
    master, slave = os.openpty()
    words = [str(Path(sys.executable).parent / "dvl"), "value", str(data), "--target", "label"]
    words += ["--budget", "300", "--out", str(tmp_path / "out")]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=slave)
    os.close(slave)
    shown = b""
    # Reading fails when nobody has the terminal open any more.
    with contextlib.suppress(OSError):
        while chunk := os.read(master, 4096):
            shown += chunk
    os.close(master)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, shown
    assert b"largest s.e." in shown
    assert out.startswith(b"48 rows valued by shapley")
    assert b"s.e." not in out


def test_the_report_is_written_again(data: Path, tmp_path: Path) -> None:
    value(data, tmp_path / "out")
    report = tmp_path / "out" / "report.html"
    before = report.read_bytes()
    report.unlink()
    done = CliRunner().invoke(cli, ["report", str(tmp_path / "out")])
    assert done.exit_code == 0, done.stderr
    assert report.read_bytes() == before
    assert str(report) in done.stdout


def test_the_command_in_the_report_repeats_the_run(data: Path, tmp_path: Path) -> None:
    import shlex

    first = value(data, tmp_path / "out", "--where", "size > -9", "--budget", "150", "--seed", "2")
    assert first.exit_code == 0
    words = shlex.split(run_of(tmp_path / "out")["command"])
    assert words[:2] == ["dvl", "value"]
    words[words.index("--out") + 1] = str(tmp_path / "again")
    assert CliRunner().invoke(cli, words[1:]).exit_code == 0
    written = [(tmp_path / name / "values.csv").read_bytes() for name in ("out", "again")]
    assert written[0] == written[1]


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data sets are not on this machine")
def test_spotify_hits_by_artist(tmp_path: Path) -> None:
    arguments = ["--where", "year > 2014", "--group-by", "artist", "--drop", "song"]
    arguments += ["--model", "sklearn.ensemble:GradientBoostingRegressor", "--seed", "1"]
    arguments += ["--model-options", '{"n_estimators": 20}', "--budget", "2000", "--n-jobs", "2"]
    arguments += ["--scorer", "neg_mean_absolute_error"]
    source = SHARED / "top_hits_spotify_dataset.csv"
    done = value(source, tmp_path / "out", *arguments, target="popularity")
    assert done.exit_code == 0, done.stderr
    names = [line["name"] for line in rows(tmp_path / "out")]
    assert len(names) == len(set(names)) == run_of(tmp_path / "out")["data"]["players"]
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    # Without the tenth of the artists with the lowest values, the error is smaller.
    assert report["removal"]["lowest"][2] > report["removal"]["lowest"][0]
