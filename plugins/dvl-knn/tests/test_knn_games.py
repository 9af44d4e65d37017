"""Every game of neighbours, for every kind of semivalue, against enumeration."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from dvl_core import (
    BanzhafSemivalue,
    BetaSemivalue,
    Dataset,
    LOOSemivalue,
    ShapleySemivalue,
    SizeLawSemivalue,
)
from dvl_core.errors import DataError, InvalidOptionError
from dvl_core.games import FunctionGame, exact_values
from dvl_core.protocols import Semivalue
from dvl_knn import KNNShapleyValuation

LAWS = ["shapley", "banzhaf", "weighted banzhaf", "beta", "loo", "random"]
Worth = Callable[[np.ndarray, np.ndarray, object], float]
sizes = given(
    n=st.integers(1, 7),
    k=st.integers(1, 9),
    seed=st.integers(0, 10**6),
    ties=st.booleans(),
    law=st.sampled_from(LAWS),
)


def semivalue(law: str, n: int, seed: int) -> Semivalue:
    rng = np.random.default_rng(seed)
    random = rng.dirichlet(np.full(n, 0.5))
    return {
        "shapley": ShapleySemivalue(),
        "banzhaf": BanzhafSemivalue(),
        "weighted banzhaf": BanzhafSemivalue(rng.uniform(0.05, 0.95)),
        "beta": BetaSemivalue(*rng.uniform(0.3, 16, 2)),
        "loo": LOOSemivalue(),
        "random": SizeLawSemivalue(tuple(random / random.sum()), "random"),
    }[law]


def random_data(n: int, seed: int, ties: bool, n_classes: int = 3) -> tuple[Dataset, Dataset]:
    rng = np.random.default_rng(seed)
    draw = rng.integers(0, 3, (n + 3, 2)).astype(float) if ties else rng.normal(size=(n + 3, 2))
    labels = np.array(["a", "b", "c"])[rng.integers(0, n_classes, n + 3)]
    return Dataset(draw[:n], labels[:n]), Dataset(draw[n:], labels[n:])


def enumerated(train: Dataset, test: Dataset, worth: Worth) -> FunctionGame:
    """Mean over the test of ``worth(targets, distances, wanted)`` of S's points, near to far."""

    def utility(coalitions: np.ndarray) -> np.ndarray:
        values = np.zeros(len(coalitions))
        for x, wanted in zip(*test, strict=True):
            distance = np.sqrt(np.square(train.x - x).sum(axis=1))
            order = np.lexsort([np.arange(train.n_rows), distance])
            for i, coalition in enumerate(coalitions):
                rows = set(train.rows(coalition).tolist())
                near = np.array([row for row in order if row in rows], dtype=int)
                values[i] += worth(train.y[near], distance[near], wanted)
        return values / len(test)

    return FunctionGame(len(train), utility)


def agrees(
    train: Dataset, test: Dataset, worth: Worth, model: object, law: Semivalue, **options: object
) -> None:
    result = KNNShapleyValuation(model, test, semivalue=law, **options).fit(train).result
    expected = exact_values(enumerated(train, test, worth), law)
    np.testing.assert_allclose(result.values, expected, atol=1e-10)


def share(y: np.ndarray, _: np.ndarray, wanted: object, k: int, guess: float) -> float:
    return float(np.mean(y[:k] == wanted)) if len(y) else guess


@settings(max_examples=120, deadline=None)
@sizes
def test_soft_label(n: int, k: int, seed: int, ties: bool, law: str) -> None:
    train, test = random_data(n, seed, ties)
    worth = partial(share, k=k, guess=1 / len(np.unique(train.y)))
    agrees(train, test, worth, k, semivalue(law, n, seed), game="soft-label")


@settings(max_examples=120, deadline=None)
@sizes
def test_threshold(n: int, k: int, seed: int, ties: bool, law: str) -> None:
    train, test = random_data(n, seed, ties)
    # With ties, distances are roots of whole numbers: no rounding decides who is on the radius.
    radius = k % 4 + 0.5 if ties else k / 4
    guess = 1 / len(np.unique(train.y))

    def worth(y: np.ndarray, distance: np.ndarray, wanted: object) -> float:
        return share(y[distance <= radius], distance, wanted, n, guess)

    agrees(train, test, worth, 3, semivalue(law, n, seed), game="threshold", radius=radius)


def weights_of_few(distances: np.ndarray) -> np.ndarray:
    """Weights with many zeros and equal ones; depends on the distance alone."""
    return np.round(3 * np.cos(4 * distances)).clip(0)


@settings(max_examples=120, deadline=None)
@sizes
def test_weighted(n: int, k: int, seed: int, ties: bool, law: str) -> None:
    train, test = random_data(n, seed, ties, n_classes=2 + seed % 2)
    rng = np.random.default_rng(seed)
    weights = rng.choice(["uniform", "distance", weights_of_few])
    bits = int(rng.integers(1, 5))

    def weigh(distances: np.ndarray) -> np.ndarray:
        if weights == "uniform":
            return np.ones_like(distances)
        if weights == "distance":
            with np.errstate(divide="ignore", invalid="ignore"):
                return np.where(np.any(distances == 0), distances == 0, 1 / distances)
        return weights_of_few(distances)

    values = np.zeros(n)
    for x, wanted in zip(*test, strict=True):
        everybody = weigh(np.sqrt(np.square(train.x - x).sum(axis=1)))
        scale = (2**bits - 1) / (everybody.max() or 1.0)
        # Halfway between two whole weights the last bit of a distance decides.
        assume((np.abs(everybody * scale % 1 - 0.5) > 1e-9).all())
        votes = np.rint(everybody * scale) * np.where(train.y == wanted, 1, -1)

        def worth(chosen: np.ndarray, distance: np.ndarray, _: object) -> float:
            return float(chosen[:k].sum() >= 0)

        game = enumerated(Dataset(train.x, votes), Dataset([x], [0]), worth)
        values += exact_values(game, semivalue(law, n, seed)) / len(test)
    model = KNeighborsClassifier(k, weights=weights)
    options = {"game": "weighted", "weight_bits": bits, "semivalue": semivalue(law, n, seed)}
    result = KNNShapleyValuation(model, test, **options).fit(train).result
    np.testing.assert_allclose(result.values, values, atol=1e-10)


@settings(max_examples=120, deadline=None)
@sizes
def test_regression(n: int, k: int, seed: int, ties: bool, law: str) -> None:
    train, test = random_data(n, seed, ties)
    rng = np.random.default_rng(seed)
    train = Dataset(train.x, rng.normal(3, 2, n))
    test = Dataset(test.x, rng.normal(3, 2, 3))
    fill = [0.0, 1.5, "mean"][seed % 3]
    lacking = np.mean(train.y) if fill == "mean" else fill

    def worth(y: np.ndarray, _: np.ndarray, wanted: float) -> float:
        missing = max(k - len(y), 0)
        return -((wanted - (y[:k].sum() + missing * lacking) / k) ** 2)

    agrees(train, test, worth, KNeighborsRegressor(k), semivalue(law, n, seed), fill_value=fill)


@settings(max_examples=120, deadline=None)
@given(
    n=st.integers(1, 14),
    n_groups=st.integers(1, 6),
    k=st.integers(1, 6),
    seed=st.integers(0, 10**6),
    ties=st.booleans(),
    law=st.sampled_from(LAWS),
)
def test_groups(n: int, n_groups: int, k: int, seed: int, ties: bool, law: str) -> None:
    rows, test = random_data(n, seed, ties)
    groups = np.random.default_rng(seed + 1).integers(0, n_groups, n)
    train = Dataset(rows.x, rows.y, groups=groups)

    def worth(y: np.ndarray, _: np.ndarray, wanted: object) -> float:
        return float(np.sum(y[:k] == wanted)) / k

    agrees(train, test, worth, k, semivalue(law, len(train), seed))


def test_groups_of_one_point_each_are_points() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(150, 3)), rng.integers(0, 3, 150)
    test = Dataset(rng.normal(size=(20, 3)), rng.integers(0, 3, 20))
    for law in (ShapleySemivalue(), BanzhafSemivalue(), BetaSemivalue(16, 1)):
        one, other = (
            KNNShapleyValuation(7, test, semivalue=law).fit(train).result
            for train in (Dataset(x, y), Dataset(x, y, groups=np.arange(150)))
        )
        np.testing.assert_allclose(one.values, other.values, rtol=0, atol=1e-12)


def test_many_points_in_a_group_are_worth_what_they_add() -> None:
    rng = np.random.default_rng(1)
    n, k = 600, 8
    x, y = rng.normal(size=(n, 2)), rng.integers(0, 2, n)
    test = Dataset(rng.normal(size=(5, 2)), rng.integers(0, 2, 5))
    train = Dataset(x, y, groups=rng.integers(0, 60, n))
    values = KNNShapleyValuation(k, test).fit(train).result.values
    total = 0.0
    for point, label in zip(*test, strict=True):
        nearest = np.argsort(np.square(x - point).sum(axis=1))[:k]
        total += np.mean(y[nearest] == label)
    assert values.sum() == pytest.approx(total / 5, abs=1e-9)


def test_more_coalitions_than_can_be_counted_are_refused() -> None:
    n = 2_000
    train = Dataset(np.zeros((n, 1)), np.ones(n, dtype=int), groups=np.arange(n))
    with pytest.raises(DataError, match="more coalitions than can be counted for K = 400"):
        KNNShapleyValuation(400, Dataset([[0.0]], [1])).fit(train)


def test_large_weighted_games_are_stable() -> None:
    rng = np.random.default_rng(0)
    n = 3_000
    train = Dataset(rng.normal(size=(n, 2)), rng.integers(0, 2, n))
    test = Dataset(rng.normal(size=(2, 2)), [0, 1])
    model = KNeighborsClassifier(9, weights="distance")
    for law in (ShapleySemivalue(), BanzhafSemivalue(), BetaSemivalue(16, 1)):
        result = KNNShapleyValuation(model, test, semivalue=law).fit(train).result
        assert np.isfinite(result.values).all()
        assert result.algorithm.startswith("weighted-knn-")
        if law == ShapleySemivalue():
            # The worth of all, minus that of nobody, which is 1.
            distance = np.sqrt(np.square(train.x - test.x[:, None]).sum(axis=2))
            total = 0.0
            for row, label in zip(distance, test.y, strict=True):
                near = np.argsort(row)[:9]
                votes = np.rint(7 * row.min() / row[near]) * np.where(train.y[near] == label, 1, -1)
                total += float(votes.sum() >= 0) - 1
            assert result.values.sum() == pytest.approx(total / 2, abs=1e-9)


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
    """Thousands of points within the radius, too, where a peer's binomials overflow."""
    rng = np.random.default_rng(0)
    train = Dataset(rng.normal(size=(2_000, 3)), rng.integers(0, 4, 2_000))
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
    ("model", "options", "message"),
    [
        (3, {"game": "soft"}, "game must be one of fixed, soft-label"),
        (3, {"game": "threshold"}, "needs a radius of at least 0, got None"),
        (3, {"game": "threshold", "radius": -1.0}, "got -1.0"),
        (3, {"radius": 1.0}, "radius is for the threshold game, the game is 'fixed'"),
        (3, {"game": "soft-label", "tolerance": 0.1}, "tolerance is for the fixed game"),
        (3, {"tolerance": -1.0}, "tolerance must not be negative"),
        (3, {"fill_value": "mean"}, "fill_value is for the regression game"),
        (3, {"weight_bits": 0}, "weight_bits must lie between 1 and 8, got 0"),
        (KNeighborsRegressor(), {"fill_value": "median"}, "finite number or 'mean', got 'median'"),
        (KNeighborsRegressor(), {"game": "fixed"}, "game is for classifiers"),
        (KNeighborsClassifier(weights="distance"), {"game": "fixed"}, "the fixed game needs"),
    ],
)
def test_options_that_make_no_sense_are_refused(model: object, options: dict, message: str) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        KNNShapleyValuation(model, Dataset([[0.0]], ["a"]), **options)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (lambda d: d - 5.0, "finite and not negative"),
        (lambda d: np.full_like(d, np.nan), "finite and not negative"),
        (lambda d: d[:, 0], "must have that shape"),
    ],
)
def test_weights_that_are_none_are_refused(weights: Callable, message: str) -> None:
    valuation = KNNShapleyValuation(
        KNeighborsClassifier(1, weights=weights), Dataset([[0.0]], ["a"])
    )
    with pytest.raises(DataError, match=message):
        valuation.fit(Dataset([[0.0], [1.0]], ["a", "b"]))
