"""Reference games against enumeration and against known tables."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dvl_core.errors import DataError, InvalidOptionError, UtilityError
from dvl_core.games import (
    AdditiveGame,
    AirportGame,
    AsymmetricVotingGame,
    FunctionGame,
    MinerGame,
    MinimumSpanningTreeGame,
    RandomGame,
    ReferenceGame,
    ShoesGame,
    SizeGame,
    SumOfUnanimityGames,
    SymmetricVotingGame,
    UnanimityGame,
    exact_values,
)
from dvl_core.protocols import Fingerprinted, Utility
from dvl_core.semivalues import (
    BanzhafSemivalue,
    BetaSemivalue,
    LOOSemivalue,
    ShapleySemivalue,
    SizeLawSemivalue,
)

SHAPLEY, BANZHAF = ShapleySemivalue(), BanzhafSemivalue()

sizes = st.integers(1, 9)
seeds = st.integers(0, 2**63)
numbers = st.floats(-1e3, 1e3)


@st.composite
def airports(draw):
    costs = sorted(draw(st.lists(st.floats(0, 100), min_size=1, max_size=4)))
    classes = st.lists(st.integers(1, 2), min_size=len(costs), max_size=len(costs))
    return AirportGame(draw(classes), costs)


@st.composite
def unanimity_sums(draw):
    n = draw(sizes)
    carrier = st.lists(st.booleans(), min_size=n, max_size=n).filter(any)
    carriers = draw(st.lists(carrier, min_size=1, max_size=6))
    weights = st.lists(numbers, min_size=len(carriers), max_size=len(carriers))
    return SumOfUnanimityGames(carriers, draw(weights))


@st.composite
def weighted_votes(draw):
    weights = draw(st.lists(st.integers(1, 20), min_size=1, max_size=9))
    quota = draw(st.one_of(st.none(), st.integers(0, sum(weights) + 2)))
    return AsymmetricVotingGame(weights, quota=quota)


any_game = st.one_of(
    sizes.map(SymmetricVotingGame),
    weighted_votes(),
    st.builds(ShoesGame, st.integers(1, 5), st.integers(0, 5)),
    airports(),
    sizes.map(MinimumSpanningTreeGame),
    sizes.map(MinerGame),
    st.lists(numbers, min_size=1, max_size=9).map(AdditiveGame),
    unanimity_sums(),
    st.builds(SumOfUnanimityGames.random, sizes, st.integers(1, 8), seeds),
    st.lists(st.booleans(), min_size=1, max_size=9).filter(any).map(UnanimityGame),
    sizes.map(SizeGame),
    st.builds(RandomGame, sizes, seeds),
)

EXAMPLES = [
    SymmetricVotingGame(4),
    SymmetricVotingGame(5),
    AsymmetricVotingGame(),
    AsymmetricVotingGame([3, 2, 1]),
    AsymmetricVotingGame([3, 2, 1], quota=4),
    ShoesGame(2, 3),
    ShoesGame(3, 2),
    AirportGame(),
    AirportGame((1, 2), (1.0, 2.0)),
    MinimumSpanningTreeGame(4),
    MinimumSpanningTreeGame(5),
    MinerGame(4),
    AdditiveGame([1.0, 2.0]),
    AdditiveGame([1.0, 2.5]),
    SumOfUnanimityGames([[True, False]], [2.0]),
    SumOfUnanimityGames([[True, False]], [3.0]),
    SumOfUnanimityGames([[False, True]], [2.0]),
    UnanimityGame([True, False]),
    SizeGame(4),
    RandomGame(4, 1),
    RandomGame(4, 2),
]


def every_coalition(n):
    return ((np.arange(2**n)[:, None] >> np.arange(n)) & 1).astype(bool)


def by_definition(game, law):
    """The definition, one marginal at a time; shares no code with the package."""
    n = game.n_players
    worth = {
        tuple(row): value
        for row, value in zip(every_coalition(n), game(every_coalition(n)), strict=True)
    }
    values = np.zeros(n)
    for player in range(n):
        marginals = [[] for _ in range(n)]
        for row, value in worth.items():
            if not row[player]:
                joined = (*row[:player], np.True_, *row[player + 1 :])
                marginals[sum(row)].append(worth[joined] - value)
        values[player] = sum(p * np.mean(m) for p, m in zip(law, marginals, strict=True))
    return values


@given(any_game)
@settings(max_examples=300, deadline=None)
def test_closed_forms_agree_with_enumeration(game):
    scale = max(1.0, np.abs(game(every_coalition(game.n_players))).max())
    np.testing.assert_allclose(
        game.shapley_values(), exact_values(game, SHAPLEY), rtol=0, atol=1e-11 * scale
    )
    np.testing.assert_allclose(
        game.banzhaf_values(), exact_values(game, BANZHAF), rtol=0, atol=1e-11 * scale
    )


@given(st.integers(1, 6), seeds, st.data())
@settings(max_examples=60, deadline=None)
def test_enumeration_agrees_with_the_definition(n, seed, data):
    law = np.array(data.draw(st.lists(st.integers(0, 9), min_size=n, max_size=n).filter(any)))
    law = law / law.sum()
    game = RandomGame(n, seed)
    expected = by_definition(game, law)
    np.testing.assert_allclose(
        exact_values(game, SizeLawSemivalue(tuple(law))), expected, rtol=0, atol=1e-13
    )


@given(any_game, st.data())
@settings(max_examples=150, deadline=None)
def test_a_coalition_is_worth_the_same_in_every_batch(game, data):
    everything = every_coalition(game.n_players)
    values = game(everything)
    rows = np.array(data.draw(st.lists(st.integers(0, len(everything) - 1), max_size=7)), dtype=int)
    assert game(everything[rows]).tobytes() == values[rows].tobytes()
    assert game(np.asfortranarray(everything)).tobytes() == values.tobytes()


@pytest.mark.parametrize("game", EXAMPLES, ids=repr)
def test_games_are_utilities(game):
    assert isinstance(game, Utility)
    assert isinstance(game, Fingerprinted)
    assert game.batch_invariant
    assert game.with_data(range(game.n_players)) is game
    coalitions = np.random.default_rng(1).random((5, game.n_players)) < 0.5
    before = coalitions.copy()
    values = game(coalitions)
    assert values.dtype == np.float64
    assert values.shape == (5,)
    assert np.array_equal(coalitions, before)
    assert game(coalitions[:0]).shape == (0,)
    copy = pickle.loads(pickle.dumps(game))  # noqa: S301
    assert copy.fingerprint == game.fingerprint
    assert np.array_equal(copy(coalitions), values)
    assert type(game).__name__ in repr(game)
    with pytest.raises(DataError, match="players"):
        game.with_data(range(game.n_players + 1))
    with pytest.raises(UtilityError, match="boolean"):
        game(coalitions.astype(int))
    with pytest.raises(UtilityError, match="shape"):
        game(coalitions[:, :-1])
    with pytest.raises(UtilityError, match="shape"):
        game(coalitions[0])


def test_fingerprints_differ_for_different_games():
    fingerprints = [game.fingerprint for game in EXAMPLES]
    assert len(set(fingerprints)) == len(EXAMPLES)
    assert RandomGame(4, 1).fingerprint == RandomGame(4, 1).fingerprint


def test_a_random_game_does_not_carry_its_table():
    assert len(pickle.dumps(RandomGame(16, 3))) < 1_000


@pytest.mark.parametrize(("n", "banzhaf"), [(4, 0.375), (6, 0.3125), (8, 0.2734375)])
def test_symmetric_voting_table(n, banzhaf):
    game = SymmetricVotingGame(n)
    assert game.shapley_values() == pytest.approx(1 / n, abs=1e-15)
    assert game.banzhaf_values() == pytest.approx(banzhaf, abs=1e-15)


ASYMMETRIC = {
    45: (0.088309395, 0.379365564),
    41: (0.079727355, 0.339628944),
    27: (0.050963123, 0.215521914),
    26: (0.048976822, 0.207159047),
    25: (0.046998933, 0.198844133),
    21: (0.039169260, 0.166007240),
    17: (0.031465634, 0.133729915),
    14: (0.025766946, 0.109808474),
    13: (0.023881964, 0.101879312),
    12: (0.022004132, 0.093969598),
    11: (0.020133369, 0.086077678),
    10: (0.018269595, 0.078201935),
    9: (0.016412733, 0.070340792),
    8: (0.014562707, 0.062492701),
    7: (0.012719443, 0.054656145),
    6: (0.010882867, 0.046829629),
    5: (0.009052910, 0.039011682),
    4: (0.007229501, 0.031200847),
    3: (0.005412571, 0.023395686),
}


def test_asymmetric_voting_table():
    game = AsymmetricVotingGame()
    assert (game.n_players, sum(game.weights), game.quota) == (51, 538, 269)
    expected = np.array([ASYMMETRIC[weight] for weight in game.weights])
    np.testing.assert_allclose(game.shapley_values(), expected[:, 0], rtol=0, atol=6e-10)
    np.testing.assert_allclose(game.banzhaf_values(), expected[:, 1], rtol=0, atol=6e-10)
    assert game.shapley_values().sum() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(
    ("left", "right", "shapley", "banzhaf"),
    [
        (1, 1, (1 / 2, 1 / 2), (1 / 2, 1 / 2)),
        (1, 2, (2 / 3, 1 / 6), (3 / 4, 1 / 4)),
        (1, 3, (3 / 4, 1 / 12), (7 / 8, 1 / 8)),
        (2, 2, (1 / 2, 1 / 2), (1 / 2, 1 / 2)),
        (3, 2, (7 / 30, 13 / 20), (5 / 16, 11 / 16)),
        (1, 40, (40 / 41, 1 / (40 * 41)), (1 - 2.0**-40, 2.0**-40)),
    ],
)
def test_shoes_table(left, right, shapley, banzhaf):
    game = ShoesGame(left, right)
    sides = [left, right]
    np.testing.assert_allclose(game.shapley_values(), np.repeat(shapley, sides), rtol=1e-13)
    np.testing.assert_allclose(game.banzhaf_values(), np.repeat(banzhaf, sides), rtol=1e-13)


def test_airport_table():
    game = AirportGame()
    classes = np.repeat(np.arange(10), [8, 12, 6, 14, 8, 9, 13, 10, 10, 10])
    table = np.array(
        [
            *(0.01, 0.020869565, 0.033369565, 0.046883079, 0.063549745),
            *(0.082780515, 0.106036329, 0.139369662, 0.189369662, 0.289369662),
        ]
    )
    assert game.n_players == 100
    np.testing.assert_allclose(game.shapley_values(), table[classes], rtol=0, atol=6e-10)
    assert game.shapley_values().sum() == pytest.approx(10.0, abs=1e-12)
    largest = sum(2.0 ** -(m - 1) for m in (10, 20, 30, 43, 52, 60, 74, 80, 92, 100))
    assert game.banzhaf_values()[-1] == pytest.approx(largest, rel=1e-13)


def test_minimum_spanning_tree_of_a_hundred():
    game = MinimumSpanningTreeGame(100)
    assert game(np.ones((1, 100), dtype=bool)).tolist() == [200.0]
    assert game(np.eye(100, dtype=bool)).tolist() == [101.0] * 100
    assert game.shapley_values().tolist() == [2.0] * 100
    two_arcs = np.zeros((1, 100), dtype=bool)
    two_arcs[0, [99, 0, 1, 50]] = True
    assert game(two_arcs).tolist() == [204.0]


@pytest.mark.parametrize("n", [3, 4, 7, 10])
def test_miner_table(n):
    np.testing.assert_allclose(MinerGame(n).shapley_values(), (n // 2) / n, rtol=1e-15)
    np.testing.assert_allclose(MinerGame(n).banzhaf_values(), 0.5, rtol=1e-15)


@pytest.mark.parametrize(
    "semivalue",
    [SHAPLEY, BANZHAF, BanzhafSemivalue(0.9), BetaSemivalue(1, 16), LOOSemivalue()],
    ids=lambda semivalue: semivalue.name,
)
def test_every_semivalue_of_an_additive_game_is_its_weights(semivalue):
    weights = np.arange(10) / 9
    values = exact_values(AdditiveGame(weights), semivalue)
    np.testing.assert_allclose(values, weights, rtol=0, atol=1e-12)


def test_size_game_by_delta_layers():
    n, low, high = 9, 2, 5
    law = np.zeros(n)
    law[low : high + 1] = 1 / (high - low + 1)
    expected = (high**2 - low**2 + high + low) / (high - low + 1)
    values = exact_values(SizeGame(n), SizeLawSemivalue(tuple(law)))
    np.testing.assert_allclose(values, expected, rtol=1e-13)


def test_enumeration_reaches_twenty_players_and_no_further():
    np.testing.assert_allclose(exact_values(SizeGame(20), SHAPLEY), 19.0, rtol=1e-12)
    with pytest.raises(InvalidOptionError, match="at most 20 players"):
        exact_values(SizeGame(21), SHAPLEY)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SymmetricVotingGame(0), "n must be an integer of at least 1, got 0"),
        (lambda: SizeGame(2.0), "n must be an integer"),
        (lambda: MinerGame(True), "n must be an integer"),
        (lambda: AsymmetricVotingGame([]), "weights must not be empty"),
        (lambda: AsymmetricVotingGame([1, 0]), "a weight must be"),
        (lambda: ShoesGame(0, 0), "left"),
        (lambda: AirportGame((1, 2), (1.0,)), "same length"),
        (lambda: AirportGame((1, 2), (2.0, 1.0)), "not falling"),
        (lambda: AirportGame((1,), (np.nan,)), "finite"),
        (lambda: AdditiveGame([]), "at least one"),
        (lambda: AdditiveGame([1.0, np.nan]), "finite"),
        (lambda: UnanimityGame([False, False]), "carrier 0 has no member"),
        (lambda: SumOfUnanimityGames([[True]], [1.0, 2.0]), "1 carriers came with 2 weights"),
        (lambda: SumOfUnanimityGames([[0, 1]], [1.0]), "boolean"),
        (lambda: RandomGame(17, 0), "at most 16"),
        (lambda: RandomGame(3, -1), "seed must be"),
        (lambda: FunctionGame(3, "no function"), "must be callable"),
        (lambda: FunctionGame(0, len), "n must be an integer"),
    ],
)
def test_refused_parameters(make, message):
    with pytest.raises(InvalidOptionError, match=message):
        make()


def squared_sizes(coalitions):
    return coalitions.sum(axis=1) ** 2


def test_function_game_is_a_utility():
    game = FunctionGame(4, squared_sizes)
    assert isinstance(game, Utility)
    assert isinstance(game, Fingerprinted)
    assert not game.batch_invariant
    assert game.n_players == 4
    values = game(np.eye(4, dtype=bool))
    assert values.dtype == np.float64
    assert values.tolist() == [1.0] * 4
    assert game.with_data(range(4)) is game
    copy = pickle.loads(pickle.dumps(game))  # noqa: S301
    assert copy(np.ones((1, 4), dtype=bool)).tolist() == [16.0]
    np.testing.assert_allclose(exact_values(game, SHAPLEY), 4.0)
    with pytest.raises(DataError, match="has 4 players, the data has 5"):
        game.with_data(range(5))


def test_function_game_fingerprint():
    assert FunctionGame(4, squared_sizes, fingerprint="mine").fingerprint == "mine"
    computed = FunctionGame(4, squared_sizes).fingerprint
    assert computed is not None
    assert computed == FunctionGame(4, squared_sizes).fingerprint
    assert computed != FunctionGame(4, lambda coalitions: coalitions.sum(axis=1)).fingerprint


def test_function_game_does_not_ask_the_function_about_nothing():
    game = FunctionGame(3, lambda coalitions: 1 / 0)
    assert game(np.empty((0, 3), dtype=bool)).shape == (0,)


def test_function_game_copies_what_the_function_returns():
    buffer = np.zeros(2)
    game = FunctionGame(3, lambda coalitions: buffer)
    values = game(np.zeros((2, 3), dtype=bool))
    buffer[:] = 7.0
    assert values.tolist() == [0.0, 0.0]


def change_the_coalitions(coalitions):
    coalitions[:] = True
    return coalitions.sum(axis=1)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda c: np.where(c.all(axis=1), np.nan, 0.0), r"returned nan for .* \{0, 1, 2\}"),
        (lambda c: np.where(c.any(axis=1), -np.inf, 0.0), r"returned -inf for .* \{0\}"),
        (lambda c: c.sum(), "must return a number for each of 4 coalitions"),
        (lambda c: c.sum(axis=1)[:, None], r"shape \(4, 1\)"),
        (lambda c: c.sum(axis=1) * 1j, "complex"),
        (lambda c: None, "object"),
        (lambda c: [1, 2], r"shape \(2,\)"),
        (lambda c: 1 / 0, "ZeroDivisionError: division by zero"),
        (change_the_coalitions, "read-only"),
    ],
)
def test_function_game_refuses_what_is_no_utility(function, message):
    coalitions = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]], dtype=bool)
    before = coalitions.copy()
    with pytest.raises(UtilityError, match=message):
        FunctionGame(3, function)(coalitions)
    assert np.array_equal(coalitions, before)
    assert coalitions.flags.writeable


def test_long_coalitions_are_named_in_short():
    game = FunctionGame(1_000, lambda c: np.full(len(c), np.nan))
    with pytest.raises(UtilityError) as caught:
        game(np.ones((1, 1_000), dtype=bool))
    assert len(str(caught.value)) < 200
    assert "(1000 of 1000 players)" in str(caught.value)


def test_a_game_of_ones_own():
    class Constant(ReferenceGame):
        def __init__(self, n):
            super().__init__(n, {"n": n})

        def _evaluate(self, coalitions):
            return np.ones(len(coalitions))

        def shapley_values(self):
            return np.zeros(self.n_players)

        def banzhaf_values(self):
            return np.zeros(self.n_players)

    game = Constant(3)
    assert exact_values(game, SHAPLEY).tolist() == [0.0] * 3
    assert game.fingerprint != Constant(4).fingerprint
