"""The soft-label and the threshold game against enumeration."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier

from dvl_core import BanzhafSemivalue, BetaSemivalue, Dataset, ShapleySemivalue
from dvl_core.errors import InvalidOptionError, UnsupportedSemivalueError
from dvl_core.games import FunctionGame, exact_values
from dvl_knn import KNNShapleyValuation


def random_data(n: int, seed: int, ties: bool) -> tuple[Dataset, Dataset]:
    rng = np.random.default_rng(seed)
    draw = rng.integers(0, 3, (n + 3, 2)).astype(float) if ties else rng.normal(size=(n + 3, 2))
    labels = np.array(["a", "b", "c"])[rng.integers(0, 3, n + 3)]
    return Dataset(draw[:n], labels[:n]), Dataset(draw[n:], labels[n:])


def game(train: Dataset, test: Dataset, k: int | None, radius: float | None) -> FunctionGame:
    """Share of matches among the K nearest, or all within the radius; a guess if there are none."""
    guess = 1 / len(np.unique(train.y))

    def utility(coalitions: np.ndarray) -> np.ndarray:
        values = np.zeros(len(coalitions))
        for x, label in zip(*test, strict=True):
            distance = np.sqrt(np.square(train.x - x).sum(axis=1))
            order = np.lexsort([np.arange(len(train)), distance])
            for row, coalition in enumerate(coalitions):
                near = [i for i in order if coalition[i]]
                if radius is not None:
                    near = [i for i in near if distance[i] <= radius]
                near = near[:k]
                values[row] += np.mean(train.y[near] == label) if near else guess
        return values / len(test)

    return FunctionGame(len(train), utility)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 7), k=st.integers(1, 9), seed=st.integers(0, 10**6), ties=st.booleans())
def test_soft_label_shapley_equals_enumeration(n: int, k: int, seed: int, ties: bool) -> None:
    train, test = random_data(n, seed, ties)
    result = KNNShapleyValuation(k, test, game="soft-label").fit(train).result
    expected = exact_values(game(train, test, k, None), ShapleySemivalue())
    np.testing.assert_allclose(result.values, expected, atol=1e-12)
    assert result.algorithm == "soft-label-knn-shapley"


@pytest.mark.parametrize("semivalue", [ShapleySemivalue(), BanzhafSemivalue()], ids=repr)
@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 7), radius=st.floats(0, 3), seed=st.integers(0, 10**6), ties=st.booleans())
def test_threshold_values_equal_enumeration(
    semivalue: object, n: int, radius: float, seed: int, ties: bool
) -> None:
    train, test = random_data(n, seed, ties)
    if ties:
        # Distances are roots of whole numbers: no rounding decides who is on the radius.
        radius = float(np.floor(radius)) + 0.5
    options = {"game": "threshold", "radius": radius, "semivalue": semivalue}
    result = KNNShapleyValuation(3, test, **options).fit(train).result
    expected = exact_values(game(train, test, None, radius), semivalue)
    np.testing.assert_allclose(result.values, expected, atol=1e-12)


def test_the_radius_is_in_the_unit_of_the_metric() -> None:
    train = Dataset([[0.0, 0.0], [3.0, 4.0]], ["a", "b"])
    test = Dataset([[0.0, 0.0]], ["a"])

    def worth(metric: str, radius: float) -> np.ndarray:
        model = KNeighborsClassifier(1, metric=metric)
        return (
            KNNShapleyValuation(model, test, game="threshold", radius=radius)
            .fit(train)
            .result.values
        )

    assert worth("euclidean", 4.9)[1] == 0
    assert worth("euclidean", 5.1)[1] < 0
    assert worth("manhattan", 6.9)[1] == 0
    assert worth("manhattan", 7.1)[1] < 0
    assert worth("chebyshev", 4.1)[1] < 0


def test_values_add_up_to_the_worth_of_all_above_a_guess() -> None:
    rng = np.random.default_rng(0)
    train = Dataset(rng.normal(size=(200, 3)), rng.integers(0, 4, 200))
    test = Dataset(rng.normal(size=(30, 3)), rng.integers(0, 4, 30))
    for options in ({"game": "soft-label"}, {"game": "threshold", "radius": 1.5}):
        values = KNNShapleyValuation(7, test, **options).fit(train).result.values
        distance = np.sqrt(np.square(test.x[:, None] - train.x).sum(axis=2))
        total = 0.0
        for row, label in zip(distance, test.y, strict=True):
            near = np.argsort(row)[:7] if "radius" not in options else np.flatnonzero(row <= 1.5)
            total += np.mean(train.y[near] == label) if len(near) else 0.25
        assert values.sum() == pytest.approx(total / 30 - 0.25)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"game": "soft"}, InvalidOptionError, "game must be one of fixed, soft-label"),
        ({"game": "threshold"}, InvalidOptionError, "needs a radius of at least 0, got None"),
        ({"game": "threshold", "radius": -1.0}, InvalidOptionError, "got -1.0"),
        ({"radius": 1.0}, InvalidOptionError, "radius is for the threshold game"),
        (
            {"game": "soft-label", "semivalue": "banzhaf"},
            UnsupportedSemivalueError,
            "solved for shapley, not for banzhaf",
        ),
        (
            {"game": "threshold", "radius": 1.0, "semivalue": BetaSemivalue(4, 1)},
            UnsupportedSemivalueError,
            r"solved for shapley and banzhaf, not for beta\(4,1\)",
        ),
    ],
)
def test_what_is_not_solved_is_refused(options: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        KNNShapleyValuation(3, Dataset([[0.0]], ["a"]), **options)
