"""Maximum sample reuse with a fitted game subtracted."""

from __future__ import annotations

import numpy as np
import pytest

from dvl_banzhaf import MSRSampler
from dvl_core import BanzhafSemivalue, MaxEvaluations, engine
from dvl_core.errors import InvalidOptionError
from dvl_core.games import FunctionGame, RandomGame, exact_values

SUBTRACTED = ["size", "linear"]


@pytest.mark.parametrize("subtract", SUBTRACTED)
@pytest.mark.parametrize("p", [0.5, 0.2])
def test_values_are_right_within_their_errors(subtract: str, p: float) -> None:
    semivalue, game = BanzhafSemivalue(p), RandomGame(12, 2)
    exact = exact_values(game, semivalue)
    design = MSRSampler(subtract=subtract).design(12, semivalue)
    runs = [engine.run(design, game, seed=s, stopping=MaxEvaluations(640)) for s in range(60)]
    z = np.array([(run.values - exact) / run.stderr for run in runs])
    assert abs(z.mean()) < 0.25
    assert 0.7 < np.square(z).mean() < 1.6


def test_an_additive_game_is_found_at_once() -> None:
    weights = np.linspace(-1, 1, 30)
    game = FunctionGame(30, lambda c: c @ weights)

    def error(sampler: MSRSampler) -> float:
        design = sampler.design(30, BanzhafSemivalue())
        run = engine.run(design, game, seed=0, stopping=MaxEvaluations(1_500))
        return float(np.square(run.values - weights).sum())

    assert 20 * error(MSRSampler(subtract="linear")) < error(MSRSampler())


def test_unknown_games_are_refused() -> None:
    with pytest.raises(InvalidOptionError, match="subtract must be 'nothing', 'size' or 'linear'"):
        MSRSampler(subtract="trees")
