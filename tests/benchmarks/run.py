"""Run the benchmarks (``make bench``), show them, and write docs/benchmarks.md."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import peers
from cases import CASES
from page import number, render
from results import AnyCase, AnyResult, Result, Spread, Target, save
from rich import box
from rich.console import Console
from rich.table import Table
from scored import ScoreResult

PAGE = peers.ROOT / "docs" / "benchmarks.md"
RESULTS = peers.ENVIRONMENTS / "results"


def main(
    arguments: Sequence[str] | None = None,
    *,
    cases: Sequence[AnyCase] = CASES,
    page: Path = PAGE,
    results: Path = RESULTS,
) -> int:
    """Run what the command line asks for.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line, that of the process by default.
    cases : sequence, optional
        The benchmarks, in the order of the page.
    page, results : Path, optional
        The page to write into, and the folder of the raw measurements.

    Returns
    -------
    int
        1 if a target was missed, one of our sides is wrong or a score is below a published one,
        else 0.
    """
    options = parse(arguments, [case.name for case in cases])
    if options.list:
        for case in cases:
            print(f"{case.name:<18}{case.title.replace('`', '')}")
        return 0
    console = Console(stderr=True, log_path=False)
    chosen = [case for case in cases if not options.only or case.name in options.only]
    pythons = {"ours": Path(sys.executable)}
    if options.peers and any(case.has_peers for case in chosen):
        pythons["peer"] = peers.pydvl_python()
        pythons["others"] = peers.others_python()
        pythons["influence"] = peers.influence_python()
    measured: list[AnyResult] = []
    for case in chosen:
        if case.missing:
            console.log(f"{case.name} is left out: {case.missing}")
            continue
        with tempfile.TemporaryDirectory() as folder:
            result = case.measure(pythons, Path(folder), console.log, options.rounds)
        measured.append(result)
        if options.peers:
            save(result, results)
            write(result, page, [case.title for case in cases])
    timed = [result for result in measured if isinstance(result, Result)]
    if timed:
        show(timed, console)
    for result in measured:
        for figure in result.below if isinstance(result, ScoreResult) else ():
            console.print(f"{result.name}: BELOW the published figure: {figure}")
    if not options.peers:
        console.print("The page is left as it is: without peers it would say less.")
    return 0 if all(result.passed for result in measured) else 1


def write(result: AnyResult, page: Path, titles: Sequence[str]) -> None:
    """Put the section of a result into the page, and its figures beside it."""
    before = page.read_text() if page.exists() else ""
    page.write_text(render([result], titles, before))
    for name, draw in result.figures().items():
        draw(page.parent / "images" / "benchmarks" / name)


def parse(arguments: Sequence[str] | None, names: Sequence[str]) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", metavar="CASE", action="append", choices=names, help="one case; repeatable"
    )
    parser.add_argument(
        "--rounds", type=positive, help="rounds of every side, not its own number; seeds"
    )
    parser.add_argument("--list", action="store_true", help="list the cases, run nothing")
    parser.add_argument(
        "--no-peers",
        dest="peers",
        action="store_false",
        help="leave out other libraries, and write nothing",
    )
    return parser.parse_args(arguments)


def positive(text: str) -> int:
    """Return a number of rounds."""
    rounds = int(text)
    if rounds < 1:
        raise ValueError(text)
    return rounds


def outcome(result: Result, target: Target) -> str:
    """Return in a few words whether a target is reached."""
    ratio = number(result.ratio(target.numerator, target.denominator).median)
    word = "reached" if result.reached(target) else "MISSED"
    return f"{word}: {ratio} x {target.denominator}"


def held(result: Result, side: str) -> str:
    """Return the most MiB of a side, with whether its limits are kept."""
    if side not in result.memory:
        return ""
    limits = [limit for limit in result.limits if limit.side == side]
    broken = any(not result.kept(limit) for limit in limits)
    return number(round(result.memory[side][0])) + (" MISSED" if broken else "")


def show(results: Sequence[Result], console: Console) -> None:
    """Print the measurements, and whether the targets are reached."""
    columns = (
        "case",
        "side",
        "rounds",
        "median s",
        "least to most",
        "ratio to dvl",
        "MiB",
        "target",
    )
    table = Table(*columns, box=box.SIMPLE_HEAD)
    for result in results:
        for side, seconds in result.seconds.items():
            time = Spread.of(seconds)
            compared = side != "dvl" and "dvl" in result.seconds
            ratio = number(result.ratio(side, "dvl").median) if compared else ""
            table.add_row(
                result.name,
                side,
                str(len(seconds)),
                number(time.median),
                f"{number(time.least)} to {number(time.largest)}",
                ratio,
                held(result, side),
                "\n".join(outcome(result, t) for t in result.targets if t.numerator == side),
            )
    console.print(table)
    for result in results:
        for agreement in result.agreements:
            if not agreement.holds:
                console.print(
                    f"{result.name}: {agreement.side} differs from {result.reference} by "
                    f"{agreement.difference:.1e}"
                )


if __name__ == "__main__":
    sys.exit(main())
