"""Shared by the sides: read arrays, warm up, measure nothing but the work, write what came out.

Runs in the environment of each side, so it needs numpy alone.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import json
import platform
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]

STATUS = Path("/proc/self/status")
SHORT_WORK_SECONDS = 0.5
MOST_REPEATS = 15


class Prepared(NamedTuple):
    """Work that is ready to start, and how to read what it returned."""

    work: Callable[[], Any]
    outputs: Callable[[Any], dict[str, NDArray[Any]]]


def values_only(result: Any) -> dict[str, NDArray[Any]]:
    """Return the values of a result of either library, in the order of the players."""
    return {"values": np.asarray(result.values, dtype=float)}


def measured(prepared: Prepared) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return time and memory of the work, and its outputs.

    The time is the median in seconds: work of milliseconds is repeated within the process, or the
    clock and the first touch of memory would decide. The memory is the most MiB that the process
    held during the work, and how much more that is than it held before; None where the system
    does not tell.
    """
    before = _start_of_memory()
    times: list[float] = []
    while not times or (sum(times) < SHORT_WORK_SECONDS and len(times) < MOST_REPEATS):
        start = time.perf_counter()
        result = prepared.work()
        times.append(time.perf_counter() - start)
    memory = None if before is None else (_held("VmHWM"), _held("VmHWM") - before)
    return {"seconds": float(np.median(times)), "memory": memory}, prepared.outputs(result)


def _start_of_memory() -> float | None:
    """Return the MiB held now, and make the system forget the most that was held so far."""
    if not STATUS.exists():
        return None
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)  # what was freed must not hide what is taken
    STATUS.with_name("clear_refs").write_text("5")
    return _held("VmRSS")


def _held(entry: str) -> float:
    """Return an entry of the status of this process, in MiB."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(entry))
    return int(line.split()[1]) / 1024


def run_side(prepare: Mapping[str, Callable[[Arrays], Prepared]], packages: list[str]) -> None:
    """Serve ``NAME FOLDER NUMBERS``: warm up on tiny arrays, do the work, leave files in FOLDER."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    numbers = {key: np.array(number) for key, number in json.loads(sys.argv[3]).items()}
    with np.load(folder / "tiny.npz", allow_pickle=False) as tiny:
        prepare[name]({**tiny, **numbers}).work()
    with np.load(folder / "inputs.npz", allow_pickle=False) as inputs:
        prepared = prepare[name]({**inputs, **numbers})
    summary, outputs = measured(prepared)
    np.savez(folder / "outputs.npz", **outputs)
    summary["versions"] = versions_of(packages)
    (folder / "outputs.json").write_text(json.dumps(summary))


def versions_of(packages: list[str]) -> dict[str, str]:
    """Return the versions of Python and of some packages."""
    versions = {package: importlib.metadata.version(package) for package in packages}
    return {"python": platform.python_version(), **versions}
