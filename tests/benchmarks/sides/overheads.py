"""Shared by the sides that time drawing and folding: run the jobs, round by round.

Runs in the environment of each side, so it needs numpy alone.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sides.common import versions_of

Run = Callable[[NDArray[Any], int], tuple[NDArray[Any], int]]
"""``run(weights, n_evaluations)`` returns the values of an additive game, and evaluations made."""

WARM_UP = 16, 100


def weights_of(n: int) -> NDArray[np.float64]:
    """Return what each player brings."""
    return np.random.default_rng(n).uniform(0.5, 1.5, n)


def serve(runs: Mapping[str, Run], packages: list[str]) -> None:
    """Serve ``FOLDER``: time the jobs that lie there."""
    folder = Path(sys.argv[1])
    jobs = json.loads((folder / "jobs.json").read_text())
    warnings.simplefilter("ignore")
    outputs = {"runs": timed(runs, jobs), "versions": versions_of(packages)}
    (folder / "outputs.json").write_text(json.dumps(outputs))


def timed(runs: Mapping[str, Run], jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return seconds by round and the evaluations of each job; jobs take turns, to and fro."""
    for sampler in {job["sampler"] for job in jobs}:
        runs[sampler](weights_of(WARM_UP[0]), WARM_UP[1])
    found: list[dict[str, Any]] = [{"seconds": [], "evaluations": 0} for _ in jobs]
    for number in range(max(job["rounds"] for job in jobs)):
        turns = list(zip(jobs, found, strict=True))
        for job, record in turns if number % 2 == 0 else reversed(turns):
            if number >= job["rounds"]:
                continue
            weights = weights_of(job["n"])
            start = time.perf_counter()
            _, record["evaluations"] = runs[job["sampler"]](weights, job["n_evaluations"])
            record["seconds"].append(time.perf_counter() - start)
    return found
