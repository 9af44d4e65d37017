"""``dvl value`` with bad input: one sentence, the right exit code, nothing lost."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from dvl_core import known_plugins
from dvl_core.cli.main import cli

DVL = str(Path(sys.executable).parent / "dvl")
GOOD = "size,colour,label\n" + "".join(
    f"{i % 7},{'red' if i % 3 else 'blue'},{'yes' if i % 2 else 'no'}\n" for i in range(40)
)


def value(folder: Path, content: str | None, *arguments: str, target: str = "label") -> Result:
    path = folder / "data.csv"
    if content is not None:
        path.write_text(content)
    words = ["value", str(path), "--target", target]
    if "--out" not in arguments:
        words += ["--out", str(folder / "out")]
    return CliRunner().invoke(cli, [*words, *arguments])


def is_one_sentence(done: Result, code: int, *parts: str) -> None:
    assert done.exit_code == code, (done.exit_code, done.stderr)
    lines = [line for line in done.stderr.splitlines() if not line.startswith("note: ")]
    # Usage errors of click itself come with a hint at --help.
    if lines[0].startswith("Usage: "):
        assert lines.pop().startswith("Error: "), done.stderr
    else:
        assert [line[:7] for line in lines] == ["error: "], done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    for part in parts:
        assert part in done.stderr


@pytest.mark.parametrize(
    ("content", "arguments", "parts"),
    [
        (None, [], ["there is no file", "data.csv"]),
        ("", [], ["data.csv", "is empty"]),
        ("size,label\n", [], ["has a header but no rows"]),
        ("size,label\n1,a\n2,b,c\n3,a\n", [], ["line 3", "3"]),
        ("size,label\n1,a\n2\n3,a\n", [], ["ragged: line 3 has 1 fields, the header has 2"]),
        ("size,lable\n1,a\n2,b\n", [], ["no column 'label'", "did you mean 'lable'?"]),
        ("size,label\n1,a\n2,a\n3,a\n", [], ["has only one class, 'a'"]),
        ("size,label\n1,\n2,\n", [], ["column 'label' has no values"]),
        ("size,label\n1,a\n", ["--test-size", "0.9"], ["only one class"]),
        ("nothing,label\n,a\n,b\n,a\n,b\n", [], ["no column is left that can serve as a feature"]),
        (GOOD, ["--drop", "color"], ["no column 'color'", "did you mean 'colour'?"]),
        (GOOD, ["--group-by", "sizes"], ["no column 'sizes'", "did you mean 'size'?"]),
        (GOOD, ["--group-by", "label"], ["--group-by", "'label' is the target"]),
        (GOOD, ["--where", "size > 99"], ["leaves no rows"]),
        (GOOD, ["--test", "nowhere.csv"], ["there is no file 'nowhere.csv'"]),
        (
            GOOD,
            ["--group-by", "size", "--method", "knn-shapley", "--option", "game=soft-label"],
            ["groups, which only the fixed game can value"],
        ),
        (GOOD + ",red,no\n", ["--group-by", "size"], ["1 rows have no value", "'size'", "--where"]),
        (GOOD, ["--drop", "label"], ["--target: there is no column 'label'"]),
        (GOOD, ["--drop", "size", "--drop", "colour"], ["no column is left"]),
        (GOOD, ["--where", "label == 'yes'"], ["only one class, 'yes'"]),
        (GOOD, ["--store", "disk:/dev/null/ledger", "--budget", "60"], ["/dev/null/ledger"]),
    ],
    ids=lambda x: x[0][:20] if isinstance(x, list) and x else "",
)
def test_bad_data_is_named(
    tmp_path: Path, content: str | None, arguments: list[str], parts: list[str]
) -> None:
    is_one_sentence(value(tmp_path, content, *arguments), 1, *parts)


NB = ["--model", "sklearn.naive_bayes:GaussianNB"]


@pytest.mark.parametrize(
    ("arguments", "code", "parts"),
    [
        (["--method", "shaply"], 2, ["unknown valuation 'shaply'", "did you mean 'shapley'?"]),
        (["--sampler", "permutaton"], 2, ["did you mean 'permutation'?"]),
        (["--backend", "jobli"], 2, ["did you mean 'joblib'?"]),
        (["--store", "etcd:x"], 2, ["unknown store 'etcd'"]),
        (["--scorer", "acuracy"], 2, ["no scorer 'acuracy'", "did you mean 'accuracy'?"]),
        (["--model", "sklearn.naive_bayes:GausianNB"], 2, ["did you mean 'GaussianNB'?"]),
        (["--model", "sklearn.nave_bayes:GaussianNB"], 2, ["cannot import"]),
        (["--model", "GaussianNB"], 2, ["MODULE:CLASS"]),
        ([*NB, "--model-options", "{"], 2, ["no valid JSON"]),
        ([*NB, "--model-options", "[1]"], 2, ["JSON object"]),
        ([*NB, "--model-options", '{"smoothing": 1}'], 2, ["do not fit GaussianNB", "smoothing"]),
        (["--model-options", "{}"], 2, ["needs --model"]),
        (["--where", "size >"], 2, ["cannot be evaluated"]),
        (["--stop", "max-update=3"], 2, ["did you mean 'max-updates'?"]),
        (["--stop", "max-updates=many"], 2, ["write max-updates=NUMBER"]),
        (["--stop", "max-updates=2.5"], 2, ["whole number", "max-updates=2.5"]),
        (["--stop", "max-updates=0.5"], 2, ["whole number", "max-updates=0.5"]),
        (["--stop", "max-updates=inf"], 2, ["whole number", "max-updates=inf"]),
        (["--stop", "max-time=nan"], 2, ["max-time=NUMBER"]),
        (["--stop", "max-time=-1"], 2, ["--stop max-time=-1", "positive"]),
        (["--stop", "max-updates=3", "--method", "knn-shapley"], 2, ["--stop", "by itself"]),
        (["--n-jobs", "0", "--budget", "60"], 2, ["--n-jobs", "-1"]),
        (["--n-jobs", "2", "--backend", "serial"], 2, ["--n-jobs", "'serial'"]),
        (["--store", "memory:x", "--budget", "60"], 2, ["--store", "'x'"]),
        (["--store", "memry", "--budget", "60"], 2, ["did you mean 'memory'?"]),
        (["--option", "seed=3"], 2, ["--option", "'seed'"]),
        (["--option", "checkpoint=x.npz"], 2, ["--option", "'checkpoint'"]),
        (["--option", "utility=3", "--method", "shapley"], 2, ["utility"]),
        (["--method", "banzhaf", "--option", "q=0.3"], 2, ["no option 'q'", "p"]),
        (["--method", "banzhaf", "--option", "p=half"], 2, ["option 'p' takes", "'half'"]),
        (["--method", "banzhaf", "--option", "p=2"], 2, ["p must lie strictly between 0 and 1"]),
        (["--method", "banzhaf", "--option", "p"], 2, ["NAME=VALUE"]),
        (["--method", "knn-shapley", "--budget", "9"], 2, ["--budget", "stops by itself"]),
        (["--method", "data-oob", "--sampler", "msr"], 2, ["takes no sampler"]),
        (["--method", "loo", "--sampler", "msr", "--budget", "0"], 2, ["--budget"]),
        (["--test-size", "1.5"], 2, ["--test-size"]),
        (["--budjet", "9"], 2, ["--budjet", "--budget"]),
    ],
    ids=lambda x: "-".join(x[:2])[:40] if isinstance(x, list) else "",
)
def test_bad_options_are_named_with_the_way_out(
    tmp_path: Path, arguments: list[str], code: int, parts: list[str]
) -> None:
    is_one_sentence(value(tmp_path, GOOD, *arguments), code, *parts)


@pytest.mark.parametrize(("option", "kind"), [("--method", "valuation"), ("--backend", "backend")])
def test_a_known_plugin_that_is_not_installed_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, kind: str
) -> None:
    shipped = {**known_plugins.KNOWN_PLUGINS, (kind, "elsewhere"): "dvl-elsewhere"}
    monkeypatch.setattr(known_plugins, "KNOWN_PLUGINS", shipped)
    done = value(tmp_path, GOOD, option, "elsewhere")
    is_one_sentence(done, 3, "'elsewhere'", "pip install dvl-elsewhere")


def test_a_sampler_that_does_not_cover_the_method_is_refused(tmp_path: Path) -> None:
    done = value(tmp_path, GOOD, "--method", "shapley", "--sampler", "loo")
    is_one_sentence(done, 2, "does not cover semivalue shapley", "these would do: ")


def test_a_model_that_cannot_take_the_data_names_itself_and_the_coalition(tmp_path: Path) -> None:
    arguments = ["--model", "sklearn.naive_bayes:MultinomialNB", "--budget", "100"]
    done = value(tmp_path, GOOD, *arguments)
    is_one_sentence(done, 1, "MultinomialNB failed on the coalition", "Negative values")


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = value(tmp_path, "", "--debug")
    assert done.exit_code == 1
    assert "Traceback" in done.stderr
    assert "error: " in done.stderr


def test_too_few_rows_to_split(tmp_path: Path) -> None:
    done = value(tmp_path, "size,label\n1,a\n2,b\n", "--test-size", "0.1")
    is_one_sentence(done, 1, "--test-size 0.1 leaves 2 of 2 rows to value and 0 to test on")


def test_text_to_be_predicted_as_a_number(tmp_path: Path) -> None:
    done = value(tmp_path, GOOD, "--model", "sklearn.linear_model:Ridge", "--budget", "100")
    is_one_sentence(done, 1, "column 'label' is to be predicted as a number but is text")


def test_binary_rubbish_is_no_csv(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_bytes(bytes(range(128, 256)) * 10)
    is_one_sentence(value(tmp_path, None), 1, "data.csv")


def test_rubbish_is_no_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "data.parquet"
    path.write_bytes(b"PAR1 rubbish")
    words = ["value", str(path), "--target", "label", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(cli, words)
    is_one_sentence(done, 1, "not a readable parquet file")


def test_a_folder_that_cannot_be_written_is_found_before_anything_is_trained(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("in the way")
    done = value(tmp_path, GOOD, "--out", str(tmp_path / "file" / "out"))
    is_one_sentence(done, 1, "--out: cannot write to", "file/out")


def test_the_folder_cannot_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = value(tmp_path, GOOD, "--out", str(tmp_path / "file"))
    is_one_sentence(done, 1, "--out: cannot write to")
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_plugin_that_needs_what_is_not_installed_names_it(
    tmp_path: Path, fake_distribution: Callable[..., Path]
) -> None:
    fake_distribution(
        "dvl-moon",
        requires=["moonlib>=2"],
        entry_points={"dvl.valuations": {"moon": "dvl_moon:Moon"}},
        modules={"dvl_moon": "raise SystemExit('must not be imported')"},
    )
    is_one_sentence(value(tmp_path, GOOD, "--method", "moon"), 3, "moon", "moonlib>=2")


def test_a_damaged_checkpoint_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "checkpoint.npz").write_bytes(b"PK rubbish")
    done = value(tmp_path, GOOD, "--budget", "100")
    is_one_sentence(done, 1, "checkpoint.npz", "delete it to start anew")


def test_a_damaged_run_file_is_another_run(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run.json").write_text("{half")
    done = value(tmp_path, GOOD, "--budget", "100")
    is_one_sentence(done, 1, "holds another run", "run.json is damaged", "--overwrite")
    assert value(tmp_path, GOOD, "--budget", "100", "--overwrite").exit_code == 0


def test_overwriting_leaves_no_checkpoint_of_another_run(tmp_path: Path) -> None:
    assert value(tmp_path, GOOD, "--budget", "100").exit_code == 0
    (tmp_path / "out" / "run.json").unlink()
    other = value(tmp_path, GOOD, "--budget", "100", "--seed", "1", "--overwrite")
    assert other.exit_code == 0, other.stderr


def test_a_checkpoint_of_another_run_is_not_gone_on_with(tmp_path: Path) -> None:
    assert value(tmp_path, GOOD, "--budget", "100").exit_code == 0
    (tmp_path / "out" / "run.json").unlink()
    other = value(tmp_path, GOOD, "--budget", "100", "--seed", "1")
    is_one_sentence(other, 1, "checkpoint.npz", "belongs to another run", "seed", "delete it")


@pytest.mark.parametrize("folder", ["", "nowhere", "data.csv"])
def test_report_of_a_folder_without_a_run(tmp_path: Path, folder: str) -> None:
    (tmp_path / "data.csv").write_text(GOOD)
    done = CliRunner().invoke(cli, ["report", str(tmp_path / folder)])
    is_one_sentence(done, 1, "holds no run of dvl value")
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("name", ["run.json", "report.json", "result.npz"])
def test_report_of_a_damaged_run_names_the_file(tmp_path: Path, name: str) -> None:
    assert value(tmp_path, GOOD, "--method", "random").exit_code == 0
    (tmp_path / "out" / name).write_text("{half")
    done = CliRunner().invoke(cli, ["report", str(tmp_path / "out")])
    is_one_sentence(done, 1, name, "damaged")


def test_a_full_disk_loses_nothing_that_was_there(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    columns = [rng.normal(size=120) for _ in range(3)]
    lines = zip(*columns, (columns[0] > 0).astype(int), strict=True)
    text = "a,b,c,label\n" + "".join(",".join(map(str, line)) + "\n" for line in lines)
    (tmp_path / "data.csv").write_text(text)
    words = [DVL, "value", "data.csv", "--target", "label", "--out", "out", "--budget", "500"]

    def small_disk() -> None:
        # No file may grow beyond 4 kB: writing fails as it does on a full disk.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    full = subprocess.run(
        words, cwd=tmp_path, capture_output=True, text=True, preexec_fn=small_disk, timeout=120
    )
    assert full.returncode == 1, full.stderr
    errors = [line for line in full.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "cannot write" in errors[0]
    assert "Traceback" not in full.stderr
    leftovers = [path.name for path in (tmp_path / "out").iterdir() if "tmp" in path.name]
    assert leftovers == []
    again = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "out" / "report.html").stat().st_size > 4096
    assert os.listdir(tmp_path / "out").count("values.csv") == 1
