"""Cases that measure the error of estimators: games whose values are known, budgets and seeds."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from measure import run_quietly
from results import machine
from scored import Mean
from sides.common import Arrays

SIDES = {
    "dvl": ("ours", "estimators_ours"),
    "pyDVL": ("peer", "estimators_pydvl"),
    "shapiq": ("others", "estimators_shapiq"),
}
"""Environment and module of each side."""

Records = Mapping[str, Sequence[Mapping[str, float]]]
"""What came of an estimator: a record a seed, by budget."""


class Entrant(NamedTuple):
    """An estimator of a side; how many seeds and which budgets are those of the game, if None."""

    side: str
    estimator: str
    seeds: int | None = None
    multiples: Sequence[int] | None = None

    @property
    def label(self) -> str:
        """Side and name."""
        return f"{self.side}: {self.estimator}"


class Bound(NamedTuple):
    """A bound on the error of `ours` over that of another, or the least of others, at a budget.

    Parameters
    ----------
    ours : str
        Estimator of dvl.
    others : str or None
        Estimator of dvl; None: the best of the peers.
    multiple : int
        Evaluations a player.
    at_most : float
        The bound.
    """

    ours: str
    others: str | None
    multiple: int
    at_most: float


@dataclass(frozen=True)
class PlayedGame:
    """A game, who plays it and how long.

    Parameters
    ----------
    title, what : str
        For people.
    kind : str
        Its name in `sides.games`.
    n : int
        Players.
    make : callable
        ``make(folder)`` returns the arrays with the ``truth`` [n], and the squared error of that
        itself; `folder` is for what need not be computed again.
    multiples : sequence of int
        Budgets, in evaluations a player.
    seeds : int
        Runs of every estimator at every budget.
    entrants : sequence of Entrant
        Estimators.
    bounds : sequence of Bound
        What to reach.
    """

    title: str
    what: str
    kind: str
    n: int
    make: Callable[[Path], tuple[Arrays, float]]
    multiples: Sequence[int]
    seeds: int
    entrants: Sequence[Entrant]
    bounds: Sequence[Bound]


@dataclass(frozen=True)
class GameResult:
    """What came of a game, ready for JSON."""

    title: str
    what: str
    n: int
    multiples: Sequence[int]
    truth_error: float
    runs: Sequence[tuple[Entrant, Records]]
    bounds: Sequence[Bound]

    def error(self, records: Records, multiple: int) -> Mean:
        """Return mean and spread of the errors at a budget."""
        return Mean.of([record["error"] for record in records[str(multiple * self.n)]])

    def seeds(self, records: Records) -> int:
        """Return with how many seeds an estimator ran."""
        return max(map(len, records.values()))

    def has(self, records: Records, multiple: int) -> bool:
        """Whether an estimator had a budget."""
        return str(multiple * self.n) in records

    def overhead(self, records: Records) -> float:
        """Return microseconds an evaluation outside the game, at the largest budget."""
        runs = list(records.values())[-1]
        each = [(run["seconds"] - run["in_game"]) / run["evaluations"] for run in runs]
        return 1e6 * float(np.median(each))

    def of(self, side: str, estimator: str) -> Records:
        """Return the records of an estimator."""
        return next(r for e, r in self.runs if (e.side, e.estimator) == (side, estimator))

    def others(self, bound: Bound) -> dict[str, float]:
        """Return the mean errors of those that a bound compares with."""
        return {
            entrant.label: self.error(records, bound.multiple).value
            for entrant, records in self.runs
            if entrant.side != "dvl" or entrant.estimator == bound.others
            if (bound.others is None) == (entrant.side != "dvl")
            if self.has(records, bound.multiple)
        }

    def best(self, bound: Bound) -> tuple[str, float]:
        """Return name and error of the best of those that a bound compares with."""
        return min(self.others(bound).items(), key=lambda other: other[1])

    def ratio(self, bound: Bound) -> float:
        """Return the error of ours over that of the best of the others."""
        ours = self.error(self.of("dvl", bound.ours), bound.multiple).value
        return ours / self.best(bound)[1]

    def reached(self, bound: Bound) -> bool:
        """Whether a bound holds."""
        return self.ratio(bound) <= bound.at_most


@dataclass(frozen=True)
class AccuracyResult:
    """What came of all games, ready for JSON."""

    template: ClassVar[str] = "accuracy.md.j2"

    name: str
    title: str
    what: str
    games: Sequence[GameResult]
    figure: str
    lines: Mapping[str, str]
    versions: Mapping[str, Mapping[str, str]]
    machine: str = field(default_factory=machine)

    @property
    def passed(self) -> bool:
        """Whether all bounds hold."""
        return all(game.reached(bound) for game in self.games for bound in game.bounds)

    def figures(self) -> Mapping[str, Callable[[Path], None]]:
        """Return what draws each figure into a file, by the name of the file."""
        from charts import errors_against_evaluations

        return {self.figure: lambda path: errors_against_evaluations(self, path)}


@dataclass(frozen=True)
class AccuracyCase:
    """Estimators of all sides on the same games, in the environment of each side.

    Parameters
    ----------
    name, title, what : str
        As those of a `Case`.
    games : sequence of PlayedGame
        The games, in the order of the page.
    lines : mapping
        What the figure shows: legend by label of the estimator.
    references : Path
        Folder of reference values.
    processes : int, optional
        How many run at the same time; None: as many as there are cores, for errors do not depend
        on what else runs.
    """

    name: str
    title: str
    what: str
    games: Sequence[PlayedGame]
    lines: Mapping[str, str]
    references: Path
    processes: int | None = None
    has_peers: ClassVar[bool] = True
    missing: ClassVar[None] = None

    def measure(
        self,
        pythons: Mapping[str, Path],
        folder: Path,
        tell: Callable[[str], None],
        rounds: int | None = None,
    ) -> AccuracyResult:
        """Run all estimators; parameters are those of `Case`, `rounds` the number of seeds."""
        versions: dict[str, dict[str, str]] = {}
        games = []
        for number, game in enumerate(self.games):
            arrays, truth_error = game.make(self.references)
            jobs = list(self._jobs(game, pythons, folder / str(number), arrays, rounds))
            with ThreadPoolExecutor(self.processes or os.cpu_count()) as pool:
                outputs = list(pool.map(_run, jobs))
            runs = []
            for job, output in zip(jobs, outputs, strict=True):
                runs.append((job.entrant, output["runs"][job.entrant.estimator]))
                versions.setdefault(job.entrant.side, {}).update(output["versions"])
            bounds = [b for b in game.bounds if b.others or any(e.side != "dvl" for e, _ in runs)]
            games.append(
                GameResult(game.title, game.what, game.n, game.multiples, truth_error, runs, bounds)
            )
            tell(f"{self.name}: {game.title}")
            for bound in games[-1].bounds:
                if not games[-1].reached(bound):
                    ratio = games[-1].ratio(bound)
                    tell(f"MISSED: {bound.ours} at {bound.multiple}n: {ratio:.3g} x")
        figure = f"{self.name}.svg"
        return AccuracyResult(self.name, self.title, self.what, games, figure, self.lines, versions)

    def _jobs(
        self,
        game: PlayedGame,
        pythons: Mapping[str, Path],
        folder: Path,
        arrays: Arrays,
        rounds: int | None,
    ) -> Iterator[_Job]:
        """Yield what to run, each in a folder of its own."""
        for number, entrant in enumerate(game.entrants):
            environment, module = SIDES[entrant.side]
            if environment not in pythons:
                continue
            place = folder / str(number)
            place.mkdir(parents=True)
            np.savez(place / "inputs.npz", **arrays)
            job = {
                "game": game.kind,
                "budgets": [m * game.n for m in entrant.multiples or game.multiples],
                "seeds": rounds or entrant.seeds or game.seeds,
                "estimators": [entrant.estimator],
            }
            (place / "job.json").write_text(json.dumps(job))
            yield _Job(entrant, pythons[environment], module, place)


class _Job(NamedTuple):
    """One estimator in one environment."""

    entrant: Entrant
    python: Path
    module: str
    folder: Path


def _run(job: _Job) -> Any:
    """Run a job and return what it wrote."""
    run_quietly([str(job.python), "-m", f"sides.{job.module}", str(job.folder)])
    return json.loads((job.folder / "outputs.json").read_text())
