"""Shared by the sides: read arrays, warm up, time nothing but the work, write what came out.

Runs in the environment of each side, so it needs numpy alone.
"""

from __future__ import annotations

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

SHORT_WORK_SECONDS = 0.5
MOST_REPEATS = 15


class Prepared(NamedTuple):
    """Work that is ready to start, and how to read what it returned."""

    work: Callable[[], Any]
    outputs: Callable[[Any], dict[str, NDArray[Any]]]


def values_only(result: Any) -> dict[str, NDArray[Any]]:
    """Return the values of a result of either library, in the order of the players."""
    return {"values": np.asarray(result.values, dtype=float)}


def timed(prepared: Prepared) -> tuple[float, dict[str, NDArray[Any]]]:
    """Return the median time of the work, in seconds, and its outputs.

    Work of milliseconds is repeated within the process, or the clock and the first touch of
    memory would decide.
    """
    times: list[float] = []
    while not times or (sum(times) < SHORT_WORK_SECONDS and len(times) < MOST_REPEATS):
        start = time.perf_counter()
        result = prepared.work()
        times.append(time.perf_counter() - start)
    return float(np.median(times)), prepared.outputs(result)


def run_side(prepare: Mapping[str, Callable[[Arrays], Prepared]], packages: list[str]) -> None:
    """Serve ``NAME FOLDER``: warm up on tiny arrays, time the work, leave files in FOLDER."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    with np.load(folder / "tiny.npz", allow_pickle=False) as tiny:
        prepare[name](dict(tiny)).work()
    with np.load(folder / "inputs.npz", allow_pickle=False) as inputs:
        prepared = prepare[name](dict(inputs))
    seconds, outputs = timed(prepared)
    np.savez(folder / "outputs.npz", **outputs)
    versions = {package: importlib.metadata.version(package) for package in packages}
    versions = {"python": platform.python_version(), **versions}
    summary = {"seconds": seconds, "versions": versions}
    (folder / "outputs.json").write_text(json.dumps(summary))
