"""Cases that measure how good values are: figures over seeds, beside published ones."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
from measure import run_quietly
from results import machine

DATA = Path(os.environ.get("DVL_DATA", Path(__file__).parents[3] / "shared" / "data"))

Figures = Mapping[str, Mapping[str, float]]
"""One figure by data set and metric."""

Sample = Mapping[str, Mapping[str, Sequence[float]]]
"""Figures over seeds, by data set and metric."""


class Mean(NamedTuple):
    """Mean and standard deviation of a few figures."""

    value: float
    deviation: float
    count: int

    @classmethod
    def of(cls, figures: Sequence[float]) -> Mean:
        """Sum up; the deviation of a single figure is 0."""
        deviation = float(np.std(figures, ddof=1)) if len(figures) > 1 else 0.0
        return cls(float(np.mean(figures)), deviation, len(figures))

    def stands(self, published: float, runs: int) -> str:
        """Return how the mean stands to one over the runs of others: above, level with or below.

        Level are means within two standard errors of their difference, if the figures of others
        vary as these do. Of a single figure there is nothing to say: it stands beside.
        """
        if self.count == 1:
            return "beside"
        margin = 2 * self.deviation * np.sqrt(1 / self.count + 1 / runs)
        if abs(self.value - published) <= margin:
            return "level with"
        return "above" if self.value > published else "below"


@dataclass(frozen=True)
class Published:
    """Means that others report.

    Parameters
    ----------
    what : str
        Who, and with which model and budget.
    runs : int
        What they are means of.
    figures : mapping
        The means, by data set and metric.
    """

    what: str
    runs: int
    figures: Figures


@dataclass(frozen=True)
class Entry:
    """A method with its options.

    Parameters
    ----------
    key : str
        Its name in the module that runs it.
    method, options : str
        For people to read.
    published : sequence of Published
        Figures to stand beside.
    """

    key: str
    method: str
    options: str
    published: Sequence[Published] = ()


@dataclass(frozen=True)
class Row:
    """What an entry reached, over seeds."""

    entry: Entry
    sample: Sample

    @property
    def seeds(self) -> int:
        """How many seeds the method ran with."""
        return max(len(figures) for metrics in self.sample.values() for figures in metrics.values())

    def mean(self, data: str, metric: str) -> Mean | None:
        """Return the mean over seeds, if the method ran on that data."""
        return Mean.of(self.sample[data][metric]) if data in self.sample else None

    def standings(self, data: str, metric: str) -> list[tuple[str, float]]:
        """Return how the mean stands to each published one."""
        mean = self.mean(data, metric)
        return [
            (mean.stands(figure, published.runs), figure)
            for published in self.entry.published
            for figure in [published.figures.get(data, {}).get(metric)]
            if mean is not None and figure is not None
        ]


@dataclass(frozen=True)
class ScoreResult:
    """What the methods of a case reached, ready for JSON."""

    template: ClassVar[str] = "scores.md.j2"

    name: str
    title: str
    what: str
    metrics: Sequence[str]
    data: Sequence[str]
    rows: Sequence[Row]
    versions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    machine: str = field(default_factory=machine)

    @property
    def below(self) -> list[str]:
        """What lies below a published figure."""
        return [
            f"{row.entry.method} ({row.entry.options}) on {data}, {metric}"
            for row in self.rows
            for data in self.data
            for metric in self.metrics
            if "below" in [standing for standing, _ in row.standings(data, metric)]
        ]

    def figures(self) -> Mapping[str, Callable[[Path], None]]:
        """Return what draws each figure into a file, by the name of the file: none."""
        return {}

    @property
    def passed(self) -> bool:
        """Whether nothing lies below a published figure."""
        return not self.below


@dataclass(frozen=True)
class ScoreCase:
    """Methods that a module of `sides` runs on real data, in a process for each data set.

    Parameters
    ----------
    name, title, what : str
        As those of a `Case`.
    module : str
        Module in `sides`; it gets the file of the data, a folder, and the most seeds.
    metrics, data : sequence of str
        What is measured, and the files without their suffix.
    entries : sequence of Entry
        The methods, in the order of the page.
    """

    name: str
    title: str
    what: str
    module: str
    metrics: Sequence[str]
    data: Sequence[str]
    entries: Sequence[Entry]
    folder: Path = DATA
    has_peers: ClassVar[bool] = False

    @property
    def missing(self) -> str | None:
        """Why the case cannot run; None if it can."""
        absent = [name for name in self.data if not (self.folder / f"{name}.npz").exists()]
        if not absent:
            return None
        return f"no {absent[0]}.npz in {self.folder}: set DVL_DATA to the folder of the data sets"

    def measure(
        self,
        pythons: Mapping[str, Path],
        folder: Path,
        tell: Callable[[str], None],
        rounds: int | None = None,
    ) -> ScoreResult:
        """Run all methods; parameters are those of `Case`, `rounds` the most seeds."""
        found: dict[str, dict[str, Mapping[str, Sequence[float]]]] = {}
        versions: dict[str, str] = {}
        for name in self.data:
            file, seeds = self.folder / f"{name}.npz", [str(rounds)] if rounds else []
            python = str(pythons["ours"])
            run_quietly([python, "-m", f"sides.{self.module}", str(file), str(folder), *seeds])
            outputs = json.loads((folder / "outputs.json").read_text())
            versions.update(outputs["versions"])
            for key, sample in outputs["figures"].items():
                found.setdefault(key, {})[name] = sample
            tell(f"{self.name}: {name} {outputs['seconds']:.4g} s")
        rows = [Row(entry, found[entry.key]) for entry in self.entries]
        return ScoreResult(
            self.name, self.title, self.what, self.metrics, self.data, rows, {"dvl": versions}
        )
