"""What was timed, what follows from it, and how it is kept as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np


class AnyResult(Protocol):
    """What came of a case: a section of the page, and figures."""

    template: ClassVar[str]

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def versions(self) -> Mapping[str, Mapping[str, str]]: ...
    @property
    def passed(self) -> bool: ...
    def figures(self) -> Mapping[str, Callable[[Path], None]]: ...


class AnyCase(Protocol):
    """A benchmark; `missing` says why it cannot run, if it cannot."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def has_peers(self) -> bool: ...
    @property
    def missing(self) -> str | None: ...
    def measure(
        self,
        pythons: Mapping[str, Path],
        folder: Path,
        tell: Callable[[str], None],
        rounds: int | None = None,
    ) -> AnyResult: ...


class Spread(NamedTuple):
    """Median, least and largest of a few numbers."""

    median: float
    least: float
    largest: float

    @classmethod
    def of(cls, numbers: Sequence[float]) -> Spread:
        """Sum up."""
        return cls(float(np.median(numbers)), min(numbers), max(numbers))


@dataclass(frozen=True)
class Target:
    """A bound on the seconds of `numerator` over those of `denominator`."""

    numerator: str
    denominator: str
    at_least: float | None = None
    at_most: float | None = None

    def reached(self, ratio: float) -> bool:
        """Whether a ratio is within the bounds that are given."""
        enough = self.at_least is None or ratio >= self.at_least
        return enough and (self.at_most is None or ratio <= self.at_most)


@dataclass(frozen=True)
class MemoryLimit:
    """A bound on the memory of a side, in MiB.

    Parameters
    ----------
    side : str
        Whose memory.
    at_most : float
        The bound.
    beyond_inputs : bool
        Whether the bound is on what the work adds to the memory before it started, or on all
        memory of the process.
    """

    side: str
    at_most: float
    beyond_inputs: bool = False


@dataclass(frozen=True)
class Agreement:
    """How far the values of a side are from the reference of its case."""

    side: str
    difference: float
    tolerance: float
    peer: bool

    @property
    def holds(self) -> bool:
        """Whether the difference is within the tolerance; NaN is not."""
        return self.difference <= self.tolerance


def machine() -> str:
    """Return the model of the processor and how many cores there are."""
    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        pairs = (line.partition(":") for line in information.read_text().splitlines())
        model = next((v.strip() for k, _, v in pairs if k.strip() == "model name"), model)
    return f"{model}, {os.cpu_count()} cores, {platform.system()}"


@dataclass(frozen=True)
class Result:
    """What a case took, ready for JSON.

    `seconds` holds one number a round, by side; `memory` the most MiB that the process held, and
    that it held beyond what it did before the work, over the rounds. `remarks` are sentences.
    """

    template: ClassVar[str] = "timings.md.j2"

    name: str
    title: str
    what: str
    seconds: Mapping[str, Sequence[float]]
    targets: Sequence[Target] = ()
    reference: str = ""
    agreements: Sequence[Agreement] = ()
    memory: Mapping[str, Sequence[float]] = field(default_factory=dict)
    limits: Sequence[MemoryLimit] = ()
    remarks: Sequence[str] = ()
    versions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    machine: str = field(default_factory=machine)

    def ratio(self, numerator: str, denominator: str) -> Spread:
        """Return the ratios of the seconds of two sides, paired by round.

        Only rounds in which both ran count, so that both saw the machine in the same state.
        """
        pairs = zip(self.seconds[numerator], self.seconds[denominator], strict=False)
        return Spread.of([above / below for above, below in pairs])

    def reached(self, target: Target) -> bool:
        """Whether the median ratio is within the bounds of a target."""
        return target.reached(self.ratio(target.numerator, target.denominator).median)

    def used(self, limit: MemoryLimit) -> float:
        """Return the MiB that a limit bounds."""
        peak, beyond = self.memory[limit.side]
        return beyond if limit.beyond_inputs else peak

    def kept(self, limit: MemoryLimit) -> bool:
        """Whether a side stayed within a limit."""
        return self.used(limit) <= limit.at_most

    def figures(self) -> Mapping[str, Callable[[Path], None]]:
        """Return what draws each figure into a file, by the name of the file: none."""
        return {}

    @property
    def passed(self) -> bool:
        """Whether all targets and limits hold, and our own sides agree; peers may be wrong."""
        agree = all(agreement.holds or agreement.peer for agreement in self.agreements)
        return agree and all(map(self.reached, self.targets)) and all(map(self.kept, self.limits))


def save(result: Any, folder: Path) -> None:
    """Write all fields of a result into ``NAME.json`` of a folder, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(asdict(result), indent=2)
    (folder / f"{result.name}.json").write_text(f"{text}\n")
