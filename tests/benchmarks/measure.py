"""Time the sides of a case in turn, in processes of their own, and note what they took."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from results import Agreement, MemoryLimit, Result, Target

HERE = Path(__file__).parent
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

Arrays = Mapping[str, NDArray[Any]]

OURS = "ours"
OUR_LIBRARY = "dvl and floor"
PEERS = {
    "peer": ("peer", "pyDVL"),
    "opendataval": ("others", "opendataval"),
    "influence_pydvl": ("influence", "pyDVL"),
    "influence_kronfluence": ("influence", "kronfluence"),
}
"""Environment and library of the modules in `sides` that need one of the peers' environments."""


@dataclass(frozen=True)
class Timing:
    """What one process took, what it computed, and with which versions.

    `memory` is the most MiB it held during the work, and how much more that is than before it.
    """

    seconds: float
    outputs: Arrays = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    memory: tuple[float, float] | None = None


class Side(Protocol):
    """One of those that do the same work, with a library in an environment; peers in their own."""

    @property
    def label(self) -> str: ...
    @property
    def rounds(self) -> int: ...
    @property
    def environment(self) -> str: ...
    @property
    def library(self) -> str: ...
    def time(self, pythons: Mapping[str, Path], folder: Path) -> Timing: ...


@dataclass(frozen=True)
class Script:
    """A side that does ``work`` of a module in `sides`, on arrays; only the work is timed.

    `numbers` stand in for those of the arrays that are single numbers.
    """

    label: str
    module: str
    work: str
    rounds: int
    numbers: Mapping[str, float] = field(default_factory=dict)

    @property
    def environment(self) -> str:
        """In which environment the module runs."""
        return PEERS.get(self.module, (OURS, ""))[0]

    @property
    def library(self) -> str:
        """Whose versions are those of the module."""
        return PEERS.get(self.module, ("", OUR_LIBRARY))[1]

    def time(self, pythons: Mapping[str, Path], folder: Path) -> Timing:
        """Run once, in the environment of the module."""
        python = pythons[self.environment]
        numbers = json.dumps(dict(self.numbers))
        run_quietly([str(python), "-m", f"sides.{self.module}", self.work, str(folder), numbers])
        summary = json.loads((folder / "outputs.json").read_text())
        with np.load(folder / "outputs.npz", allow_pickle=False) as outputs:
            return Timing(outputs=dict(outputs), **summary)


@dataclass(frozen=True)
class Command:
    """A side that is a command of our environment; its whole life is timed."""

    label: str
    program: str
    arguments: tuple[str, ...]
    rounds: int
    environment: ClassVar[str] = OURS
    library: ClassVar[str] = OUR_LIBRARY

    def time(self, pythons: Mapping[str, Path], folder: Path) -> Timing:
        """Run once, start and end of the process included."""
        # No resolving of links: that would leave the environment for the Python it was made from.
        command = [str(pythons[OURS].parent / self.program), *self.arguments]
        start = time.perf_counter()
        run_quietly(command)
        return Timing(time.perf_counter() - start)


@dataclass(frozen=True)
class Case:
    """One benchmark: arrays, who works on them, what to reach, and how to check agreement.

    Parameters
    ----------
    name, title : str
        For ``--only`` and for the page.
    what : str
        What exactly is run; a format string over `size`.
    sides : sequence of Side
        In the order in which they alternate. The side that others are compared with is "dvl".
    targets : sequence of Target
        Ratios to reach.
    limits : sequence of MemoryLimit
        Memory to stay within.
    size, tiny : mapping
        Keyword arguments of `make`: for the measurement, and for warming up and tests.
    make : callable
        ``make(**size)`` returns the arrays that all sides get.
    check : callable
        ``check(arrays, outputs by label)`` returns, by label, how far a side's values are from
        those of `reference`.
    reference : str
        What the values are compared with, in words.
    tolerance : float or mapping
        The difference up to which a side agrees, for all or by label.
    remark : callable
        ``remark(outputs by label)`` returns sentences on what the sides say of themselves.
    """

    name: str
    title: str
    what: str
    sides: Sequence[Side]
    targets: Sequence[Target] = ()
    limits: Sequence[MemoryLimit] = ()
    size: Mapping[str, int] = field(default_factory=dict)
    tiny: Mapping[str, int] = field(default_factory=dict)
    make: Callable[..., Arrays] = dict
    check: Callable[[Arrays, Mapping[str, Arrays]], Mapping[str, float]] = lambda *_: {}
    reference: str = ""
    tolerance: float | Mapping[str, float] = 0.0
    remark: Callable[[Mapping[str, Arrays]], Sequence[str]] = lambda _: ()
    missing: ClassVar[None] = None

    @property
    def has_peers(self) -> bool:
        """Whether a side needs an environment of the peers."""
        return any(side.environment != OURS for side in self.sides)

    def tolerated(self, label: str) -> float:
        """Return the difference up to which a side agrees."""
        return self.tolerance[label] if isinstance(self.tolerance, Mapping) else self.tolerance

    def measure(
        self,
        pythons: Mapping[str, Path],
        folder: Path,
        tell: Callable[[str], None],
        rounds: int | None = None,
    ) -> Result:
        """Run all sides in turn.

        Parameters
        ----------
        pythons : mapping
            The Python of each environment; sides whose environment is not there are left out.
        folder : Path
            Where the arrays travel.
        tell : callable
            Gets a line after every timing.
        rounds : int, optional
            Rounds of every side, instead of its own number.

        Returns
        -------
        Result
            Seconds by round, targets of the sides that ran, agreements and versions.
        """
        arrays = self.make(**self.size)
        np.savez(folder / "inputs.npz", **arrays)
        np.savez(folder / "tiny.npz", **self.make(**self.tiny))
        sides = [side for side in self.sides if side.environment in pythons]
        counts = {side.label: rounds or side.rounds for side in sides}
        timings: dict[str, list[Timing]] = {side.label: [] for side in sides}
        for number in range(max(counts.values())):
            # To and fro, so that a machine that gets slower or faster favours no side.
            for side in sides if number % 2 == 0 else reversed(sides):
                if number >= counts[side.label]:
                    continue
                timing = side.time(pythons, folder)
                timings[side.label].append(timing)
                tell(f"{self.name}, round {number + 1}: {side.label} {timing.seconds:.4g} s")
        return self._result(arrays, sides, timings)

    def _result(
        self, arrays: Arrays, sides: Sequence[Side], timings: Mapping[str, Sequence[Timing]]
    ) -> Result:
        """Return what follows from the timings of some sides."""
        peers = {side.label for side in sides if side.environment != OURS}
        outputs = {label: runs[-1].outputs for label, runs in timings.items()}
        versions: dict[str, dict[str, str]] = {}
        for side in sides:
            versions.setdefault(side.library, {}).update(timings[side.label][-1].versions)
        memory = {}
        for label, runs in timings.items():
            held = [timing.memory for timing in runs if timing.memory is not None]
            if held:
                memory[label] = [float(most) for most in np.max(held, axis=0)]
        return Result(
            name=self.name,
            title=self.title,
            what=self.what.format(**self.size),
            seconds={label: [run.seconds for run in runs] for label, runs in timings.items()},
            targets=[t for t in self.targets if {t.numerator, t.denominator} <= timings.keys()],
            reference=self.reference,
            agreements=[
                Agreement(label, difference, self.tolerated(label), label in peers)
                for label, difference in self.check(arrays, outputs).items()
            ],
            memory=memory,
            limits=[limit for limit in self.limits if limit.side in memory],
            remarks=list(self.remark(outputs)),
            versions=versions,
        )


def run_quietly(command: Sequence[str]) -> None:
    """Run a command with one thread a process; raise with what it said if it fails."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("DVL_", "PYTHON"))}
    done = subprocess.run(
        command,
        cwd=HERE,
        env={**environment, **ONE_THREAD},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        tail = "\n".join(done.stderr.strip().splitlines()[-15:])
        raise RuntimeError(f"{' '.join(command)} failed:\n{tail}")
