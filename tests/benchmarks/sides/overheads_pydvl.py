"""Samplers of pyDVL 0.10 on an additive game, run in an environment of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydvl.utils.status import Status
from pydvl.valuation import (
    Dataset,
    MSRBanzhafValuation,
    PermutationSampler,
    ShapleyValuation,
)
from pydvl.valuation.stopping import StoppingCriterion
from pydvl.valuation.types import Sample
from pydvl.valuation.utility.base import UtilityBase

from sides.overheads import Run, serve


class Sum(UtilityBase):
    """The sum of the members' weights; counts what it was asked, copies of it included."""

    def __init__(self, weights: NDArray[Any]) -> None:
        self.weights = weights
        self.asked = [0]

    def __call__(self, sample: Sample | None) -> float:
        self.asked[0] += 1
        return 0.0 if sample is None else float(self.weights[sample.subset].sum())


class Spent(StoppingCriterion):
    """Stop when the game was asked often enough."""

    def __init__(self, game: Sum, n_evaluations: int) -> None:
        super().__init__()
        self.game = game
        self.n_evaluations = n_evaluations

    def _check(self, result: Any) -> Status:
        over = self.game.asked[0] >= self.n_evaluations
        return Status.Converged if over else Status.Pending


def _run(valuation: Callable[[Sum, Spent], Any]) -> Run:
    def run(weights: NDArray[Any], n_evaluations: int) -> tuple[NDArray[Any], int]:
        game = Sum(weights)
        method = valuation(game, Spent(game, n_evaluations))
        players = Dataset(np.arange(len(weights))[:, None], np.zeros(len(weights)))
        values = method.fit(players).result.values
        return np.asarray(values), game.asked[0]

    return run


RUNS = {
    "MSR": _run(
        lambda game, stop: MSRBanzhafValuation(game, stop, seed=0, show_warnings=False),
    ),
    "permutation": _run(
        lambda game, stop: ShapleyValuation(
            game, PermutationSampler(seed=0), stop, show_warnings=False
        ),
    ),
}

if __name__ == "__main__":
    serve(RUNS, ["pydvl", "numpy", "scipy"])
