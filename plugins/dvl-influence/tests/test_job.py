"""The table [influence] of a file for ``dvl run``."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
import zarr
from click.testing import CliRunner

from dvl_core.cli.main import cli

PROBLEM = """
import torch

from dvl_influence.testing import classes, mlp

def digits():
    x, y = classes(20, seed=1)
    x_test, y_test = classes(6, seed=2)
    return {
        "model": mlp(),
        "loss": torch.nn.functional.cross_entropy,
        "train_loader": [(x[:12], y[:12]), (x[12:], y[12:])],
        "test_loader": [(x_test, y_test)],
    }

def without_loss():
    return {"model": mlp()}
"""

CONFIG = """
[influence]
problem = "problem_of_job:digits"
out = "results"
method = {{ name = "direct", indefinite = "clip" }}
regularization = 0.1
curvature = "ggn"
backend = {{ name = "joblib", n_jobs = 2, backend = "threading" }}
top-k = 3
{more}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "problem_of_job.py").write_text(PROBLEM)
    return tmp_path


def run(folder, text):
    path = folder / "job.toml"
    path.write_text(text)
    return CliRunner().invoke(cli, ["run", str(path)])


def test_influences_are_written_with_the_points_that_matter_most(folder) -> None:
    done = run(folder, CONFIG.format(more=""))
    assert done.exit_code == 0, done.output
    assert "influences of 20 training points on 6 test points" in done.output
    scores = zarr.open_array(folder / "results" / "influences.zarr", mode="r")[:]
    assert scores.shape == (6, 20)

    from dvl_influence import InfluenceModel
    from dvl_influence.testing import classes, mlp

    x, y = classes(20, seed=1)
    loss = torch.nn.functional.cross_entropy
    method = {"name": "direct", "indefinite": "clip"}
    model = InfluenceModel(mlp(), loss, method, regularization=0.1, curvature="ggn")
    expected = model.fit([(x, y)]).influences(*classes(6, seed=2), x, y)
    np.testing.assert_allclose(scores, expected, rtol=1e-9, atol=1e-12)

    rows = list(csv.DictReader((folder / "results" / "top.csv").open()))
    assert len(rows) == 6 * 2 * 3
    best = [int(r["training_point"]) for r in rows if r["test_point"] == "2" and r["rank"] == "1"]
    assert best == [int(scores[2].argmax()), int(scores[2].argmin())]
    report = json.loads((folder / "results" / "run.json").read_text())
    assert report["n_train"] == 20
    again = run(folder, CONFIG.format(more=""))
    assert again.exit_code == 0, again.output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CONFIG.format(more="topk = 2"), "has no entry 'topk'; did you mean 'top_k'?"),
        ("[influence]\nout = 'a'\n", "'problem' is missing below [influence]"),
        ("[influence]\nout = 'a'\nproblem = 'digits'\n", 'must be "MODULE:FUNCTION"'),
        ("[influence]\nout = 'a'\nproblem = 'problem_of_job:no'\n", "has no attribute 'no'"),
        (
            "[influence]\nout = 'a'\nproblem = 'problem_of_job:without_loss'\n",
            "a dictionary with loss, train_loader",
        ),
    ],
)
def test_a_wrong_table_is_named(folder, text, message) -> None:
    refused = run(folder, text)
    assert refused.exit_code in (1, 2)
    assert message in refused.output.replace("\n", " ")
    assert "Traceback" not in refused.output
