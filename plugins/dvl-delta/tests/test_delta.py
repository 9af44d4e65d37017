"""delta-Shapley against closed forms and enumeration."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dvl_core import (
    DeterministicUniformSampler,
    FunctionGame,
    MatchedSampler,
    MaxEvaluations,
    ShapleySemivalue,
    UniformSampler,
)
from dvl_core.errors import InvalidOptionError, UnsupportedSemivalueError
from dvl_core.games import RandomGame, SizeGame, exact_values
from dvl_delta import DeltaShapleySemivalue, DeltaShapleyValuation
from dvl_shapley import StratifiedSampler


@given(n=st.integers(2, 8), data=st.data())
def test_the_size_game_has_the_closed_form(n: int, data: st.DataObject) -> None:
    lower = data.draw(st.integers(0, n - 1))
    upper = data.draw(st.integers(lower, n - 1))
    valuation = DeltaShapleyValuation(
        SizeGame(n), DeterministicUniformSampler(), lower=lower, upper=upper
    )
    expected = (upper**2 - lower**2 + upper + lower) / (upper - lower + 1)
    np.testing.assert_allclose(valuation.fit().result.values, expected, atol=1e-10)


@given(n=st.integers(1, 6), seed=st.integers(0, 1000))
def test_all_layers_are_shapley(n: int, seed: int) -> None:
    game = RandomGame(n, seed)
    layers = DeltaShapleySemivalue(0, n - 1)
    expected = exact_values(game, ShapleySemivalue())
    np.testing.assert_allclose(exact_values(game, layers), expected, atol=1e-12)


def test_the_offset_from_shapley_is_what_the_docs_say() -> None:
    n, lower, upper = 6, 1, 3
    game = RandomGame(n, 4)
    kept = exact_values(game, DeltaShapleySemivalue(lower, upper))
    shapley = exact_values(game, ShapleySemivalue())
    others = [k for k in range(n) if not lower <= k <= upper]
    rest = sum(exact_values(game, DeltaShapleySemivalue(k, k)) for k in others)
    np.testing.assert_allclose(shapley, (kept * (upper - lower + 1) + rest) / n, atol=1e-12)


def test_a_sampler_with_other_layers_is_refused_with_those_that_would_do() -> None:
    sampler = StratifiedSampler(lower=2)
    with pytest.raises(UnsupportedSemivalueError, match=r"size 0, 1.*these would do: .*matched"):
        DeltaShapleyValuation(RandomGame(8, 0), sampler, lower=0, upper=3).fit()
    assert UniformSampler().design(4, DeltaShapleySemivalue(1, 2)).guarantee == "unbiased"


@pytest.mark.parametrize(("lower", "upper"), [(-1, None), (3, 2)])
def test_layers_that_cannot_be_are_refused(lower: int, upper: int | None) -> None:
    with pytest.raises(InvalidOptionError, match="0 <= lower <= upper"):
        DeltaShapleyValuation(SizeGame(5), lower=lower, upper=upper)


def test_more_layers_than_players_are_refused_before_anything_is_trained() -> None:
    with pytest.raises(InvalidOptionError, match="at least 8 players, the game has 5"):
        DeltaShapleyValuation(SizeGame(5), lower=0, upper=7).fit()


def test_the_default_sampler_has_a_fraction_of_the_error_of_marginals() -> None:
    n = 30
    weights = np.linspace(-0.02, 0.02, n)
    game = FunctionGame(n, lambda c: np.sqrt(c.mean(axis=1)) + c @ weights)
    marginals = np.diff(np.sqrt(np.arange(n + 1) / n))
    exact = weights + marginals[: (n - 1) // 2 + 1].mean()

    def error(sampler: object) -> float:
        made = [
            DeltaShapleyValuation(game, sampler, MaxEvaluations(1_200), seed=seed)
            for seed in range(3)
        ]
        return float(np.mean([np.square(one.fit().result.values - exact).sum() for one in made]))

    assert 3 * error(None) < error(MatchedSampler())
