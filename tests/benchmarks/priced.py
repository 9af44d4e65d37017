"""Cases that measure what an evaluation costs: one model after the other, and many together."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
from measure import OURS, Arrays, run_quietly
from results import Spread, machine

SMOOTH = 1e-6
ROUNDING = 1e-9
LEAST_EQUAL = 0.99


class Entry(NamedTuple):
    """A model whose evaluations are timed.

    Parameters
    ----------
    model : str
        For people, and its name in `sides.price`.
    targets : str
        The array of its targets.
    score : str
        Name of the score.
    at_least : float, optional
        How many times faster evaluations have to be together.
    rounds : int
        How often all coalitions are evaluated in both ways.
    """

    model: str
    targets: str
    score: str
    at_least: float | None = None
    rounds: int = 5

    @property
    def shares(self) -> bool:
        """Whether the score is a share of right labels, not smooth."""
        return self.score == "accuracy"


@dataclass(frozen=True)
class Row:
    """What came of a model: seconds by round, and how far the scores are apart."""

    entry: Entry
    n_evaluations: int
    alone: Sequence[float]
    together: Sequence[float]
    gaps: Sequence[float]
    n_test: int

    @property
    def faster(self) -> Spread:
        """How many times faster evaluations are together, over rounds."""
        pairs = zip(self.alone, self.together, strict=True)
        return Spread.of([alone / together for alone, together in pairs])

    def microseconds(self, seconds: Sequence[float]) -> float:
        """Return the median microseconds of an evaluation."""
        return 1e6 * Spread.of(seconds).median / self.n_evaluations

    @property
    def equal(self) -> float:
        """Share of the coalitions with the same score, up to rounding."""
        bound = ROUNDING if self.entry.shares else SMOOTH
        return float(np.mean(np.asarray(self.gaps) <= bound))

    @property
    def furthest(self) -> float:
        """The largest difference between the two scores of a coalition; NaN counts as such."""
        return float(np.max(self.gaps))

    @property
    def agrees(self) -> bool:
        """Whether nearly all scores are equal, and none is more than a test point apart."""
        bound = 1 / self.n_test + ROUNDING if self.entry.shares else SMOOTH
        return self.equal >= LEAST_EQUAL and self.furthest <= bound

    @property
    def reached(self) -> bool:
        """Whether the target is reached, if there is one."""
        return self.entry.at_least is None or self.faster.median >= self.entry.at_least


@dataclass(frozen=True)
class PriceResult:
    """What came of all models, ready for JSON."""

    template: ClassVar[str] = "priced.md.j2"

    name: str
    title: str
    what: str
    rows: Sequence[Row]
    versions: Mapping[str, Mapping[str, str]]
    machine: str = field(default_factory=machine)

    @property
    def passed(self) -> bool:
        """Whether all targets are reached and all scores agree."""
        return all(row.reached and row.agrees for row in self.rows)

    def figures(self) -> Mapping[str, Callable[[Path], None]]:
        """Return what draws each figure into a file, by the name of the file: none."""
        return {}


@dataclass(frozen=True)
class PriceCase:
    """Models evaluated on the same coalitions in both ways, in a process for each.

    Parameters
    ----------
    name, title, what : str
        As those of a `Case`.
    entries : sequence of Entry
        The models, in the order of the page.
    make : callable
        Returns the arrays: ``x_train``, ``x_test``, the targets of both with the same endings,
        and ``coalitions``.
    """

    name: str
    title: str
    what: str
    entries: Sequence[Entry]
    make: Callable[[], Arrays]
    has_peers: ClassVar[bool] = False
    missing: ClassVar[None] = None

    def measure(
        self,
        pythons: Mapping[str, Path],
        folder: Path,
        tell: Callable[[str], None],
        rounds: int | None = None,
    ) -> PriceResult:
        """Time all models; parameters are those of `Case`."""
        arrays = self.make()
        np.savez(folder / "inputs.npz", **arrays)
        rows, versions = [], {}
        for entry in self.entries:
            job = {**entry._asdict(), "rounds": rounds or entry.rounds}
            (folder / "job.json").write_text(json.dumps(job))
            run_quietly([str(pythons[OURS]), "-m", "sides.price", str(folder)])
            outputs = json.loads((folder / "outputs.json").read_text())
            versions.update(outputs["versions"])
            n_evaluations, n_test = len(arrays["coalitions"]), len(arrays["x_test"])
            seconds = outputs["alone"], outputs["together"]
            row = Row(entry, n_evaluations, *seconds, outputs["gaps"], n_test)
            rows.append(row)
            tell(
                f"{self.name}: {entry.model}, {entry.score}: {row.faster.median:.4g} x, "
                f"{row.equal:.2%} equal{'' if row.reached and row.agrees else ', MISSED'}"
            )
        return PriceResult(self.name, self.title, self.what, rows, {"dvl and floor": versions})
