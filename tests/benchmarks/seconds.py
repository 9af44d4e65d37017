"""Cases that measure how long it takes to reach an error, models trained and all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
from accuracy import AccuracyCase, GameResult, PlayedGame, Records
from results import machine


@dataclass(frozen=True)
class SecondsResult:
    """What came of the game, ready for JSON.

    `at_least` is the bound on the seconds of the fastest peer over those of `ours`.
    """

    template: ClassVar[str] = "seconds.md.j2"

    name: str
    title: str
    what: str
    game: GameResult
    threshold: float
    ours: str
    at_least: float
    versions: Mapping[str, Mapping[str, str]]
    machine: str = field(default_factory=machine)

    @property
    def curves(self) -> dict[str, list[tuple[float, float]]]:
        """Median seconds and mean error by budget, for each estimator."""
        return {entrant.label: self.curve(records) for entrant, records in self.game.runs}

    def curve(self, records: Records) -> list[tuple[float, float]]:
        """Return median seconds and mean error by budget."""
        return [self.point(runs) for runs in records.values()]

    def point(self, runs: Sequence[Mapping[str, float]]) -> tuple[float, float]:
        """Return median seconds and mean error of runs."""
        seconds = float(np.median([run["seconds"] for run in runs]))
        return seconds, float(np.mean([run["error"] for run in runs]))

    def seconds_to(self, records: Records) -> float:
        """Return the seconds at which the error is the threshold; infinite if it is never.

        Between budgets, and before the first, errors are taken to fall as a power of the seconds.
        """
        seconds, errors = np.log(np.array(self.curve(records)).T)
        wanted = np.log(self.threshold)
        if errors[-1] > wanted:
            return float("inf")
        last = max(int(np.argmax(errors <= wanted)), 1)
        slope = (seconds[last] - seconds[last - 1]) / (errors[last] - errors[last - 1])
        return float(np.exp(seconds[last] + slope * (wanted - errors[last])))

    @property
    def fastest_peer(self) -> tuple[str, float]:
        """Label and seconds of the peer that reaches the threshold first."""
        peers = {e.label: self.seconds_to(r) for e, r in self.game.runs if e.side != "dvl"}
        return min(peers.items(), key=lambda peer: peer[1])

    @property
    def ratio(self) -> float:
        """Seconds of the fastest peer over ours."""
        return self.fastest_peer[1] / self.seconds_to(self.game.of("dvl", self.ours))

    @property
    def passed(self) -> bool:
        """Whether the bound holds."""
        no_peers = all(entrant.side == "dvl" for entrant, _ in self.game.runs)
        return no_peers or self.ratio >= self.at_least

    def figures(self) -> Mapping[str, Callable[[Path], None]]:
        """Return what draws the figure into a file, by the name of the file."""
        from charts import errors_against_seconds

        return {f"{self.name}.svg": lambda path: errors_against_seconds(self, path)}


@dataclass(frozen=True)
class SecondsCase:
    """A game of models, played until the error is at a threshold.

    Parameters
    ----------
    name, title, what : str
        As those of a `Case`.
    game : PlayedGame
        The game; its bounds are not looked at.
    threshold : float
        Relative squared error to reach.
    ours : str
        The estimator of dvl that has to be faster.
    at_least : float
        Bound on the seconds of the fastest peer over those of `ours`.
    references : Path
        Folder of reference values.
    """

    name: str
    title: str
    what: str
    game: PlayedGame
    threshold: float
    ours: str
    at_least: float
    references: Path
    has_peers: ClassVar[bool] = True
    missing: ClassVar[None] = None

    def measure(
        self,
        pythons: Mapping[str, Path],
        folder: Path,
        tell: Callable[[str], None],
        rounds: int | None = None,
    ) -> SecondsResult:
        """Run all estimators one after the other; parameters are those of `Case`."""
        alone = AccuracyCase(
            self.name, self.title, self.what, [self.game], {}, self.references, processes=1
        )
        found = alone.measure(pythons, folder, tell, rounds)
        return SecondsResult(
            name=self.name,
            title=self.title,
            what=self.what,
            game=found.games[0],
            threshold=self.threshold,
            ours=self.ours,
            at_least=self.at_least,
            versions=found.versions,
        )
