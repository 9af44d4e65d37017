"""Samplers of dvl on an additive game."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvl_banzhaf import MSRSampler
from dvl_core import (
    BanzhafSemivalue,
    MaxEvaluations,
    SerialBackend,
    ShapleySemivalue,
    UniformSampler,
    engine,
)
from dvl_core.games import FunctionGame
from dvl_core.protocols import Sampler, Semivalue
from dvl_core.result import ValuationResult
from dvl_core.samplers import AdjustedSampler, MatchedSampler, OneSampleFitsAllSampler
from dvl_shapley import AntitheticPermutationSampler, LeastSquaresSampler, PermutationSampler
from sides.overheads import Run, serve

SHAPLEY, BANZHAF = ShapleySemivalue(), BanzhafSemivalue()

SAMPLERS: dict[str, tuple[Sampler, Semivalue]] = {
    "MSR": (MSRSampler(), BANZHAF),
    "permutation": (PermutationSampler(), SHAPLEY),
    "antithetic permutation": (AntitheticPermutationSampler(), SHAPLEY),
    "uniform marginals": (UniformSampler(), BANZHAF),
    "matched marginals": (MatchedSampler(), SHAPLEY),
    "adjusted, size": (AdjustedSampler("size"), SHAPLEY),
    "one sample fits all": (OneSampleFitsAllSampler(), SHAPLEY),
    "adjusted, linear": (AdjustedSampler("linear"), SHAPLEY),
    "least squares": (LeastSquaresSampler(), SHAPLEY),
}


def result_of(sampler: str, weights: NDArray[Any], n_evaluations: int) -> ValuationResult:
    """Return the result of a sampler on the game that adds up weights."""
    drawn, semivalue = SAMPLERS[sampler]
    game = FunctionGame(len(weights), lambda coalitions: coalitions @ weights, fingerprint="sum")
    return engine.run(
        drawn.design(len(weights), semivalue),
        game,
        seed=0,
        stopping=MaxEvaluations(n_evaluations),
        backend=SerialBackend(),
    )


def _run(sampler: str) -> Run:
    def run(weights: NDArray[Any], n_evaluations: int) -> tuple[NDArray[Any], int]:
        result = result_of(sampler, weights, n_evaluations)
        return np.asarray(result.values), result.n_evaluations

    return run


RUNS = {sampler: _run(sampler) for sampler in SAMPLERS}

if __name__ == "__main__":
    serve(RUNS, ["dvl-core", "numpy", "scipy"])
