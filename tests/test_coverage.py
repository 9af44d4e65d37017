"""95 % intervals cover the exact value in about 95 % of the runs."""

from __future__ import annotations

import numpy as np
import pytest

from dvl_banzhaf import KernelBanzhafSampler, MSRSampler
from dvl_core import BanzhafSemivalue, BetaSemivalue, MaxEvaluations, ShapleySemivalue, engine
from dvl_core.games import RandomGame, exact_values
from dvl_core.samplers import (
    AdjustedSampler,
    AntitheticSampler,
    MatchedSampler,
    OneSampleFitsAllSampler,
    UniformSampler,
)
from dvl_shapley import (
    AntitheticOwenSampler,
    AntitheticPermutationSampler,
    ComplementarySampler,
    LeastSquaresSampler,
    OwenSampler,
    PermutationSampler,
    QuasiPermutationSampler,
    StratifiedSampler,
    VRDSSampler,
)

REPETITIONS = 500
KEEP_SAMPLES = (
    AdjustedSampler,
    ComplementarySampler,
    KernelBanzhafSampler,
    LeastSquaresSampler,
    OneSampleFitsAllSampler,
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sampler", "semivalue"),
    [
        (PermutationSampler(), ShapleySemivalue()),
        (AntitheticPermutationSampler(), ShapleySemivalue()),
        (StratifiedSampler(), ShapleySemivalue()),
        (StratifiedSampler("constant"), ShapleySemivalue()),
        (StratifiedSampler("neyman"), ShapleySemivalue()),
        (LeastSquaresSampler(), ShapleySemivalue()),
        (KernelBanzhafSampler(), BanzhafSemivalue()),
        (AdjustedSampler("linear"), BetaSemivalue(4, 1)),
        (AdjustedSampler("size"), ShapleySemivalue()),
        (OneSampleFitsAllSampler(), ShapleySemivalue()),
        (OneSampleFitsAllSampler(paired=True), ShapleySemivalue()),
        (OneSampleFitsAllSampler(sizes="all"), BetaSemivalue(4, 1)),
        (ComplementarySampler(), ShapleySemivalue()),
        (QuasiPermutationSampler(), ShapleySemivalue()),
        (QuasiPermutationSampler("orthogonal"), ShapleySemivalue()),
        (MSRSampler(subtract="size"), BanzhafSemivalue()),
        (MSRSampler(subtract="linear"), BanzhafSemivalue(0.3)),
        (VRDSSampler(), ShapleySemivalue()),
        (MatchedSampler(), ShapleySemivalue()),
        (OwenSampler(), ShapleySemivalue()),
        (AntitheticOwenSampler(), ShapleySemivalue()),
        (MSRSampler(), BanzhafSemivalue()),
        (UniformSampler(), BanzhafSemivalue()),
        (AntitheticSampler(), BanzhafSemivalue()),
    ],
    ids=lambda x: type(x).__name__,
)
def test_intervals_cover(sampler: object, semivalue: object) -> None:
    # Samplers that keep what they saw know a game of 8 players after 1,600 evaluations.
    keeps = isinstance(sampler, KEEP_SAMPLES) or getattr(sampler, "subtract", "") == "linear"
    game = RandomGame(12 if keeps else 8, 17)
    exact = exact_values(game, semivalue)
    design = sampler.design(game.n_players, semivalue)
    covered = np.zeros(game.n_players)
    for seed in range(REPETITIONS):
        run = engine.run(design, game, seed=seed, stopping=MaxEvaluations(1600))
        low, high = run.confidence_interval(0.95).T
        covered += (low <= exact) & (exact <= high)
    # Of 500 repetitions a share has a standard error of 0.01; the mean over players less.
    assert 0.92 <= (covered / REPETITIONS).mean() <= 0.975
    assert (covered / REPETITIONS).min() > 0.90
