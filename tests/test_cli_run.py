"""``dvl run``: jobs from a file."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from sklearn.datasets import load_iris

from dvl_core.cli.main import cli
from dvl_core.job.config import value_job

CONFIG = """
[valuation]
data = "iris.csv"
target = "target"
out = "results"
seed = 4
budget = 120
method = { name = "shapley" }
sampler = { name = "permutation" }
model = { class = "sklearn.linear_model:LogisticRegression", C = 0.5, max_iter = 500 }
backend = { name = "joblib", n_jobs = 2, backend = "threading" }
store = ["memory", { name = "disk", path = "ledger.dvl" }]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    frame = load_iris(as_frame=True).frame.iloc[::6]
    frame.to_csv(tmp_path / "iris.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(folder: Path, text: str):
    (folder / "job.toml").write_text(text)
    return CliRunner().invoke(cli, ["run", str(folder / "job.toml")])


def test_a_file_does_what_the_command_line_does(folder) -> None:
    done = run(folder, CONFIG)
    assert done.exit_code == 0, done.output
    assert (folder / "ledger.dvl").exists()
    words = ["value", "iris.csv", "--target", "target", "--out", "other", "--seed", "4"]
    words += ["--budget", "120", "--method", "shapley", "--sampler", "permutation"]
    words += ["--model", "sklearn.linear_model:LogisticRegression"]
    words += ["--model-options", '{"C": 0.5, "max_iter": 500}', "--store", "memory"]
    words += ["--store", f"disk:{folder / 'second.dvl'}"]
    by_hand = CliRunner().invoke(cli, words)
    assert by_hand.exit_code == 0, by_hand.output
    found, expected = (pd.read_csv(folder / out / "values.csv") for out in ("results", "other"))
    pd.testing.assert_frame_equal(found, expected)
    command = json.loads((folder / "results" / "run.json").read_text())["command"]
    assert command == f"dvl run {folder / 'job.toml'}"
    again = run(folder, CONFIG)
    assert again.exit_code == 0
    assert "done already" in again.output


def test_several_tables_are_several_jobs(folder) -> None:
    one = '[[valuation]]\ndata = "iris.csv"\ntarget = "target"\nmethod = "knn-shapley"\n'
    done = run(folder, f'{one}out = "a"\n{one}out = "b"\nseed = 1\n')
    assert done.exit_code == 0, done.output
    assert (folder / "a" / "values.csv").exists()
    assert (folder / "b" / "values.csv").exists()


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ('[valuation]\ntarget = "y"\nout = "o"\n', 2, "'data' is missing below [valuation]"),
        (CONFIG + "budgett = 3\n", 2, "there is no entry 'budgett'; did you mean 'budget'?"),
        (CONFIG.replace('target = "target"', "target = 3"), 2, "target must be a text, not 3"),
        (CONFIG.replace("class =", "clas ="), 2, 'model needs class = "MODULE:CLASS"'),
        (CONFIG.replace('{ name = "shapley" }', "{ a = 1 }"), 2, 'method needs name = "..."'),
        ("seed = 3\n", 2, "'seed' stands outside of a table"),
        ("", 2, "asks for nothing"),
        ("[valuation\n", 1, "is no valid TOML"),
        ("[values]\n", 2, "nothing that is installed knows the table [values]"),
    ],
)
def test_a_wrong_file_is_told_in_a_sentence(folder, text, code, message) -> None:
    refused = run(folder, text)
    assert message in refused.output.replace("\n", " "), refused.output
    assert refused.exit_code == code
    assert "Traceback" not in refused.output


def test_a_missing_file_is_told(folder) -> None:
    refused = CliRunner().invoke(cli, ["run", "no.toml"])
    assert refused.exit_code == 1
    assert "cannot read 'no.toml'" in refused.output


def test_paths_are_relative_to_the_file(tmp_path) -> None:
    table = {"data": "a.csv", "target": "y", "out": "o", "store": "memory", "drop": "z"}
    job = value_job(table, tmp_path / "job.toml")
    assert (job.data, job.out) == (tmp_path / "a.csv", tmp_path / "o")
    assert (job.store, job.drop, job.stop) == (("memory",), ("z",), ())
