"""Data utility learning against closed forms and enumeration, and as a part of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, scale
from sklearn.svm import LinearSVC

from dvl_core import (
    Dataset,
    DeterministicUniformSampler,
    FunctionGame,
    JoblibBackend,
    MaxEvaluations,
    MaxUpdates,
    MemoryStore,
    ModelUtility,
    SerialBackend,
    SupervisedScorer,
    UniformSampler,
)
from dvl_core.errors import DataError
from dvl_core.games import exact_values
from dvl_core.result import ValuationResult
from dvl_core.semivalues import BanzhafSemivalue, BetaSemivalue, ShapleySemivalue
from dvl_core.testing.requirements import pickled_copy
from dvl_core.testing.samples import Recorder, model_utility, train_data
from dvl_core.valuation import SemivalueValuation
from dvl_dul import DataUtilityLearning, IndicatorUtilityModel


class BanzhafOfTheCore(SemivalueValuation):
    """A method of the core alone, to run what is learned."""

    algorithm = "test-banzhaf"
    semivalue = BanzhafSemivalue()

    def default_sampler(self) -> UniformSampler:
        return UniformSampler()


def concave(coalitions: np.ndarray) -> np.ndarray:
    return np.sqrt(coalitions @ np.arange(1.0, coalitions.shape[1] + 1))


def same_bits(one: ValuationResult, other: ValuationResult) -> bool:
    fields = ("values", "variances", "counts", "stderr")
    return all(getattr(one, f).tobytes() == getattr(other, f).tobytes() for f in fields)


@given(
    weights=st.lists(st.floats(-10, 10), min_size=1, max_size=8),
    offset=st.floats(-5, 5),
    sizes=st.sampled_from(["uniform", "binomial"]),
    semivalue=st.sampled_from([ShapleySemivalue(), BanzhafSemivalue(0.3), BetaSemivalue(4, 1)]),
)
@settings(max_examples=25, deadline=None)
def test_an_additive_game_is_learned_exactly(
    weights: list[float], offset: float, sizes: str, semivalue: object
) -> None:
    n = len(weights)
    game = FunctionGame(n, lambda coalitions: offset + coalitions @ np.array(weights))
    learned = DataUtilityLearning(
        game, LinearRegression(), n_training=60, sizes=sizes, validation=0.0, seed=1
    )
    assert exact_values(learned, semivalue) == pytest.approx(weights, abs=1e-9)


@pytest.mark.parametrize("exact_ends", [True, False])
def test_pairwise_interactions_are_learned_exactly(exact_ends: bool) -> None:
    pairs = np.triu(np.random.default_rng(0).normal(size=(6, 6)))
    game = FunctionGame(6, lambda c: ((c @ pairs) * c).sum(axis=1))
    regressor = make_pipeline(PolynomialFeatures(2, interaction_only=True), LinearRegression())
    learned = DataUtilityLearning(game, regressor, n_training=50, exact_ends=exact_ends, seed=0)
    expected = exact_values(game, ShapleySemivalue())
    assert exact_values(learned, ShapleySemivalue()) == pytest.approx(expected, abs=1e-9)
    assert learned.training.r2 == pytest.approx(1.0)
    assert learned.training.mae < 1e-9


@pytest.fixture(scope="module")
def iris_game() -> FunctionGame:
    """The accuracy of a support vector machine, of which all 512 values are known."""
    x, y = load_iris(return_X_y=True)
    train, test = Dataset.from_arrays(scale(x), y, train_size=9, random_state=1)
    every = (np.arange(1 << 9)[:, None] >> np.arange(9)) & 1 == 1
    utility = ModelUtility(LinearSVC(random_state=0), SupervisedScorer("accuracy", test))
    table = utility.with_data(train)(every)
    return FunctionGame(9, lambda coalitions: table[coalitions @ (1 << np.arange(9))])


@pytest.mark.parametrize(
    "regressor",
    [
        RandomForestRegressor(50),
        make_pipeline(PolynomialFeatures(2, interaction_only=True), LinearRegression()),
    ],
    ids=["forest", "quadratic"],
)
def test_values_of_iris_are_those_of_the_wrapped_utility(
    iris_game: FunctionGame, regressor: object
) -> None:
    """Of 9 unrelated pairs, one in 100 has a rank correlation above 0.783."""
    learned = DataUtilityLearning(iris_game, regressor, n_training=150, seed=0)
    expected = exact_values(iris_game, ShapleySemivalue())
    found = exact_values(learned, ShapleySemivalue())
    assert spearmanr(found, expected).statistic > 0.783
    assert found.sum() == pytest.approx(expected.sum(), abs=1e-12)
    assert learned.training.r2 > 0.4


def test_the_ends_are_exact_or_predicted() -> None:
    # A straight line through 0 at the empty coalition and 1 everywhere else misses both ends.
    game = FunctionGame(6, lambda coalitions: coalitions.any(axis=1).astype(float))
    ends = np.array([[False] * 6, [True] * 6])
    options = {"n_training": 40, "seed": 0, "validation": 0.0}
    exact = DataUtilityLearning(game, LinearRegression(), **options)
    predicted = DataUtilityLearning(game, LinearRegression(), exact_ends=False, **options)
    assert exact(ends).tolist() == [0.0, 1.0]
    assert np.abs(predicted(ends) - [0.0, 1.0]).min() > 0.05
    inner = np.eye(6, dtype=bool)
    assert exact(inner).tobytes() == predicted(inner).tobytes()


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_players(n: int) -> None:
    learned = DataUtilityLearning(FunctionGame(n, concave), LinearRegression(), seed=0)
    every = (np.arange(1 << n)[:, None] >> np.arange(n)) & 1 == 1
    assert learned.training.n_evaluations == 2**n
    assert learned(every[[0, -1]]) == pytest.approx(concave(every[[0, -1]]))
    assert np.isfinite(learned(every)).all()


def test_groups_are_players() -> None:
    x, y = load_iris(return_X_y=True)
    grouped = Dataset(x, y, groups=np.arange(len(y)) % 5)
    scorer = SupervisedScorer("accuracy", Dataset(x, y))
    utility = ModelUtility(KNeighborsClassifier(3), scorer)
    learned = DataUtilityLearning(utility, n_training=10, seed=0).with_data(grouped)
    assert learned.n_players == 5
    assert learned(np.ones((1, 5), dtype=bool)) == utility.with_data(grouped)(
        np.ones((1, 5), dtype=bool)
    )


def test_rank16_424_each_training_coalition_is_evaluated_once() -> None:
    """#424: enumeration evaluated twice; here nothing is evaluated but the training coalitions."""
    recorder = Recorder(concave)
    learned = DataUtilityLearning(FunctionGame(8, recorder), n_training=70, seed=0)
    BanzhafOfTheCore(learned, DeterministicUniformSampler(), seed=1).fit()
    asked = np.concatenate(recorder.batches)
    assert len(asked) == len(np.unique(asked, axis=0)) == 70
    assert learned.training.n_evaluations == learned.training.n_computed == 70


class CountingRegressor(LinearRegression):
    """Counts its predictions."""

    calls = 0

    def predict(self, X: np.ndarray) -> np.ndarray:
        type(self).calls += 1
        return super().predict(X)


def test_rank16_predictions_come_in_batches() -> None:
    """pyDVL predicts one coalition a call."""
    learned = DataUtilityLearning(
        FunctionGame(8, concave), CountingRegressor(), seed=0, validation=0.0
    ).with_seed(0)
    CountingRegressor.calls = 0
    learned(np.random.default_rng(0).random((5000, 8)) < 0.5)
    assert CountingRegressor.calls == 1


@pytest.mark.parametrize(
    "model", [None, RandomForestRegressor(5)], ids=["default", "unseeded forest"]
)
def test_rank16_works_in_parallel_with_the_same_bits(model: object) -> None:
    """pyDVL does not support training in parallel, and its order of arrival decides the values."""

    def fitted(backend: object) -> ValuationResult:
        learned = DataUtilityLearning(model_utility(), model, n_training=40, backend=backend)
        options = {"seed": 3, "backend": backend}
        valuation = BanzhafOfTheCore(learned, None, MaxUpdates(20), **options)
        return valuation.fit(train_data()).result

    serial = fitted(SerialBackend())
    assert np.ptp(serial.values) > 0
    assert same_bits(serial, fitted(JoblibBackend(2, "threading")))
    assert same_bits(serial, fitted(JoblibBackend(2, "loky")))


def test_a_cut_run_goes_on_exactly(tmp_path: Path) -> None:
    def fitted(stopping: object, checkpoint: Path | None) -> ValuationResult:
        learned = DataUtilityLearning(model_utility(), n_training=30)
        options = {"seed": 3, "checkpoint": checkpoint}
        return BanzhafOfTheCore(learned, None, stopping, **options).fit(train_data()).result

    whole = fitted(MaxEvaluations(2000), None)
    first = fitted(MaxEvaluations(700), tmp_path / "run")
    resumed = fitted(MaxEvaluations(2000), tmp_path / "run")
    assert first.n_evaluations < resumed.n_evaluations == whole.n_evaluations
    assert same_bits(resumed, whole)


def test_training_coalitions_go_through_the_store_of_the_wrapped_utility() -> None:
    store = MemoryStore()
    utility = ModelUtility(
        LogisticRegression(), SupervisedScorer("accuracy", train_data()), store=store
    ).with_data(train_data())
    first = DataUtilityLearning(utility, n_training=30, seed=0).training
    again = DataUtilityLearning(utility, LinearRegression(), n_training=30, seed=0).training
    assert first.n_computed == first.n_evaluations == 30
    # Only what failed is evaluated again: stand-ins are not stored.
    assert again.n_computed == again.n_failures == first.n_failures
    assert 0 < first.n_failures < 30


def test_the_seed_of_the_run_decides_unless_there_is_one() -> None:
    coalitions = np.random.default_rng(0).random((20, 9)) < 0.5
    game = FunctionGame(9, concave)
    free, fixed = DataUtilityLearning(game), DataUtilityLearning(game, seed=5)
    assert free.with_seed(1)(coalitions).tobytes() == free.with_seed(1)(coalitions).tobytes()
    assert free.with_seed(1)(coalitions).tobytes() != free.with_seed(2)(coalitions).tobytes()
    assert fixed.with_seed(1)(coalitions).tobytes() == fixed.with_seed(2)(coalitions).tobytes()
    assert fixed(coalitions).tobytes() == free.with_seed(5)(coalitions).tobytes()


def test_what_is_learned_once_serves_all_runs_and_can_be_looked_at() -> None:
    recorder = Recorder(concave)
    learned = DataUtilityLearning(FunctionGame(9, recorder), n_training=50, seed=5)
    BanzhafOfTheCore(learned, None, MaxUpdates(3), seed=1).fit()
    BanzhafOfTheCore(learned, None, MaxUpdates(3), seed=2).fit()
    assert learned.training.r2 > 0.9
    assert sum(map(len, recorder.batches)) == 50


def test_binding_anew_forgets_what_was_learned() -> None:
    learned = DataUtilityLearning(model_utility(), n_training=20, seed=0).with_data(train_data())
    every = np.ones((1, 12), dtype=bool)
    other = learned.with_data(train_data(5).select(range(8)))
    assert learned(every).shape == (1,)
    with pytest.raises(DataError, match=r"shape \[b, 8\]"):
        other(every)


def test_workers_get_the_model_and_evaluate_nothing() -> None:
    learned = DataUtilityLearning(model_utility(), n_training=20).with_data(train_data())
    copy = pickled_copy(learned.with_seed(0))
    copy._lesson.utility = None
    coalitions = np.random.default_rng(0).random((9, 12)) < 0.5
    assert copy(coalitions).tobytes() == learned.with_seed(0)(coalitions).tobytes()


def proper(recorder: Recorder) -> set[bytes]:
    """Return the coalitions that were asked for, but for the empty and the full one."""
    rows = np.concatenate(recorder.batches)
    return {row.tobytes() for row in rows if 0 < row.sum() < len(row)}


def test_training_draws_apart_from_the_sampler_with_the_same_seed() -> None:
    recorder = Recorder(concave)
    BanzhafOfTheCore(FunctionGame(40, recorder), None, MaxUpdates(2), seed=7).fit()
    sampled = proper(recorder)
    recorder.batches.clear()
    learned = DataUtilityLearning(FunctionGame(40, recorder), sizes="binomial")
    assert learned.with_seed(7).training.n_evaluations == 400
    trained = proper(recorder)
    assert len(sampled) > 100
    assert len(trained) == 398
    assert not sampled & trained


def test_the_fingerprint_is_that_of_all_that_decides_the_values() -> None:
    def fingerprint(model: object = None, seed: int = 0, **options: object) -> str | None:
        utility = DataUtilityLearning(model_utility(), model, n_training=10, **options)
        return utility.with_data(train_data()).with_seed(seed).fingerprint

    same = fingerprint()
    assert same is not None
    assert same == fingerprint(validation=0.0, backend=SerialBackend(), progress=True)
    assert fingerprint(LinearRegression()) == fingerprint(IndicatorUtilityModel(LinearRegression()))
    others = [
        fingerprint(LinearRegression()),
        fingerprint(RandomForestRegressor(3)),
        fingerprint(RandomForestRegressor(4)),
        fingerprint(seed=1),
        fingerprint(sizes="binomial"),
        fingerprint(exact_ends=False),
        model_utility().with_data(train_data()).with_seed(0).fingerprint,
    ]
    assert len({same, *others}) == 1 + len(others)
    assert DataUtilityLearning(model_utility()).fingerprint is None
    assert DataUtilityLearning(model_utility()).with_data(train_data()).fingerprint is None
