"""Permutations in groups: each uniform, groups evenly spread, errors honest."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dvl_core import BanzhafSemivalue, BetaSemivalue, MaxEvaluations, ShapleySemivalue, engine
from dvl_core.errors import InvalidOptionError, UnsupportedSemivalueError
from dvl_core.games import FunctionGame, RandomGame, exact_values
from dvl_shapley import ComplementarySampler, PermutationSampler, QuasiPermutationSampler

KINDS = ["sobol", "orthogonal"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_permutation_of_a_group_is_uniform(kind: str) -> None:
    orders = QuasiPermutationSampler(kind).design(3, ShapleySemivalue()).draw
    drawn = orders(np.random.default_rng(0), 1_200, 3)
    for place in (0, 5):
        counts = [(drawn[place] == order).all(axis=1).sum() for order in permutations(range(3))]
        # 200 of each are expected, with a deviation of 13.
        assert np.abs(np.array(counts) - 200).max() < 4.5 * 13


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=10, deadline=None)
@given(n=st.integers(1, 40), half=st.integers(1, 4), seed=st.integers(0, 1000))
def test_groups_hold_permutations(kind: str, n: int, half: int, seed: int) -> None:
    size = 2**half if kind == "sobol" else 2 * half
    orders = QuasiPermutationSampler(kind, size).design(n, ShapleySemivalue()).draw
    drawn = orders(np.random.default_rng(seed), 3, n)
    assert drawn.shape == (size, 3, n)
    assert (np.sort(drawn, axis=2) == np.arange(n)).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("semivalue", [ShapleySemivalue(), BetaSemivalue(2, 1)])
def test_values_are_right_within_their_errors(kind: str, semivalue: object) -> None:
    game = RandomGame(7, 3)
    exact = exact_values(game, semivalue)
    design = QuasiPermutationSampler(kind).design(7, semivalue)
    runs = [engine.run(design, game, seed=s, stopping=MaxEvaluations(1_000)) for s in range(60)]
    z = np.array([(run.values - exact) / run.stderr for run in runs])
    assert abs(z.mean()) < 0.25
    # Student's t with 19 degrees of freedom has the mean square 1.12.
    assert 0.7 < np.square(z).mean() < 1.5


def test_sobol_points_spread_players_over_all_places() -> None:
    n = 30
    # A player adds what its place is worth: all that matters is how even places are.
    game = FunctionGame(n, lambda c: np.sqrt(c.sum(axis=1)))
    exact = np.sqrt(n) / n

    def error(sampler: object) -> float:
        design = sampler.design(n, ShapleySemivalue())
        runs = [engine.run(design, game, seed=s, stopping=MaxEvaluations(1_000)) for s in range(5)]
        return float(np.mean([np.square(run.values - exact).sum() for run in runs]))

    assert 2 * error(QuasiPermutationSampler(n_permutations=16)) < error(PermutationSampler())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "halton"}, "kind must be 'sobol' or 'orthogonal', got 'halton'"),
        ({"n_permutations": 3}, "n_permutations must be even and at least 2, got 3"),
        ({"n_permutations": 6}, "must be a power of 2 for kind='sobol', got 6"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict, message: str) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        QuasiPermutationSampler(**options)


def test_more_players_than_sobol_has_dimensions_are_refused() -> None:
    with pytest.raises(InvalidOptionError, match=r"up to 21,201 players.*use kind='orthogonal'"):
        QuasiPermutationSampler().design(21_202, ShapleySemivalue())


def test_complementary_contributions_are_for_shapley_only() -> None:
    with pytest.raises(UnsupportedSemivalueError, match="does not cover semivalue banzhaf"):
        ComplementarySampler().design(5, BanzhafSemivalue())
