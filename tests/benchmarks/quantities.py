"""Cases that measure quantities of our own, each against a bound: rates, shares, memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, NamedTuple

from measure import OUR_LIBRARY, OURS, run_quietly
from results import Spread, machine


class Goal(NamedTuple):
    """A quantity, and the bound on its median, if there is one.

    Parameters
    ----------
    label : str
        What it is; the module of the case knows it by this.
    unit : str
        In what it is measured.
    at_least, at_most : float, optional
        The bound.
    """

    label: str
    unit: str
    at_least: float | None = None
    at_most: float | None = None

    @property
    def bound(self) -> str:
        """The bound in words; nothing if there is none."""
        if self.at_least is None and self.at_most is None:
            return ""
        words, value = (
            ("at most", self.at_most) if self.at_least is None else ("at least", self.at_least)
        )
        return f"{words} {value:,.10g}"


@dataclass(frozen=True)
class Row:
    """What was measured of a quantity, round by round."""

    goal: Goal
    values: Sequence[float]

    @property
    def spread(self) -> Spread:
        """Median, least and most."""
        return Spread.of(self.values)

    @property
    def reached(self) -> bool:
        """Whether the median is within the bound; NaN is not."""
        enough = self.goal.at_least is None or self.spread.median >= self.goal.at_least
        return enough and (self.goal.at_most is None or self.spread.median <= self.goal.at_most)


@dataclass(frozen=True)
class QuantityResult:
    """What came of all quantities, ready for JSON."""

    template: ClassVar[str] = "quantities.md.j2"

    name: str
    title: str
    what: str
    rows: Sequence[Row]
    left_out: Sequence[str]
    versions: Mapping[str, Mapping[str, str]]
    machine: str = field(default_factory=machine)

    @property
    def passed(self) -> bool:
        """Whether all bounds are kept."""
        return all(row.reached for row in self.rows)

    def figures(self) -> Mapping[str, Callable[[Path], None]]:
        """Return what draws each figure into a file, by the name of the file: none."""
        return {}


@dataclass(frozen=True)
class QuantityCase:
    """Measures quantities with a module in `sides`, every round in a process of its own.

    ``python -m sides.MODULE FOLDER`` finds `size` in ``job.json`` of the folder, and leaves
    ``outputs.json`` there: ``values`` by label and ``versions``. A quantity that it does not
    give, for lack of a package or a server, is left out and named.

    Parameters
    ----------
    name, title, what : str
        As those of a `Case`.
    module : str
        Module in `sides`.
    goals : sequence of Goal
        In the order of the page.
    size, tiny : mapping
        Numbers for the module: for the measurement, and for tests.
    rounds : int
        How often the module is run.
    """

    name: str
    title: str
    what: str
    module: str
    goals: Sequence[Goal]
    size: Mapping[str, float]
    tiny: Mapping[str, float]
    rounds: int
    has_peers: ClassVar[bool] = False
    missing: ClassVar[None] = None

    def measure(
        self,
        pythons: Mapping[str, Path],
        folder: Path,
        tell: Callable[[str], None],
        rounds: int | None = None,
    ) -> QuantityResult:
        """Measure all quantities; parameters are those of `Case`."""
        (folder / "job.json").write_text(json.dumps(dict(self.size)))
        found: dict[str, list[float]] = {}
        outputs: dict[str, dict[str, str]] = {}
        for number in range(rounds or self.rounds):
            run_quietly([str(pythons[OURS]), "-m", f"sides.{self.module}", str(folder)])
            outputs = json.loads((folder / "outputs.json").read_text())
            for label, value in outputs["values"].items():
                found.setdefault(label, []).append(float(value))
            tell(f"{self.name}, round {number + 1}: {outputs['values']}")
        return QuantityResult(
            name=self.name,
            title=self.title,
            what=self.what.format(**self.size),
            rows=[Row(goal, found[goal.label]) for goal in self.goals if goal.label in found],
            left_out=[goal.label for goal in self.goals if goal.label not in found],
            versions={OUR_LIBRARY: outputs["versions"]},
        )
