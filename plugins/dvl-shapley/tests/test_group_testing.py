"""Group testing: its law, and that it is honest about its noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dvl_core import BanzhafSemivalue, FunctionGame, MaxEvaluations, ShapleySemivalue
from dvl_core.errors import UnsupportedSemivalueError
from dvl_core.games import RandomGame, exact_values
from dvl_shapley import DataShapleyValuation, GroupTestingSampler, GroupTestingShapleyValuation


def test_sizes_follow_the_published_law() -> None:
    # N = 4 players, one of them null: 4/11, 3/11, 4/11.
    design = GroupTestingSampler().design(3, ShapleySemivalue())
    np.testing.assert_allclose(design._size_probabilities(), [4 / 11, 3 / 11, 4 / 11])


@settings(max_examples=15, deadline=None)
@given(n=st.integers(2, 6), seed=st.integers(0, 1000))
def test_values_are_right_within_their_errors(n: int, seed: int) -> None:
    game = RandomGame(n, seed)
    run = GroupTestingShapleyValuation(game, stopping=MaxEvaluations(20_000), seed=seed).fit()
    error = np.abs(run.result.values - exact_values(game, ShapleySemivalue()))
    assert (error <= 5.5 * run.result.stderr).all()


def test_it_says_that_it_is_much_noisier_than_permutations() -> None:
    game = FunctionGame(20, lambda c: np.sqrt(c.sum(axis=1)), fingerprint="sqrt")
    budget = MaxEvaluations(5_000)
    noisy = GroupTestingShapleyValuation(game, stopping=budget, seed=0).fit().result
    plain = DataShapleyValuation(game, stopping=budget, seed=0).fit().result
    assert noisy.stderr.mean() > 3 * plain.stderr.mean()


def test_a_constant_game_has_no_noise() -> None:
    game = FunctionGame(6, lambda c: np.full(len(c), 5.0), fingerprint="five")
    result = GroupTestingShapleyValuation(game, stopping=MaxEvaluations(500), seed=0).fit().result
    np.testing.assert_allclose(result.values, 0.0, atol=1e-12)


def test_only_shapley_is_covered() -> None:
    with pytest.raises(UnsupportedSemivalueError, match="does not cover semivalue banzhaf"):
        GroupTestingSampler().design(5, BanzhafSemivalue())
