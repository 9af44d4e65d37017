"""Class-wise Shapley against the closed form, and against enumeration written independently."""

from __future__ import annotations

import dataclasses
import itertools
import math
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dvl_classwise import ClasswiseShapleyValuation
from dvl_core import (
    Dataset,
    DeterministicPermutationSampler,
    DeterministicUniformSampler,
    MaxEvaluations,
    MemoryStore,
    ModelUtility,
    SerialBackend,
    SupervisedScorer,
    ValuationResult,
)
from dvl_core.errors import DvlWarning
from dvl_core.ledger import values_through_store
from dvl_core.samplers import MatchedSampler
from dvl_shapley import LeastSquaresSampler, PermutationSampler, TruncatedPermutationSampler


class Slope:
    """A line through the origin, rounded to the classes 0 and 1."""

    def fit(self, x: np.ndarray, y: np.ndarray) -> Slope:
        self.slope = float(x[:, 0] @ y) / float(x[:, 0] @ x[:, 0])
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.clip(np.round(self.slope * x[:, 0]), 0, 1)


class Nearest:
    """The class of the nearest centroid; works on one class too."""

    def fit(self, x: np.ndarray, y: np.ndarray) -> Nearest:
        self.classes = np.unique(y)
        self.means = np.array([x[y == c].mean(axis=0) for c in self.classes])
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        distances = np.square(x[:, None] - self.means).sum(axis=2)
        return self.classes[distances.argmin(axis=1)]


def utility_of(test: Dataset, model: object | None = None) -> ModelUtility:
    return ModelUtility(model or Nearest(), SupervisedScorer("accuracy", test, default=0.0))


def noisy(rows: int, seed: int, n_classes: int = 2) -> Dataset:
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % n_classes
    return Dataset(rng.normal(size=(rows, 2)) + 0.8 * y[:, None], np.array(["a", "b", "c"])[y])


def fitted(train: Dataset, test: Dataset, *parts: object, **options: object) -> ValuationResult:
    valuation = ClasswiseShapleyValuation(
        utility_of(test), *parts, seed=0, backend=SerialBackend(), **options
    )
    return valuation.fit(train).result


LINE = Dataset([[1.0], [2.0], [3.0], [4.0]], [0, 0, 1, 1])
LINE_TEST = Dataset([[1.0], [2.0], [3.0], [4.0]], [0, 0, 0, 1])
E4, E2 = math.exp(0.25), math.exp(0.5)
CLOSED_FORM = np.array([E4 / 6, E4 / 3, E4 / 12 + E2 / 24, E2 / 8])
NORMALISED = CLOSED_FORM * np.repeat([1 / E4, 1 / (E4 / 3 + 2 * E2 / 3)], 2)


@pytest.mark.parametrize(
    "sampler", [DeterministicUniformSampler(), DeterministicPermutationSampler()], ids=repr
)
@pytest.mark.parametrize(("normalize", "expected"), [(False, CLOSED_FORM), (True, NORMALISED)])
def test_the_closed_form(sampler: object, normalize: bool, expected: np.ndarray) -> None:
    utility = utility_of(LINE_TEST, Slope())
    result = ClasswiseShapleyValuation(utility, sampler, normalize=normalize).fit(LINE).result
    np.testing.assert_allclose(result.values, expected, atol=1e-12)
    assert not result.stderr.any()
    assert result.converged.all()
    assert result.extras["guarantee"] == "exact"
    assert result.n_failures == 0


def enumerated(
    train: Dataset,
    test: Dataset,
    *,
    normalize: bool,
    least: int,
    f: Callable[[float], float] = float,
    g: Callable[[float], float] = math.exp,
) -> np.ndarray:
    """Return the values by the definition: orders of joining, environment by environment."""
    rows_of = [train.rows([i]) for i in range(len(train))]
    label_of = [train.y[rows[0]] for rows in rows_of]

    def accuracies(players: list[int], label: object) -> tuple[float, float]:
        rows = np.sort(np.concatenate([rows_of[i] for i in players]))
        model = Nearest().fit(train.x[rows], train.y[rows])
        pairs = list(zip(model.predict(test.x), test.y, strict=True))
        inside = sum(p == t and t == label for p, t in pairs)
        outside = sum(p == t and t != label for p, t in pairs)
        return inside / len(pairs), outside / len(pairs)

    values = np.zeros(len(train))
    for label in set(label_of):
        own = [i for i, other in enumerate(label_of) if other == label]
        rest = [i for i, other in enumerate(label_of) if other != label]
        environments = [
            chosen
            for size in range(len(rest) + 1)
            for chosen in itertools.combinations(rest, size)
            if all(
                sum(label_of[i] == other for i in chosen)
                >= min(least, sum(label_of[i] == other for i in rest))
                for other in set(label_of) - {label}
            )
        ]
        for environment in environments:
            for order in itertools.permutations(own):
                before = 0.0
                for place, player in enumerate(order):
                    inside, outside = accuracies([*order[: place + 1], *environment], label)
                    after = f(inside) * g(outside)
                    values[player] += after - before
                    before = after
        values[own] /= len(environments) * math.factorial(len(own))
        total = values[own].sum()
        if normalize and abs(total) > 1e-12:
            values[own] *= accuracies(list(range(len(train))), label)[0] / total
    return values


@st.composite
def small_data(draw: st.DrawFn) -> tuple[Dataset, Dataset]:
    labels = draw(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=6))
    n_test = draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    groups = None
    if draw(st.booleans()):
        # Groups of one class each.
        groups = [f"{label}{rng.integers(2)}" for label in labels]
    x = rng.integers(0, 4, size=(len(labels), 2)).astype(float)
    x_test = rng.integers(0, 4, size=(n_test, 2)).astype(float)
    train = Dataset(x, np.array(labels), groups=groups)
    return train, Dataset(x_test, rng.choice(["a", "b", "c"], n_test))


@settings(max_examples=30, deadline=None)
@given(data=small_data(), normalize=st.booleans(), least=st.integers(0, 2), other=st.booleans())
def test_small_data_agrees_with_enumeration(
    data: tuple[Dataset, Dataset], normalize: bool, least: int, other: bool
) -> None:
    train, test = data
    f, g = (math.sqrt, lambda a: 1 + a) if other else (float, math.exp)
    with warnings.catch_warnings():
        # Test data that lacks a class, and values that sum to 0, are part of what is tested.
        warnings.simplefilter("ignore", DvlWarning)
        result = fitted(
            train,
            test,
            DeterministicUniformSampler(),
            normalize=normalize,
            min_elements_per_label=least,
            in_class_discount=f if other else None,
            out_of_class_discount=g if other else None,
        )
    expected = enumerated(train, test, normalize=normalize, least=least, f=f, g=g)
    np.testing.assert_allclose(result.values, expected, atol=1e-10)
    assert not result.stderr.any()


TRAIN, TEST = noisy(9, 1), noisy(25, 2)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(
    ("sampler", "options", "guarantee"),
    [
        (None, {}, "unbiased"),
        (None, {"in_class_blocks": 3}, "unbiased"),
        (None, {"environments": "all"}, "unbiased"),
        (PermutationSampler(), {}, "unbiased"),
        (MatchedSampler(), {}, "unbiased"),
        (DeterministicUniformSampler(), {"environments": "uniform"}, "unbiased"),
        (LeastSquaresSampler(), {}, "biased-by-option"),
        (TruncatedPermutationSampler(), {}, "biased-by-option"),
    ],
    ids=str,
)
def test_drawn_values_agree_with_exact_ones(
    sampler: object, options: dict, guarantee: str, normalize: bool
) -> None:
    store = MemoryStore()
    parts = {"normalize": normalize, "store": store}
    exact = fitted(TRAIN, TEST, DeterministicUniformSampler(), **parts)
    result = fitted(TRAIN, TEST, sampler, MaxEvaluations(4000), **parts, **options)
    assert exact.extras["guarantee"] == "exact"
    if normalize and guarantee == "unbiased":
        guarantee = "consistent"
    assert result.extras["guarantee"] == guarantee
    allowed = 4.5 * result.stderr + (0.05 if guarantee == "biased-by-option" else 1e-9)
    assert (np.abs(result.values - exact.values) <= allowed).all()
    assert result.stderr.max() < 0.03
    assert result.n_evaluations <= 4000


def test_standard_errors_mean_what_they_say() -> None:
    method = ClasswiseShapleyValuation(utility_of(TEST))
    utility, design = method.plan(utility_of(TEST).with_data(TRAIN))
    plain = dataclasses.replace(design, normalize=False)
    store = MemoryStore()
    exact = [
        fitted(TRAIN, TEST, DeterministicUniformSampler(), normalize=normalize).values
        for normalize in (True, False)
    ]

    def worth(rows: np.ndarray) -> np.ndarray:
        return values_through_store(utility, rows, store)

    anchor_values = worth(design.anchors())
    z: list[list[np.ndarray]] = [[], []]
    rng = np.random.default_rng(0)
    for _ in range(80):
        accumulators = [design.accumulator(), plain.accumulator()]
        for block in range(20):
            sample = design.evaluate(block, worth, rng, anchor_values)
            for accumulator in accumulators:
                accumulator.fold(sample)
        for errors, accumulator, values in zip(z, accumulators, exact, strict=True):
            estimate = accumulator.estimate()
            errors.append((estimate.values - values) / estimate.stderr)
    # Of 20 environments, z follows Student's t, of mean square 1.12.
    for errors in z:
        assert 0.8 < np.square(errors).mean() < 1.5
        assert np.abs(np.mean(errors, axis=0)).max() < 0.45


def test_normalised_values_sum_to_the_in_class_accuracy() -> None:
    result = fitted(TRAIN, TEST, None, MaxEvaluations(500))
    model = Nearest().fit(TRAIN.x, TRAIN.y)
    right = model.predict(TEST.x) == TEST.y
    for label, accuracy in zip(
        result.extras["classes"], result.extras["in_class_accuracy"], strict=True
    ):
        assert accuracy == (right & (TEST.y == label)).mean()
        assert result.values[TRAIN.y == label].sum() == pytest.approx(accuracy, abs=1e-12)


def test_a_player_that_is_alone_in_its_class_has_a_known_normalised_value() -> None:
    # Its share of what its class is worth is all of it, whatever the environments.
    train = Dataset([[0.0, 0.0], [1.0, 1.0], [1.0, 0.0], [2.0, 2.0]], list("abbb"))
    test = Dataset([[0.0, 0.1], [1.0, 1.0], [2.0, 1.0]], list("abb"))
    result = fitted(train, test, None, MaxEvaluations(300))
    assert result.values[0] == pytest.approx(1 / 3, abs=1e-12)
    assert result.stderr[0] == pytest.approx(0.0, abs=1e-9)
    assert (result.stderr[1:] > 0).all()


def test_one_class_only() -> None:
    train = Dataset([[0.0, 0.0], [1.0, 1.0]], ["a", "a"])
    test = Dataset([[0.0, 0.1], [1.0, 1.0], [2.0, 1.0]], list("aab"))
    result = fitted(train, test, DeterministicUniformSampler())
    # Whoever is there makes the model say "a".
    np.testing.assert_allclose(result.values, [1 / 3, 1 / 3])


def test_classes_of_one_player_each_have_a_single_environment() -> None:
    train = Dataset([[0.0, 0.0], [1.0, 1.0], [3.0, 0.0]], list("abc"))
    result = fitted(train, noisy(20, 3, 3), None, normalize=False)
    assert result.extras["guarantee"] == "exact"
    assert result.n_evaluations == 3
    assert not result.stderr.any()
