"""The benchmark suite says what it measured: pairing, targets, agreement, and what is kept."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent / "benchmarks"))

import peers
from cases import CASES
from measure import Case, Command, Timing, run_quietly
from page import number, render, section
from results import MemoryLimit, Result, Target
from run import main


@dataclass
class MadeUpSide:
    """A side that takes the time that it is told to take, and notes the order of runs."""

    label: str
    seconds: Sequence[float]
    value: float = 1.0
    peer: bool = False
    order: list[str] | None = None
    memory: tuple[float, float] | None = None

    @property
    def rounds(self) -> int:
        return len(self.seconds)

    @property
    def environment(self) -> str:
        return "peer" if self.peer else "ours"

    @property
    def library(self) -> str:
        return "pyDVL" if self.peer else "dvl and floor"

    def __post_init__(self) -> None:
        self._times = iter(self.seconds)

    def time(self, pythons: Mapping[str, Path], folder: Path) -> Timing:
        assert (folder / "inputs.npz").exists()
        if self.order is not None:
            self.order.append(self.label)
        versions = {"pydvl" if self.peer else "dvl-core": "9.9"}
        return Timing(next(self._times), {"values": np.array([self.value])}, versions, self.memory)


def made_up_case(
    name: str,
    *sides: MadeUpSide,
    target: Target | None = None,
    limits: Sequence[MemoryLimit] = (),
) -> Case:
    def check(_arrays: object, outputs: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, float]:
        return {label: float(abs(side["values"][0] - 1.0)) for label, side in outputs.items()}

    return Case(
        name=name,
        title=f"Case {name}",
        what="Adds {n} numbers.",
        sides=sides,
        targets=(target,) if target else (),
        limits=limits,
        size={"n": 3},
        tiny={"n": 1},
        make=lambda n: {"x": np.ones(n)},
        check=check,
        reference="one",
        tolerance=1e-6,
    )


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    return {"page": tmp_path / "benchmarks.md", "results": tmp_path / "results"}


@pytest.fixture(autouse=True)
def no_environment_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    for environment in ("pydvl_python", "others_python", "influence_python"):
        monkeypatch.setattr(peers, environment, lambda: Path("python-of-a-peer"))


def test_a_ratio_is_the_median_over_rounds_in_which_both_ran() -> None:
    result = Result("a", "A", "", {"slow": [10.0, 60.0, 20.0, 99.0], "dvl": [1.0, 2.0, 4.0]})
    assert result.ratio("slow", "dvl") == (10.0, 5.0, 30.0)
    assert result.ratio("dvl", "slow").median == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("target", "reached"),
    [
        (Target("slow", "dvl", at_least=10), True),
        (Target("slow", "dvl", at_least=10.01), False),
        (Target("dvl", "slow", at_most=0.1), True),
        (Target("dvl", "slow", at_most=0.09), False),
    ],
)
def test_a_target_bounds_the_median_ratio(target: Target, reached: bool) -> None:
    result = Result("a", "A", "", {"slow": [10.0], "dvl": [1.0]}, targets=[target])
    assert result.reached(target) is reached
    assert result.passed is reached
    verdict = "**reached**" if reached else "**missed**"
    assert verdict in section(result)


def test_sides_alternate_to_and_fro_and_each_has_its_rounds(tmp_path: Path) -> None:
    order: list[str] = []
    case = made_up_case(
        "a",
        MadeUpSide("floor", [1, 1, 1], order=order),
        MadeUpSide("dvl", [1, 1, 1], order=order),
        MadeUpSide("pyDVL", [5], peer=True, order=order),
    )
    lines: list[str] = []
    python = Path(sys.executable)
    result = case.measure({"ours": python, "peer": python}, tmp_path, lines.append)
    assert order == ["floor", "dvl", "pyDVL", "dvl", "floor", "floor", "dvl"]
    assert {side: len(seconds) for side, seconds in result.seconds.items()} == {
        "floor": 3,
        "dvl": 3,
        "pyDVL": 1,
    }
    assert len(lines) == len(order)
    assert result.what == "Adds 3 numbers."


def test_a_run_writes_the_page_and_the_raw_seconds(files: dict[str, Path]) -> None:
    case = made_up_case(
        "a",
        MadeUpSide("dvl", [0.25, 0.5, 0.125]),
        MadeUpSide("pyDVL", [1000.0, 3000.0, 750.0], peer=True),
        target=Target("pyDVL", "dvl", at_least=500),
    )
    assert main([], cases=[case], **files) == 0
    page = files["page"].read_text()
    assert "| dvl | 3 | 0.25 | 0.125 to 0.5 | 1 |" in page
    assert "| pyDVL | 3 | 1,000 | 750 to 3,000 | 6,000 |" in page
    assert "pyDVL / dvl at least 500. Measured: 6,000 (4,000 to 6,000), **reached**." in page
    assert "dvl and floor: dvl-core 9.9; pyDVL: pydvl 9.9.\n" in page
    assert "make bench" in page
    raw = json.loads((files["results"] / "a.json").read_text())
    assert raw["seconds"]["pyDVL"] == [1000.0, 3000.0, 750.0]


def test_a_missed_target_is_shown_and_fails_the_run(
    files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    case = made_up_case(
        "a",
        MadeUpSide("floor", [1.0]),
        MadeUpSide("dvl", [1.5]),
        target=Target("dvl", "floor", at_most=1.05),
    )
    assert main([], cases=[case], **files) == 1
    assert "at most 1.05. Measured: 1.5 (1.5 to 1.5), **missed**." in files["page"].read_text()
    assert "MISSED" in capsys.readouterr().err


@pytest.mark.parametrize(("wrong", "code"), [("dvl", 1), ("pyDVL", 0)])
@pytest.mark.parametrize("value", [1.5, float("nan")])
def test_wrong_values_are_told_and_fail_the_run_if_they_are_ours(
    files: dict[str, Path], wrong: str, code: int, value: float
) -> None:
    sides = [
        MadeUpSide(label, [1.0], value if label == wrong else 1.0, label == "pyDVL")
        for label in ("dvl", "pyDVL")
    ]
    assert main([], cases=[made_up_case("a", *sides)], **files) == code
    gap = "nan" if np.isnan(value) else "5.0e-01"
    page = files["page"].read_text()
    assert f"{wrong} {gap} (**differs**, more than 1e-06)" in page
    assert page.count("differs") == 1


def test_only_keeps_what_was_measured_of_other_cases(files: dict[str, Path]) -> None:
    def cases(seconds: float) -> list[Case]:
        return [made_up_case(name, MadeUpSide("dvl", [seconds])) for name in ("a", "b", "c")]

    assert main(["--only", "b", "--only", "a"], cases=cases(1.0), **files) == 0
    assert main(["--only", "b"], cases=cases(2.0), **files) == 0
    page = files["page"].read_text()
    first, second = page.index("## Case a"), page.index("## Case b")
    assert "| dvl | 1 | 1 |" in page[first:second]
    assert "| dvl | 1 | 2 |" in page[second:]
    assert "Case c" not in page


def test_without_peers_nothing_is_written(files: dict[str, Path]) -> None:
    order: list[str] = []
    case = made_up_case(
        "a",
        MadeUpSide("dvl", [2.0], order=order),
        MadeUpSide("floor", [1.0], order=order),
        MadeUpSide("pyDVL", [3.0], peer=True, order=order),
        target=Target("pyDVL", "dvl", at_least=500),
    )
    assert main(["--no-peers"], cases=[case], **files) == 0
    assert order == ["dvl", "floor"]
    assert not files["page"].exists()
    assert not files["results"].exists()


def test_rounds_can_be_set_for_all_sides(files: dict[str, Path]) -> None:
    case = made_up_case("a", MadeUpSide("dvl", [1.0, 2.0, 3.0]), MadeUpSide("floor", [1.0, 1.0]))
    main(["--rounds", "2"], cases=[case], **files)
    raw = json.loads((files["results"] / "a.json").read_text())
    assert raw["seconds"] == {"dvl": [1.0, 2.0], "floor": [1.0, 1.0]}


@pytest.mark.parametrize("arguments", [["--rounds", "0"], ["--only", "nothing"]])
def test_wrong_options_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(arguments)
    assert refused.value.code == 2


@pytest.mark.parametrize(
    ("peak", "beyond", "reached"),
    [(2_000.4, 90.0, True), (2_001.0, 90.0, False), (9.0, 101, False)],
)
def test_memory_is_the_most_over_rounds_and_has_limits(
    files: dict[str, Path], peak: float, beyond: float, reached: bool
) -> None:
    limits = [MemoryLimit("dvl", 2_000.5), MemoryLimit("dvl", 100, beyond_inputs=True)]
    sides = [
        MadeUpSide("dvl", [1.0, 1.0], memory=(peak, beyond)),
        MadeUpSide("floor", [1.0], memory=(1_234.5, 7.0)),
    ]
    assert main([], cases=[made_up_case("a", *sides, limits=limits)], **files) == 1 - reached
    page = files["page"].read_text()
    assert "| ratio to dvl | peak MiB | beyond inputs |" in page
    assert f"| 1 | {number(round(peak))} | {round(beyond)} |\n" in page
    assert "| 1 | 1,234 | 7 |\n" in page
    assert page.count("MiB in all. Measured") == 1
    assert page.count("MiB beyond the inputs. Measured") == 1
    assert ("**missed**" not in page) is reached


def test_sections_of_other_cases_stay_and_those_of_no_case_go() -> None:
    def result(title: str, seconds: float, machine: str) -> Result:
        return Result(title, title, "", {"dvl": [seconds]}, machine=machine)

    order = ["a", "b", "c"]
    first = render([result("b", 1.0, "X"), result("a", 1.0, "X")], order)
    second = render(
        [result("b", 2.0, "Y"), result("c", 2.0, "Y")], order, f"{first}\n## d\n\nlast year\n"
    )
    assert [line for line in second.splitlines() if line.startswith("## ")] == [
        "## a",
        "## b",
        "## c",
    ]
    assert section(result("a", 1.0, "X")) in second
    assert section(result("b", 2.0, "Y")) in second
    assert "last year" not in second
    assert render([], order, second) == second


@pytest.mark.parametrize(
    ("value", "text"), [(54123.4, "54,123"), (1.02345, "1.023"), (0.00123456, "0.001235"), (2, "2")]
)
def test_numbers_have_four_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_commands_are_those_of_our_environment_and_their_failure_is_told(tmp_path: Path) -> None:
    ours_only = {"ours": Path(sys.executable)}
    assert Command("dvl", "dvl", ("list-plugins",), 1).time(ours_only, tmp_path).seconds > 0
    with pytest.raises(RuntimeError, match="no good"):
        run_quietly([sys.executable, "-c", "raise SystemExit('no good')"])


def test_the_peers_environment_is_built_in_order_and_again_if_pins_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], check: bool) -> None:
        commands.append(command)
        (tmp_path / "made-up").mkdir(exist_ok=True)

    monkeypatch.setattr(peers, "ENVIRONMENTS", tmp_path)
    monkeypatch.setattr(subprocess, "run", run)
    pins = tmp_path / "pins.txt"
    pins.write_text("one==1\n")
    for _ in range(2):
        python = peers.environment("made-up", pins, [["one==1"], ["two"]])
    assert python == tmp_path / "made-up" / "bin" / "python"
    assert [command[-1] for command in commands] == [str(tmp_path / "made-up"), "one==1", "two"]
    assert all("--constraint" in command for command in commands[1:])
    pins.write_text("one==2\n")
    peers.environment("made-up", pins, [["one==1"], ["two"]])
    assert len(commands) == 6


def test_the_suite_lists_its_cases() -> None:
    command = [sys.executable, str(peers.HERE / "run.py"), "--list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert [line.split()[0] for line in listed.stdout.splitlines()] == [c.name for c in CASES]
