"""Cases that measure how well scores predict what training on parts of the data does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
from measure import Script
from numpy.typing import NDArray
from results import machine
from retraining import DigitsNet
from scipy.stats import spearmanr


@dataclass(frozen=True)
class Bound:
    """The linear datamodeling score that a side must have on a net.

    `at_least` is a number, or the labels of other sides with what may be lacking to theirs.
    """

    net: str
    sides: tuple[str, ...]
    at_least: float | Mapping[str, float]

    def wanted(self, scores: Mapping[str, float]) -> float:
        """Return the bound as a number, for the sides that ran."""
        if isinstance(self.at_least, Mapping):
            return max(scores[side] - lack for side, lack in self.at_least.items())
        return self.at_least

    def found(self, scores: Mapping[str, float]) -> float:
        """Return the best score of the sides."""
        return max(scores[side] for side in self.sides)

    def ran(self, scores: Mapping[str, float]) -> bool:
        """Whether all that it speaks of was run."""
        others = self.at_least if isinstance(self.at_least, Mapping) else ()
        return {*self.sides, *others} <= scores.keys()


@dataclass(frozen=True)
class AttributionResult:
    """Linear datamodeling scores by net and side, ready for JSON."""

    template: ClassVar[str] = "attribution.md.j2"

    name: str
    title: str
    what: str
    nets: Sequence[str]
    sides: Sequence[str]
    scores: Mapping[str, Mapping[str, float]]
    bounds: Sequence[Bound]
    versions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    machine: str = field(default_factory=machine)

    @property
    def judged(self) -> list[tuple[Bound, float, float]]:
        """Bounds with what was wanted and what was found."""
        return [
            (bound, bound.wanted(scores), bound.found(scores))
            for bound in self.bounds
            for scores in [self.scores[bound.net]]
            if bound.ran(scores)
        ]

    @property
    def passed(self) -> bool:
        """Whether all bounds hold."""
        return all(found >= wanted for _, wanted, found in self.judged)

    def figures(self) -> Mapping[str, Callable[[Path], None]]:
        """Return what draws each figure into a file, by the name of the file: none."""
        return {}


@dataclass(frozen=True)
class AttributionCase:
    """Scores of several sides on several nets.

    Parameters
    ----------
    name, title, what : str
        As those of a `Case`.
    nets : sequence of DigitsNet
        What is trained.
    sides : sequence of Script
        Each returns ``scores`` [n_test, n_train].
    bounds : sequence of Bound
        What to reach.
    references : Path
        Folder of the losses of retrained nets.
    """

    name: str
    title: str
    what: str
    nets: Sequence[DigitsNet]
    sides: Sequence[Script]
    bounds: Sequence[Bound]
    references: Path
    has_peers: ClassVar[bool] = True
    missing: ClassVar[None] = None

    def measure(
        self,
        pythons: Mapping[str, Path],
        folder: Path,
        tell: Callable[[str], None],
        rounds: int | None = None,
    ) -> AttributionResult:
        """Retrain, run all sides once, compare; parameters are those of `Case`."""
        sides = [side for side in self.sides if side.environment in pythons]
        scores: dict[str, dict[str, float]] = {}
        versions: dict[str, dict[str, str]] = {}
        for net in self.nets:
            arrays = net.arrays()
            halves, losses = net.retrained(arrays, self.references)
            np.savez(folder / "inputs.npz", **arrays)
            few = {key: arrays[key][:20] for key in ("x", "y", "x_test", "y_test")}
            np.savez(folder / "tiny.npz", **{**arrays, **few})
            for side in sides:
                timing = side.time(pythons, folder)
                score = datamodeling_score(timing.outputs["scores"], halves, losses)
                scores.setdefault(net.title, {})[side.label] = score
                versions.setdefault(side.library, {}).update(timing.versions)
                tell(f"{self.name}: {net.name}, {side.label} {score:.3f}")
        return AttributionResult(
            name=self.name,
            title=self.title,
            what=self.what,
            nets=[net.title for net in self.nets],
            sides=[side.label for side in sides],
            scores=scores,
            bounds=self.bounds,
            versions=versions,
        )


def datamodeling_score(
    scores: NDArray[np.float64], halves: NDArray[np.bool_], losses: NDArray[np.float64]
) -> float:
    """Return the mean over test points of Spearman's correlation, over halves, of sum and loss.

    Park et al., TRAK, ICML 2023, definition 2.3.

    Parameters
    ----------
    scores : float array [n_test, n_train]
        Positive: the training point helps.
    halves : bool array [m, n_train]
        Which points the nets were trained on.
    losses : float array [m, n_test]
        What the test points then cost.

    Examples
    --------
    >>> halves = np.eye(3, dtype=bool)
    >>> datamodeling_score(np.array([[1.0, 2.0, 3.0]]), halves, np.array([[3.0], [2.0], [1.0]]))
    1.0
    """
    predicted = halves @ scores.T
    columns = zip(predicted.T, -losses.T, strict=True)
    return float(np.mean([spearmanr(*pair).statistic for pair in columns]))
