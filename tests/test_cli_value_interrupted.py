"""``dvl value`` cut off in the middle, by Ctrl-C or a kill, and given again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

DVL = str(Path(sys.executable).parent / "dvl")
BUDGET = 800
SLOW_MODEL = """
import time

from sklearn.naive_bayes import GaussianNB


class Slow(GaussianNB):
    def fit(self, x, y):
        time.sleep({seconds})
        return super().fit(x, y)
"""


def words(out: str) -> list[str]:
    common = ["value", "data.csv", "--target", "label", "--budget", str(BUDGET), "--seed", "3"]
    return [DVL, *common, "--model", "slow_model:Slow", "--out", out]


def prepare(folder: Path, seconds: float) -> None:
    """Write the data, and a model that takes its time; how much is no part of what it computes."""
    rows = [f"{(i * 7) % 11},{(i * 3) % 5},{'yes' if i % 3 else 'no'}" for i in range(40)]
    (folder / "data.csv").write_text("\n".join(["a,b,label", *rows]) + "\n")
    (folder / "slow_model.py").write_text(SLOW_MODEL.format(seconds=seconds))


def start(folder: Path, out: str, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*words(out), *more],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "nothing happened for a minute"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that nobody interrupted."""
    folder = tmp_path_factory.mktemp("straight")
    prepare(folder, seconds=0)
    whole(folder, "out")
    return folder / "out"


def whole(folder: Path, out: str, *more: str) -> bytes:
    process = start(folder, out, *more)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return (folder / out / "values.csv").read_bytes()


@pytest.mark.parametrize("more", [[], ["--n-jobs", "2"]], ids=["serial", "loky"])
def test_ctrl_c_saves_the_partial_result_and_the_same_command_goes_on(
    tmp_path: Path, straight: Path, more: list[str]
) -> None:
    prepare(tmp_path, seconds=0.004)
    process = start(tmp_path, "cut", *more)
    checkpoint = tmp_path / "cut" / "checkpoint.npz"
    wait_for(checkpoint.exists, process)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert out == ""
    assert "Traceback" not in errors
    assert "interrupted: the partial result is in cut" in errors
    assert len((tmp_path / "cut" / "values.csv").read_text().splitlines()) == 33
    run = json.loads((tmp_path / "cut" / "run.json").read_text())
    assert run["status"] == "interrupted"
    assert 0 < run["evaluations"] < BUDGET
    assert "interrupted" in (tmp_path / "cut" / "report.html").read_text()
    assert whole(tmp_path, "cut") == (straight / "values.csv").read_bytes()
    resumed = json.loads((tmp_path / "cut" / "run.json").read_text())
    uncut = json.loads((straight / "run.json").read_text())
    assert resumed["status"] == "done"
    assert resumed["evaluations"] == uncut["evaluations"]
    assert resumed["computed"] < uncut["computed"]


def test_ctrl_c_before_anything_is_known(tmp_path: Path) -> None:
    prepare(tmp_path, seconds=0.5)
    process = start(tmp_path, "cut")
    wait_for((tmp_path / "cut" / "run.json").exists, process)
    assert json.loads((tmp_path / "cut" / "run.json").read_text())["status"] == "running"
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert out == ""
    assert "Traceback" not in errors
    assert len(errors.splitlines()) == 1
    assert "interrupted" in errors


def test_ctrl_c_during_the_removal_curve_keeps_the_values(tmp_path: Path) -> None:
    prepare(tmp_path, seconds=0.02)
    few = ["--budget", "100"]  # the last one counts
    process = start(tmp_path, "cut", *few)
    wait_for((tmp_path / "cut" / "result.npz").exists, process)
    values = (tmp_path / "cut" / "values.csv").read_bytes()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.splitlines() == [
        "interrupted: the partial result is in cut; the same command goes on from there"
    ]
    run = json.loads((tmp_path / "cut" / "run.json").read_text())
    assert run["status"] == "interrupted"
    assert "What removing them does" not in (tmp_path / "cut" / "report.html").read_text()
    assert whole(tmp_path, "cut", *few) == values
    assert json.loads((tmp_path / "cut" / "run.json").read_text())["computed"] == 0
    assert "What removing them does" in (tmp_path / "cut" / "report.html").read_text()


def kill_until_done(folder: Path, out: str, most_kills: int) -> int:
    """Kill the command each time its checkpoint has changed; return how often."""
    checkpoint, kills = folder / out / "checkpoint.npz", 0
    while kills < most_kills:
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        process = start(folder, out)

        def moved(before: int = before) -> bool:
            return checkpoint.exists() and checkpoint.stat().st_mtime_ns != before

        while process.poll() is None and not moved():
            time.sleep(0.01)
        if process.poll() is not None:
            process.communicate()
            break
        process.kill()
        process.communicate()
        kills += 1
    return kills


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path: Path, straight: Path) -> None:
    prepare(tmp_path, seconds=0.003)
    assert kill_until_done(tmp_path, "cut", most_kills=1) == 1
    assert whole(tmp_path, "cut") == (straight / "values.csv").read_bytes()


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bytes(
    tmp_path: Path, straight: Path
) -> None:
    prepare(tmp_path, seconds=0.006)
    assert kill_until_done(tmp_path, "cut", most_kills=25) >= 4
    assert whole(tmp_path, "cut") == (straight / "values.csv").read_bytes()
