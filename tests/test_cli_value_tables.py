"""``dvl value`` and the tables it is given: odd but good ones are read, bad ones are named."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from dvl_core.cli.main import cli

ROWS = "".join(
    f"{i % 7},{'red' if i % 3 else 'blue'},{'yes' if i % 2 else 'no'}\n" for i in range(40)
)
GOOD = "size,colour,label\n" + ROWS


def value(path: Path, *arguments: str, target: str = "label") -> Result:
    words = ["value", str(path), "--target", target, "--out", str(path.parent / "out")]
    return CliRunner().invoke(cli, [*words, "--method", "random", *arguments])


def written(folder: Path, content: str | bytes, name: str = "data.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def indices(folder: Path) -> set[int]:
    with (folder / "out" / "values.csv").open(newline="") as stream:
        return {int(line["index"]) for line in csv.DictReader(stream)}


def run_of(folder: Path) -> dict:
    return json.loads((folder / "out" / "run.json").read_text())


def is_refused(done: Result, code: int, *parts: str) -> None:
    assert done.exit_code == code, (done.exit_code, done.stderr)
    lines = [line for line in done.stderr.splitlines() if not line.startswith("note: ")]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    for part in parts:
        assert part in lines[0]


@pytest.mark.parametrize(
    "content",
    [
        "\ufeff" + GOOD,
        "\n\n" + GOOD,
        GOOD.replace("\n", "\r\n"),
        GOOD.replace("\n3,red", "\n\n3,red", 1),
        GOOD.replace("\n3,red", '\n3,"re\nd"', 1),
        GOOD.replace("\n3,red", "\n3," + "r" * 200_000, 1),
    ],
    ids=["byte-order-mark", "blank-start", "windows", "blank-line", "line-in-quotes", "long-cell"],
)
def test_odd_but_good_csv_files_are_read(tmp_path: Path, content: str) -> None:
    done = value(written(tmp_path, content))
    assert done.exit_code == 0, done.stderr
    run = run_of(tmp_path)
    assert run["data"]["rows_valued"] + run["data"]["rows_tested_on"] == 40
    assert run["encoding"]["numeric"] == ["size"]
    assert run["encoding"]["categorical"] == ["colour"]


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("size,size,label\n" + ROWS, ["more than one column 'size'", "rename"]),
        ("label,size,label\n1,2,3\n", ["more than one column 'label'"]),
        (GOOD.replace(",", ";"), ["no column 'label'", "size;colour;label"]),
        (GOOD.replace("\n3,red", '\n3,"red', 1), ["not a well-formed CSV file"]),
        (GOOD.encode("utf-16"), ["data.csv", "not text in UTF-8"]),
        (GOOD.replace("red", "réd").encode("latin-1"), ["data.csv", "not text in UTF-8"]),
    ],
    ids=["twice", "target-twice", "semicolons", "open-quote", "utf-16", "latin-1"],
)
def test_bad_csv_files_are_named(tmp_path: Path, content: str | bytes, parts: list[str]) -> None:
    is_refused(value(written(tmp_path, content)), 1, *parts)


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "data.csv").mkdir()
    is_refused(value(tmp_path / "data.csv"), 1, "there is no file", "data.csv")


@pytest.mark.parametrize(
    "where", ["size > 2 and colour == 'red'", "`size` > 2", "index >= 20", "size.isin([1, 2])"]
)
def test_conditions_choose_rows_by_their_number_in_the_file(tmp_path: Path, where: str) -> None:
    done = value(written(tmp_path, GOOD), "--where", where)
    assert done.exit_code == 0, done.stderr
    kept = pd.read_csv(tmp_path / "data.csv").query(where).index
    run = run_of(tmp_path)
    assert run["data"]["rows_valued"] + run["data"]["rows_tested_on"] == len(kept)
    assert indices(tmp_path) < set(kept)


def test_a_row_for_which_a_condition_cannot_be_told_is_left_out(tmp_path: Path) -> None:
    lines = GOOD.splitlines()
    lines[1] = "0,,no"
    path = written(tmp_path, "\n".join(lines) + "\n")
    done = value(path, "--where", "colour.str.startswith('r')")
    assert done.exit_code == 0, done.stderr
    kept = {i for i in range(1, 40) if i % 3}
    run = run_of(tmp_path)
    assert run["data"]["rows_valued"] + run["data"]["rows_tested_on"] == len(kept)
    assert indices(tmp_path) < kept


@pytest.mark.parametrize(
    ("where", "parts"),
    [
        ("size", ["is no condition", "year > 2014"]),
        ("size + 1", ["is no condition"]),
        ("size = 3", ["is no condition"]),
        ("True", ["is no condition"]),
        ("sise > 3", ["cannot be evaluated", "did you mean 'size'?"]),
        ("size > 'a'", ["cannot be evaluated", "data.csv"]),
        ("__import__('os')", ["cannot be evaluated"]),
    ],
)
def test_what_is_no_condition_is_refused(tmp_path: Path, where: str, parts: list[str]) -> None:
    # A column of numbers would choose the rows with these numbers.
    is_refused(value(written(tmp_path, GOOD), "--where", where), 2, "--where", *parts)


@pytest.mark.parametrize(
    ("content", "arguments", "code", "parts"),
    [
        ("", [], 1, ["test.csv", "is empty"]),
        ("size,colour\n1,red\n", [], 1, ["--test: there is no column 'label'"]),
        ("size,label\n1,yes\n", [], 1, ["--test", "lacks the column 'colour'"]),
        ("size,colour,label\n1,red,\n", [], 1, ["--test: column 'label' has no values"]),
        ("size,colour,label\nbig,red,yes\n", [], 1, ["--test: column 'size' holds text"]),
        ("size,colour,label\n1,red,1\n", [], 1, ["--test: column 'label' holds numbers"]),
        ("size,colour,label\n1,red,no\n", ["--where", "size > 2"], 1, ["no rows", "test.csv"]),
        ("colour,label\nred,no\n", ["--where", "size > 2"], 2, ["--where", "test.csv"]),
    ],
    ids=lambda x: x[-1] if isinstance(x, list) and x else "",
)
def test_a_bad_test_file_is_named(
    tmp_path: Path, content: str, arguments: list[str], code: int, parts: list[str]
) -> None:
    test = written(tmp_path, content, "test.csv")
    done = value(written(tmp_path, GOOD), "--test", str(test), *arguments)
    is_refused(done, code, *parts)


def test_the_test_file_needs_no_column_that_is_left_out(tmp_path: Path) -> None:
    test = written(tmp_path, "size,label\n1,yes\n2,no\n", "test.csv")
    done = value(written(tmp_path, GOOD), "--test", str(test), "--drop", "colour")
    assert done.exit_code == 0, done.stderr
    assert indices(tmp_path) == set(range(40))


def test_text_is_no_number_and_a_fraction_no_class(tmp_path: Path) -> None:
    path = written(tmp_path, "x,price\n" + "".join(f"{i},{i / 4}\n" for i in range(40)))
    done = value(path, "--model", "sklearn.naive_bayes:GaussianNB", target="price")
    is_refused(done, 1, "column 'price' is to be predicted as a class but holds fractions")
    path = written(tmp_path, GOOD)
    done = value(path, "--model", "sklearn.linear_model:Ridge")
    is_refused(done, 1, "column 'label' is to be predicted as a number but is text")


def parquet(folder: Path, **columns: object) -> Path:
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"size": np.arange(40.0), "label": ["a", "b"] * 20})
    for name, column in columns.items():
        frame[name] = column
    frame.to_parquet(folder / "data.parquet")
    return folder / "data.parquet"


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pd.array([1, None, 3, 4] * 10, dtype="Int64"), "numeric"),
        (pd.array([True, None, False, True] * 10, dtype="boolean"), "categorical"),
        (pd.Categorical(["x", "y"] * 20), "categorical"),
        ([np.inf, 1.0] * 20, "numeric"),
        (pd.date_range("2020-01-01", periods=40), "left out"),
        ([[1, 2]] * 40, "left out"),
        ([{"a": 1}] * 40, "left out"),
    ],
    ids=["nullable-int", "nullable-bool", "category", "infinite", "dates", "lists", "mappings"],
)
def test_columns_of_parquet_files_are_used_by_their_type(
    tmp_path: Path, column: object, kind: str
) -> None:
    done = value(parquet(tmp_path, extra=column))
    assert done.exit_code == 0, done.stderr
    assert "extra" in run_of(tmp_path)["encoding"][kind]
    assert ("note: column 'extra' is left out" in done.stderr) == (kind == "left out")


@pytest.mark.parametrize(
    ("column", "task"),
    [
        (pd.array(range(40), dtype="Int64"), "regression"),
        (pd.array([0, 1] * 20, dtype="Int64"), "classification"),
        (pd.array([True, False] * 20, dtype="boolean"), "classification"),
        (np.linspace(0, 1, 40), "regression"),
        (pd.Categorical(["x", "y"] * 20, categories=["x", "y", "never"]), "classification"),
    ],
    ids=["nullable-int", "nullable-classes", "nullable-bool", "float", "category"],
)
def test_the_target_of_a_parquet_file_says_what_is_predicted(
    tmp_path: Path, column: object, task: str
) -> None:
    done = value(parquet(tmp_path, answer=column), target="answer")
    assert done.exit_code == 0, done.stderr
    assert run_of(tmp_path)["task"] == task


def test_lists_cannot_be_predicted(tmp_path: Path) -> None:
    done = value(parquet(tmp_path, answer=[[1], [2]] * 20), target="answer")
    is_refused(done, 1, "--target: column 'answer' holds lists")
