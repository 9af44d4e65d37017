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
from results import Agreement, Result, Target

HERE = Path(__file__).parent
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Timing:
    """What one process took, what it computed, and with which versions."""

    seconds: float
    outputs: Arrays = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


class Side(Protocol):
    """One of those that do the same work; `peer` says that it needs the peer's environment."""

    @property
    def label(self) -> str: ...
    @property
    def rounds(self) -> int: ...
    @property
    def peer(self) -> bool: ...
    def time(self, pythons: Mapping[str, Path], folder: Path) -> Timing: ...


@dataclass(frozen=True)
class Script:
    """A side that does ``work`` of a module in `sides`, on arrays; only the work is timed."""

    label: str
    module: str
    work: str
    rounds: int

    @property
    def peer(self) -> bool:
        """Whether the module runs in the peer's environment."""
        return self.module == "peer"

    def time(self, pythons: Mapping[str, Path], folder: Path) -> Timing:
        """Run once, in the environment of the module."""
        python = pythons["peer" if self.peer else "ours"]
        run_quietly([str(python), "-m", f"sides.{self.module}", self.work, str(folder)])
        summary = json.loads((folder / "outputs.json").read_text())
        with np.load(folder / "outputs.npz", allow_pickle=False) as outputs:
            return Timing(summary["seconds"], dict(outputs), summary["versions"])


@dataclass(frozen=True)
class Command:
    """A side that is a command of our environment; its whole life is timed."""

    label: str
    program: str
    arguments: tuple[str, ...]
    rounds: int
    peer: ClassVar[bool] = False

    def time(self, pythons: Mapping[str, Path], folder: Path) -> Timing:
        """Run once, start and end of the process included."""
        # No resolving of links: that would leave the environment for the Python it was made from.
        command = [str(pythons["ours"].parent / self.program), *self.arguments]
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
    size, tiny : mapping
        Keyword arguments of `make`: for the measurement, and for warming up and tests.
    make : callable
        ``make(**size)`` returns the arrays that all sides get.
    check : callable
        ``check(arrays, outputs by label)`` returns, by label, how far a side's values are from
        those of `reference`.
    reference : str
        What the values are compared with, in words.
    tolerance : float
        The difference up to which a side agrees.
    """

    name: str
    title: str
    what: str
    sides: Sequence[Side]
    targets: Sequence[Target] = ()
    size: Mapping[str, int] = field(default_factory=dict)
    tiny: Mapping[str, int] = field(default_factory=dict)
    make: Callable[..., Arrays] = dict
    check: Callable[[Arrays, Mapping[str, Arrays]], Mapping[str, float]] = lambda *_: {}
    reference: str = ""
    tolerance: float = 0.0


def measure(
    case: Case,
    pythons: Mapping[str, Path],
    folder: Path,
    tell: Callable[[str], None],
    rounds: int | None = None,
) -> Result:
    """Run a case.

    Parameters
    ----------
    case : Case
        What to run.
    pythons : mapping
        The Python of "ours", and of "peer"; without the latter, peers are left out.
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
    arrays = case.make(**case.size)
    np.savez(folder / "inputs.npz", **arrays)
    np.savez(folder / "tiny.npz", **case.make(**case.tiny))
    sides = [side for side in case.sides if "peer" in pythons or not side.peer]
    counts = {side.label: rounds or side.rounds for side in sides}
    seconds: dict[str, list[float]] = {side.label: [] for side in sides}
    outputs: dict[str, Arrays] = {}
    versions: dict[str, dict[str, str]] = {}
    for number in range(max(counts.values())):
        # To and fro, so that a machine that gets slower or faster favours no side.
        for side in sides if number % 2 == 0 else reversed(sides):
            if number >= counts[side.label]:
                continue
            timing = side.time(pythons, folder)
            seconds[side.label].append(timing.seconds)
            outputs[side.label] = timing.outputs
            versions.setdefault("pyDVL" if side.peer else "dvl and floor", {}).update(
                timing.versions
            )
            tell(f"{case.name}, round {number + 1}: {side.label} {timing.seconds:.4g} s")
    peers = {side.label for side in sides if side.peer}
    differences = case.check(arrays, outputs)
    return Result(
        name=case.name,
        title=case.title,
        what=case.what.format(**case.size),
        seconds=seconds,
        targets=[t for t in case.targets if {t.numerator, t.denominator} <= seconds.keys()],
        reference=case.reference,
        agreements=[
            Agreement(label, difference, case.tolerance, label in peers)
            for label, difference in differences.items()
        ],
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
