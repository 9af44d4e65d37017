"""``dvl value`` with models of the user's own, and with what is no model."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dvl_core.cli.main import cli

GOOD = "size,colour,label\n" + "".join(
    f"{i % 7},{'red' if i % 3 else 'blue'},{'yes' if i % 2 else 'no'}\n" for i in range(40)
)
MODEL = '''
import numpy as np
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


class Majority:
    """No relative of scikit-learn."""

    def fit(self, x, y):
        classes, counts = np.unique(y, return_counts=True)
        self.answer = classes[counts.argmax()]
        return self

    def predict(self, x):
        return np.repeat(self.answer, len(x))


class Talker(Majority):
    def fit(self, x, y):
        print("epoch 1 of 1")
        return super().fit(x, y)


def scaled(var_smoothing=1e-9):
    return make_pipeline(StandardScaler(), GaussianNB(var_smoothing=var_smoothing))
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the file of a module `own_models`, which can be imported."""
    path = tmp_path / "own_models.py"
    path.write_text(MODEL)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield path
    sys.modules.pop("own_models", None)


def value(folder: Path, model: str, *arguments: str) -> Result:
    (folder / "data.csv").write_text(GOOD)
    words = ["value", str(folder / "data.csv"), "--target", "label", "--out", str(folder / "out")]
    return CliRunner().invoke(cli, [*words, "--budget", "64", "--model", model, *arguments])


def is_refused(done: Result, code: int, *parts: str) -> None:
    assert done.exit_code == code, (done.exit_code, done.stderr)
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    for part in parts:
        assert part in lines[0]


def test_any_object_with_fit_and_predict_will_do(module: Path) -> None:
    done = value(module.parent, "own_models:Majority")
    assert done.exit_code == 0, done.stderr
    run = json.loads((module.parent / "out" / "run.json").read_text())
    assert run["task"] == "classification"
    assert run["failures"] < run["evaluations"]


def test_a_function_that_makes_a_model_will_do(module: Path) -> None:
    options = ["--model-options", '{"var_smoothing": 0.5}']
    done = value(module.parent, "own_models:scaled", *options)
    assert done.exit_code == 0, done.stderr
    run = json.loads((module.parent / "out" / "run.json").read_text())
    assert "GaussianNB(var_smoothing=0.5)" in run["judge"]["model"]


def test_what_a_model_prints_does_not_reach_stdout(module: Path) -> None:
    done = value(module.parent, "own_models:Talker")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("32 rows valued by shapley")
    assert "epoch" not in done.stdout
    assert "epoch 1 of 1" in done.stderr


def test_a_model_that_was_edited_makes_another_run(module: Path) -> None:
    assert value(module.parent, "own_models:Majority").exit_code == 0
    again = value(module.parent, "own_models:Majority")
    assert "this run is done already" in again.stderr
    module.write_text(MODEL.replace("counts.argmax()", "counts.argmin()"))
    del sys.modules["own_models"]
    edited = value(module.parent, "own_models:Majority")
    is_refused(edited, 1, "holds another run (it differs in model_code)", "--overwrite")
    replaced = value(module.parent, "own_models:Majority", "--overwrite")
    assert replaced.exit_code == 0, replaced.stderr
    assert "this run is done already" not in replaced.stderr


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("def (:\n", ["SyntaxError"]),
        (
            "raise RuntimeError('no GPU.\\n\\n  Buy one.\\n')\n",
            ["RuntimeError", "no GPU. Buy one."],
        ),
        ("raise SystemExit(7)\n", ["SystemExit"]),
        ("import nowhere_to_be_found\n", ["nowhere_to_be_found"]),
    ],
)
def test_a_module_that_cannot_be_imported_says_why(
    module: Path, source: str, parts: list[str]
) -> None:
    module.write_text(source)
    done = value(module.parent, "own_models:Majority")
    is_refused(done, 2, "--model: cannot import 'own_models'", *parts)
    assert not (module.parent / "out").exists()


@pytest.mark.parametrize(
    ("model", "parts"),
    [
        ("sklearn.nave_bayes:GaussianNB", ["cannot import", "did you mean 'sklearn.naive_bayes'?"]),
        ("sklern.naive_bayes:GaussianNB", ["cannot import 'sklern.naive_bayes'"]),
        ("sklearn.naive_bayes:GausianNB", ["did you mean 'GaussianNB'?"]),
        (".naive_bayes:GaussianNB", ["MODULE:CLASS"]),
        ("sklearn.naive_bayes:", ["MODULE:CLASS"]),
        (":", ["MODULE:CLASS"]),
        ("os:getcwd", ["'os:getcwd' makes no model", "fit"]),
        ("collections:OrderedDict", ["makes no model", "fit"]),
        ("sklearn.ensemble:VotingClassifier", ["do not fit VotingClassifier", "estimators"]),
    ],
)
def test_what_is_no_model_is_refused(tmp_path: Path, model: str, parts: list[str]) -> None:
    is_refused(value(tmp_path, model), 2, *parts)


def test_a_misspelt_model_option_is_guessed(tmp_path: Path) -> None:
    options = ["--model-options", '{"max_itr": 3}']
    done = value(tmp_path, "sklearn.linear_model:LogisticRegression", *options)
    is_refused(done, 2, "do not fit LogisticRegression", "did you mean 'max_iter'?")


def test_a_model_option_of_the_wrong_type_stops_the_run(tmp_path: Path) -> None:
    options = ["--model-options", '{"C": -1}']
    done = value(tmp_path, "sklearn.linear_model:LogisticRegression", *options)
    is_refused(done, 1, "LogisticRegression failed", "'C' parameter")


@pytest.mark.parametrize(
    ("model", "scorer", "code", "parts"),
    [
        ("sklearn.naive_bayes:GaussianNB", "f1", 2, ["--scorer f1 does not fit", "pos_label"]),
        ("sklearn.linear_model:RidgeClassifier", "neg_log_loss", 1, ["predict_proba"]),
    ],
)
def test_a_scorer_that_does_not_fit_is_named(
    tmp_path: Path, model: str, scorer: str, code: int, parts: list[str]
) -> None:
    is_refused(value(tmp_path, model, "--scorer", scorer), code, *parts)
