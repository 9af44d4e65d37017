"""Shared by the sides that compare estimators: play a game within a budget, note the error.

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

from sides.common import Arrays, versions_of
from sides.games import GAMES, Game

Estimate = Callable[["Counted", int, int, int], NDArray[Any]]
"""``estimate(game, n, budget, seed)`` returns the values of the `n` players."""


class Counted:
    """A game that counts what it is asked; `seconds` are those spent in it.

    Estimators that do not play the game, but train models on its `arrays`, count themselves.
    """

    def __init__(self, game: Game, arrays: Arrays) -> None:
        self.game = game
        self.arrays = arrays
        self.evaluations = 0
        self.seconds = 0.0

    def __call__(self, coalitions: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Evaluate coalitions [b, n]."""
        start = time.perf_counter()
        values = self.game(coalitions)
        self.seconds += time.perf_counter() - start
        self.evaluations += len(coalitions)
        return values


def compare(estimators: Mapping[str, Estimate], packages: list[str]) -> None:
    """Serve ``FOLDER``: run the job that lies there with the estimators of this side.

    The job names the game, the budgets, the seeds and the estimators; what comes out is, for each
    estimator and budget, a record a seed: relative squared error, evaluations used, seconds in
    all and seconds in the game.
    """
    folder = Path(sys.argv[1])
    job = json.loads((folder / "job.json").read_text())
    with np.load(folder / "inputs.npz", allow_pickle=False) as inputs:
        arrays = dict(inputs)
    truth = arrays["truth"]
    warnings.simplefilter("ignore")
    runs: dict[str, dict[str, list[dict[str, float]]]] = {}
    for name in job["estimators"]:
        for budget in job["budgets"]:
            records = runs.setdefault(name, {}).setdefault(str(budget), [])
            for seed in range(job["seeds"]):
                played = {**arrays, "noise_seed": np.array(seed)}
                game = Counted(GAMES[job["game"]](played), played)
                start = time.perf_counter()
                values = np.asarray(estimators[name](game, len(truth), budget, seed), dtype=float)
                records.append(
                    {
                        "error": float(np.square(values - truth).sum() / np.square(truth).sum()),
                        "evaluations": game.evaluations,
                        "seconds": time.perf_counter() - start,
                        "in_game": game.seconds,
                    }
                )
    outputs = {"runs": runs, "versions": versions_of(packages)}
    (folder / "outputs.json").write_text(json.dumps(outputs))
