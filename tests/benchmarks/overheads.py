"""Cases that measure what drawing and folding cost, with a game that costs next to nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from measure import OURS, run_quietly
from results import Spread, machine

SIDES = {
    "dvl": (OURS, "overheads_ours"),
    "pyDVL": ("peer", "overheads_pydvl"),
}
"""Environment and module of each side."""


class Job(NamedTuple):
    """A run that is timed.

    Parameters
    ----------
    side, sampler : str
        Whose, and its name in the module of the side.
    n : int
        Players.
    n_evaluations : int
        Evaluations.
    rounds : int
        How often it is run.
    """

    side: str
    sampler: str
    n: int
    n_evaluations: int
    rounds: int = 1

    @property
    def label(self) -> str:
        """Side and sampler."""
        return f"{self.side}: {self.sampler}"


class Timed(NamedTuple):
    """What a job took by round, and how many evaluations it made."""

    seconds: Sequence[float]
    evaluations: int

    @property
    def microseconds(self) -> Spread:
        """Microseconds of an evaluation, over rounds."""
        return Spread.of([1e6 * seconds / self.evaluations for seconds in self.seconds])


@dataclass(frozen=True)
class Row:
    """A job of the table, what it took, and the most microseconds that an evaluation may take."""

    job: Job
    timed: Timed
    at_most: float | None

    @property
    def reached(self) -> bool:
        """Whether the target is reached, if there is one."""
        return self.at_most is None or self.timed.microseconds.median <= self.at_most


@dataclass(frozen=True)
class Chart:
    """Seconds by what is on the axis: points (x, seconds) by label."""

    title: str
    axis: str
    curves: Mapping[str, Sequence[tuple[float, float]]]

    @property
    def powers(self) -> dict[str, float]:
        """The power of x with which seconds grow, over the last two points of each curve."""
        found = {}
        for label, curve in self.curves.items():
            (x, low), (more, high) = curve[-2:]
            found[label] = float(np.log(high / low) / np.log(more / x))
        return found


@dataclass(frozen=True)
class OverheadResult:
    """What came of all jobs, ready for JSON."""

    template: ClassVar[str] = "overheads.md.j2"

    name: str
    title: str
    what: str
    rows: Sequence[Row]
    charts: Mapping[str, Chart]
    versions: Mapping[str, Mapping[str, str]]
    machine: str = field(default_factory=machine)

    @property
    def passed(self) -> bool:
        """Whether all targets are reached."""
        return all(row.reached for row in self.rows)

    def figures(self) -> Mapping[str, Callable[[Path], None]]:
        """Return what draws each figure into a file, by the name of the file."""
        return {
            f"{self.name}-{name}.svg": lambda path, chart=chart: draw(chart, path)
            for name, chart in self.charts.items()
        }


@dataclass(frozen=True)
class OverheadCase:
    """Runs of samplers, those of a side in one process.

    Parameters
    ----------
    name, title, what : str
        As those of a `Case`.
    rows : sequence of (Job, float or None)
        The table: what is run, and the most microseconds that an evaluation may take.
    by_evaluations, by_players : sequence of Job
        The charts: seconds against evaluations, and against players for so many evaluations a
        player as `multiple` says; runs with fewer are scaled up.
    multiple : int
        Evaluations a player.
    """

    name: str
    title: str
    what: str
    rows: Sequence[tuple[Job, float | None]]
    by_evaluations: Sequence[Job]
    by_players: Sequence[Job]
    multiple: int
    missing: ClassVar[None] = None

    @property
    def jobs(self) -> list[Job]:
        """All that is run."""
        return [*(job for job, _ in self.rows), *self.by_evaluations, *self.by_players]

    @property
    def has_peers(self) -> bool:
        """Whether a side needs an environment of the peers."""
        return any(SIDES[job.side][0] != OURS for job in self.jobs)

    def measure(
        self,
        pythons: Mapping[str, Path],
        folder: Path,
        tell: Callable[[str], None],
        rounds: int | None = None,
    ) -> OverheadResult:
        """Time all jobs; parameters are those of `Case`."""
        found: dict[Job, Timed] = {}
        versions = {}
        for side, (environment, module) in SIDES.items():
            jobs = list(dict.fromkeys(job for job in self.jobs if job.side == side))
            if environment not in pythons or not jobs:
                continue
            told = [{**job._asdict(), "rounds": rounds or job.rounds} for job in jobs]
            (folder / "jobs.json").write_text(json.dumps(told))
            run_quietly([str(pythons[environment]), "-m", f"sides.{module}", str(folder)])
            outputs = json.loads((folder / "outputs.json").read_text())
            timed = [Timed(**run) for run in outputs["runs"]]
            found.update(zip(jobs, timed, strict=True))
            versions[side] = outputs["versions"]
        rows = [Row(job, found[job], at_most) for job, at_most in self.rows if job in found]
        for row in rows:
            tell(
                f"{self.name}: {row.job.label}, n = {row.job.n}: "
                f"{row.timed.microseconds.median:.4g} us{'' if row.reached else ', MISSED'}"
            )
        charts = {
            "evaluations": Chart(
                "Seconds against evaluations",
                "evaluations",
                curves(found, self.by_evaluations, evaluations),
            ),
            "players": Chart(
                f"Seconds of {self.multiple} evaluations a player against players",
                "players",
                curves(found, self.by_players, self._players),
            ),
        }
        return OverheadResult(self.name, self.title, self.what, rows, charts, versions)

    def _players(self, job: Job, timed: Timed) -> tuple[float, float]:
        """Return a point of the chart by players."""
        return job.n, 1e-6 * timed.microseconds.median * self.multiple * job.n


def evaluations(_: Job, timed: Timed) -> tuple[float, float]:
    """Return a point of the chart by evaluations."""
    return timed.evaluations, Spread.of(timed.seconds).median


def curves(
    found: Mapping[Job, Timed],
    jobs: Iterable[Job],
    point: Callable[[Job, Timed], tuple[float, float]],
) -> dict[str, list[tuple[float, float]]]:
    """Return the points of the jobs that were run, by label."""
    points: dict[str, list[tuple[float, float]]] = {}
    for job in jobs:
        if job in found:
            points.setdefault(job.label, []).append(point(job, found[job]))
    return points


def draw(chart: Chart, path: Path) -> None:
    """Draw seconds against what is on the axis."""
    from charts import saved

    with saved(path, 1) as panels:
        axes: Any = panels[0]
        for label, curve in chart.curves.items():
            x, seconds = zip(*curve, strict=True)
            style = "-" if label.startswith("dvl") else "--"
            axes.loglog(x, seconds, style, marker="o", markersize=3, label=label)
        axes.set_xlabel(chart.axis)
        axes.set_ylabel("seconds")
