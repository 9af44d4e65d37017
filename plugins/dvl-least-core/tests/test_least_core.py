"""The least core against closed forms, and against programmes written independently here."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import LinearConstraint, linprog, minimize

from dvl_banzhaf import MSRSampler
from dvl_core import DeterministicUniformSampler, FunctionGame, MaxEvaluations, ValuationResult
from dvl_core.errors import DvlWarning
from dvl_core.games import (
    AdditiveGame,
    MinerGame,
    RandomGame,
    ReferenceGame,
    ShoesGame,
    SymmetricVotingGame,
)
from dvl_least_core import LeastCoreValuation
from dvl_shapley import PermutationSampler


def exact(game: object, **options: object) -> ValuationResult:
    return LeastCoreValuation(game, DeterministicUniformSampler(), **options).fit().result


@pytest.mark.parametrize(
    ("game", "values", "subsidy"),
    [
        (SymmetricVotingGame(2), [0.5] * 2, -0.5),
        (SymmetricVotingGame(6), [1 / 6] * 6, 1 / 2 - 1 / 6),
        (ShoesGame(1, 1), [0.5, 0.5], -0.5),
        (ShoesGame(2, 2), [0.5] * 4, 0.0),
        (ShoesGame(3, 3), [0.5] * 6, 0.0),
        (ShoesGame(2, 4), [1, 1, 0, 0, 0, 0], 0.0),
        (ShoesGame(3, 1), [0, 0, 0, 1], 0.0),
        (MinerGame(4), [0.5] * 4, 0.0),
        (MinerGame(5), [0.4] * 5, 0.4),
        (AdditiveGame([1.0, -2.0, 0.5, 0.0]), [1.0, -2.0, 0.5, 0.0], 0.0),
    ],
    ids=repr,
)
def test_reference_games(game: ReferenceGame, values: list[float], subsidy: float) -> None:
    # ShoesGame: pyDVL's B19 has a subsidy of -1/2 for all left == right.
    result = exact(game)
    np.testing.assert_allclose(result.values, values, atol=1e-5)
    assert result.extras["subsidy"] == pytest.approx(subsidy, abs=1e-6)
    assert result.extras["solver_status"] == "optimal"
    assert not result.stderr.any()
    assert result.converged.all()


def independent(game: ReferenceGame, n: int, floor: float | None) -> tuple[float, np.ndarray]:
    """Solve both problems again: subset by subset, and by a general-purpose solver."""
    rows, worth = [], []
    empty, full = game(np.array([[False] * n, [True] * n]))
    for size in range(1, n):
        for members in itertools.combinations(range(n), size):
            row = np.zeros(n, dtype=bool)
            row[list(members)] = True
            rows.append(row.astype(float))
            worth.append(game(row[None])[0] - empty)
    a, v = np.array(rows), np.array(worth)
    lp = linprog(
        [*np.zeros(n), 1],
        A_ub=np.c_[-a, -np.ones(len(a))],
        b_ub=-v,
        A_eq=[[*np.ones(n), 0]],
        b_eq=[full - empty],
        bounds=[(None, None)] * n + [(floor, None)],
    )
    qp = minimize(
        lambda x: x @ x,
        lp.x[:n],
        jac=lambda x: 2 * x,
        constraints=[
            LinearConstraint(a, v - lp.x[n] - 1e-9, np.inf),
            LinearConstraint(np.ones((1, n)), full - empty, full - empty),
        ],
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    return lp.x[n], qp.x


@settings(max_examples=25, deadline=None)
@given(n=st.integers(2, 5), seed=st.integers(0, 10_000), non_negative=st.booleans())
def test_random_games_agree_with_independent_solvers(n: int, seed: int, non_negative: bool) -> None:
    game = RandomGame(n, seed)
    result = exact(game, non_negative_subsidy=non_negative)
    subsidy, values = independent(game, n, 0.0 if non_negative else None)
    assert result.extras["subsidy"] == pytest.approx(subsidy, abs=1e-6)
    assert result.values.sum() == pytest.approx(values.sum(), abs=1e-9)
    # Least norm: no solution of the other solver is shorter, and the two agree.
    assert np.linalg.norm(result.values) <= np.linalg.norm(values) + 1e-5
    np.testing.assert_allclose(result.values, values, atol=2e-3)


@given(n=st.integers(2, 6), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_no_coalition_is_paid_less_than_its_worth_minus_the_subsidy(n: int, seed: int) -> None:
    game = RandomGame(n, seed)
    result = exact(game)
    coalitions = (np.arange(1, 2**n - 1)[:, None] >> np.arange(n)) & 1 == 1
    worth = game(coalitions) - game(np.zeros((1, n), dtype=bool))
    paid = coalitions @ result.values + result.extras["subsidy"]
    assert (paid >= worth - 1e-5).all()
    assert (paid - worth).min() == pytest.approx(0.0, abs=1e-5)


def test_the_worth_of_nothing_does_not_matter() -> None:
    def shifted(by: float) -> FunctionGame:
        return FunctionGame(3, lambda c: np.sqrt(c.sum(axis=1)) + by, fingerprint=f"{by}")

    np.testing.assert_allclose(exact(shifted(0.0)).values, exact(shifted(7.0)).values, atol=1e-6)


def test_drawn_coalitions_come_close_to_all_of_them() -> None:
    game = RandomGame(7, 3)
    drawn = LeastCoreValuation(game, None, MaxEvaluations(3000), seed=0).fit().result
    np.testing.assert_allclose(drawn.values, exact(game).values, atol=1e-6)
    few = LeastCoreValuation(game, None, MaxEvaluations(200), seed=0).fit().result
    # Fewer constraints ask for less.
    assert few.extras["subsidy"] <= drawn.extras["subsidy"] + 1e-9
    assert few.extras["n_constraints"] < drawn.extras["n_constraints"]
    assert np.isinf(few.stderr).all()


@pytest.mark.parametrize("sampler", [MSRSampler(), PermutationSampler()], ids=repr)
def test_other_samplers_provide_coalitions(sampler: object) -> None:
    game = RandomGame(5, 1)
    result = LeastCoreValuation(game, sampler, MaxEvaluations(4000), seed=2).fit().result
    np.testing.assert_allclose(result.values, exact(game).values, atol=1e-6)


def test_too_few_constraints_have_no_solution_and_say_so() -> None:
    from dvl_core import LOOSampler

    game = FunctionGame(4, lambda c: c[:, 0] * 1.0, fingerprint="first")
    lacking_one = LeastCoreValuation(game, LOOSampler(), seed=0)
    # The coalitions of all but one bound the subsidy: together they hold everybody n - 1 times.
    assert np.isfinite(lacking_one.fit().result.values).all()
    from dvl_least_core.programme import solve_least_core

    unbounded = solve_least_core(np.array([[True, False, False]]), np.array([1.0]), 1.0)
    assert np.isnan(unbounded.values).all()
    assert "unbounded" in unbounded.status.lower() or "infeasible" in unbounded.status.lower()


def test_a_run_without_a_solution_warns_and_gives_no_values() -> None:
    class OneSided:
        def design(self, n_players: int, semivalue: object) -> object:
            from dvl_core.designs import BernoulliDesign
            from dvl_core.semivalues import BanzhafSemivalue

            return BernoulliDesign(BanzhafSemivalue(0.02).size_law(n_players), 0.02, "rare", "b")

    game = AdditiveGame(np.ones(30))
    with pytest.warns(DvlWarning, match="has no solution"):
        result = LeastCoreValuation(game, OneSided(), MaxEvaluations(70), seed=0).fit().result
    assert np.isnan(result.values).all()
    assert not result.counts.any()


def test_one_player_gets_all() -> None:
    assert exact(AdditiveGame([3.0])).values == pytest.approx([3.0])


def test_a_hundred_players_are_solved() -> None:
    weights = np.random.default_rng(0).normal(size=100)
    game = AdditiveGame(weights)
    result = LeastCoreValuation(game, None, MaxEvaluations(3000), seed=0).fit().result
    np.testing.assert_allclose(result.values, weights, atol=1e-4)
