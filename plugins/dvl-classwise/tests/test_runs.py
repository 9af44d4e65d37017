"""Class-wise runs: threads, stores, checkpoints, failures, refusals, the command line."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB

from dvl_classwise import ClasswiseShapleyValuation
from dvl_core import (
    Dataset,
    DeterministicUniformSampler,
    JoblibBackend,
    LOOSampler,
    MaxEvaluations,
    MaxUpdates,
    MemoryStore,
    ModelUtility,
    SerialBackend,
    SupervisedScorer,
    UniformSampler,
    ValuationResult,
)
from dvl_core.cli.main import cli
from dvl_core.errors import (
    DataError,
    DvlWarning,
    InvalidOptionError,
    UnsupportedSemivalueError,
    UtilityError,
)
from dvl_core.games import RandomGame
from dvl_core.samplers import MatchedSampler


def points(rows: int, seed: int, n_classes: int = 3) -> Dataset:
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % n_classes
    return Dataset(rng.normal(size=(rows, 2)) + y[:, None], np.array(["ant", "bee", "cow"])[y])


TRAIN, TEST = points(12, 0), points(30, 1)


def valuation(*parts: object, test: Dataset = TEST, **options: object) -> ClasswiseShapleyValuation:
    utility = ModelUtility(GaussianNB(var_smoothing=0.1), SupervisedScorer("accuracy", test))
    given = {"seed": 3, "backend": SerialBackend(), **options}
    return ClasswiseShapleyValuation(utility, *(parts or (None, MaxEvaluations(300))), **given)


def test_b22_threads_do_not_mix_up_the_classes() -> None:
    """The class is a part of the coalition; no scorer holds the one that is judged just now."""
    threads = JoblibBackend(n_jobs=3, backend="threading")
    serial = valuation().fit(TRAIN).result
    parallel = valuation(backend=threads).fit(TRAIN).result
    assert serial.equals(parallel)
    assert serial.n_evaluations == parallel.n_evaluations


@pytest.mark.parametrize(
    ("sampler", "environments", "ends"),
    [
        (DeterministicUniformSampler(), None, True),
        (DeterministicUniformSampler(), "all", True),
        (DeterministicUniformSampler(), "uniform", False),
        (MatchedSampler(), "all", False),
        (MatchedSampler(), "uniform", False),
        (None, None, False),
    ],
)
def test_b22_a_run_ends_if_and_only_if_both_its_loops_do(
    sampler: object, environments: str | None, ends: bool
) -> None:
    method = valuation(sampler, environments=environments)
    _, design = method.plan(method.utility.with_data(TRAIN))
    assert (design.n_blocks is not None) == ends
    # Of 4 players a class, any number but none of each of the two others.
    assert not ends or design.n_blocks == 15 * 15


def test_a_row_says_which_class_is_judged() -> None:
    method = valuation(normalize=False)
    utility, design = method.plan(method.utility.with_data(TRAIN))
    assert utility.n_players == len(TRAIN) + 3
    rows = np.concatenate([np.ones((3, len(TRAIN)), dtype=bool), np.eye(3, dtype=bool)], axis=1)
    model = GaussianNB(var_smoothing=0.1).fit(TRAIN.x, TRAIN.y)
    right = model.predict(TEST.x) == TEST.y
    for value, label in zip(utility(rows), ("ant", "bee", "cow"), strict=True):
        inside = TEST.y == label
        expected = (right & inside).mean() * np.exp((right & ~inside).mean())
        assert value == pytest.approx(expected, abs=1e-12)
    copy, _ = pickle.loads(pickle.dumps((utility, design)))  # noqa: S301
    np.testing.assert_array_equal(copy(rows), utility(rows))
    assert copy.fingerprint == utility.fingerprint is not None


def test_a_store_answers_the_same_games_only() -> None:
    store = MemoryStore()
    first = valuation(store=store).fit(TRAIN).result
    again = valuation(store=store).fit(TRAIN).result
    assert first.n_computed > 0
    assert again.n_computed == 0
    assert first.equals(again)
    other = valuation(store=store, out_of_class_discount=lambda a: 1 + a).fit(TRAIN).result
    assert other.n_computed > 0
    assert not np.allclose(other.values, first.values)


def test_the_store_of_the_utility_is_used() -> None:
    store = MemoryStore()
    scorer = SupervisedScorer("accuracy", TEST)
    utility = ModelUtility(GaussianNB(var_smoothing=0.1), scorer, store=store)
    ClasswiseShapleyValuation(utility, None, MaxEvaluations(100), seed=0).fit(TRAIN)
    assert len(store) > 0


def test_predictions_may_be_tensors() -> None:
    torch = pytest.importorskip("torch")

    class InTensors(GaussianNB):
        def predict(self, x: np.ndarray) -> object:
            return torch.as_tensor(super().predict(x))[:, None]

    rng = np.random.default_rng(0)
    train = Dataset(rng.normal(size=(8, 2)), np.arange(8) % 2)
    values = []
    for model in (GaussianNB(), InTensors()):
        utility = ModelUtility(model, SupervisedScorer("accuracy", train, default=0.0))
        method = ClasswiseShapleyValuation(utility, None, MaxEvaluations(60), seed=0)
        values.append(method.fit(train).result.values)
    np.testing.assert_array_equal(values[0], values[1])
    assert values[0].any()


@pytest.mark.parametrize("sampler", [None, DeterministicUniformSampler()], ids=repr)
def test_a_resumed_run_is_the_run_that_was_not_cut(sampler: object, tmp_path: Path) -> None:
    train, test = points(8, 4, 2), points(20, 5, 2)
    path = tmp_path / "run.npz"
    whole = valuation(sampler, MaxEvaluations(500), test=test).fit(train).result

    def cut(budget: int) -> ValuationResult:
        method = valuation(sampler, MaxEvaluations(budget), test=test, checkpoint=path)
        return method.fit(train).result

    if sampler is None:
        cut(150)
    else:
        # The first round of environments is not complete.
        with pytest.warns(DvlWarning, match="8 of 8 players have no value"):
            cut(150)
    resumed = cut(500)
    assert resumed.equals(whole)
    assert resumed.n_evaluations == whole.n_evaluations
    assert 0 < resumed.n_computed < whole.n_evaluations


def test_results_are_saved_with_their_classes(tmp_path: Path) -> None:
    result = valuation().fit(TRAIN).result
    result.save(tmp_path / "values.npz")
    loaded = ValuationResult.load(tmp_path / "values.npz")
    assert loaded.equals(result)
    assert loaded.extras["classes"].tolist() == ["ant", "bee", "cow"]
    np.testing.assert_array_equal(
        loaded.extras["in_class_accuracy"], result.extras["in_class_accuracy"]
    )


def test_groups_of_one_class_are_players_and_mixed_ones_are_refused() -> None:
    groups = [f"{label}-{i % 2}" for i, label in enumerate(TRAIN.y)]
    grouped = Dataset(TRAIN.x, TRAIN.y, groups=groups)
    result = valuation().fit(grouped).result
    assert sorted(result.names) == sorted(set(groups))
    assert np.isfinite(result.values).all()
    mixed = Dataset(TRAIN.x, TRAIN.y, groups=["left"] * 3 + ["right"] * 9)
    with pytest.raises(DataError, match="group left has rows of the classes ant and cow"):
        valuation().fit(mixed)


def test_a_class_that_the_test_data_lacks_is_worth_nothing() -> None:
    test = Dataset(TEST.x[TEST.y != "cow"], TEST.y[TEST.y != "cow"])
    with pytest.warns(DvlWarning, match="no test point is of class 'cow'"):
        result = valuation(test=test).fit(TRAIN).result
    assert not result.values[TRAIN.y == "cow"].any()
    assert result.values[TRAIN.y != "cow"].all()
    assert np.isfinite(result.stderr).all()


def test_values_that_sum_to_nothing_are_not_divided_by_it() -> None:
    with pytest.warns(DvlWarning, match="sum to 0, so that they cannot be scaled"):
        result = valuation(in_class_discount=lambda a: 0.0 * a).fit(TRAIN).result
    assert not result.values.any()
    assert not result.stderr.any()


def test_coalitions_that_cannot_be_fitted_are_counted_and_worth_nothing() -> None:
    utility = ModelUtility(LogisticRegression(), SupervisedScorer("accuracy", TEST))
    method = ClasswiseShapleyValuation(
        utility,
        DeterministicUniformSampler(),
        normalize=False,
        min_elements_per_label=0,
        seed=0,
        backend=SerialBackend(),
    )
    train = points(4, 0, 2)
    result = method.fit(train).result
    # Per class, the 3 coalitions of its own players in the empty environment; that of nobody is
    # worth 0 by definition and is not evaluated.
    assert result.n_failures == 2 * 3
    assert result.n_evaluations == 2 * 3 * 4
    strict = ModelUtility(
        LogisticRegression(), SupervisedScorer("accuracy", TEST), on_error="raise"
    )
    with pytest.raises(UtilityError, match="LogisticRegression failed on the coalition of"):
        ClasswiseShapleyValuation(
            strict, DeterministicUniformSampler(), min_elements_per_label=0
        ).fit(train)


def test_many_players_take_several_blocks_of_a_sampler() -> None:
    train, test = points(80, 6, 2), points(20, 7, 2)
    sampler = MatchedSampler(n_sizes=1)
    method = valuation(sampler, MaxUpdates(1), test=test, normalize=False)
    _, design = method.plan(method.utility.with_data(train))
    assert [game.n_blocks for game in design.games] == [2, 2]
    assert np.isfinite(method.fit(train).result.values).all()
    with pytest.raises(InvalidOptionError, match="in_class_blocks=1 is too few for the 40 players"):
        valuation(sampler, test=test, in_class_blocks=1).fit(train)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"environments": "some"}, "environments must be 'uniform' or 'all'"),
        ({"min_elements_per_label": -1}, "min_elements_per_label must be at least 0"),
        ({"in_class_blocks": 0}, "in_class_blocks must be at least 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict, message: str) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        valuation(**options)


def test_too_many_environments_to_visit_are_refused_or_drawn() -> None:
    train = points(40, 8, 2)
    with pytest.raises(InvalidOptionError, match="more than 65,536 environments"):
        valuation(environments="all").fit(train)
    method = valuation(DeterministicUniformSampler())
    _, design = method.plan(method.utility.with_data(train))
    assert design.guarantee == "consistent"
    assert design.n_blocks is None


def test_what_does_not_split_into_classes_is_refused() -> None:
    with pytest.raises(DataError, match="needs the labels of the players"):
        ClasswiseShapleyValuation(RandomGame(4, 0)).fit()
    for scoring in ("f1_macro", lambda model, x, y: 0.5):
        utility = ModelUtility(GaussianNB(), SupervisedScorer(scoring, TEST, default=0.0))
        with pytest.raises(InvalidOptionError, match="splits accuracy"):
            ClasswiseShapleyValuation(utility).fit(TRAIN)
    numbers = Dataset([[0.0], [1.0], [2.0]], [0.5, 1.5, 2.5])
    scorer = SupervisedScorer("accuracy", ([[0.0], [1.0]], [0, 1]))
    with pytest.raises(InvalidOptionError, match="needs a single target of classes"):
        ClasswiseShapleyValuation(ModelUtility(LinearRegression(), scorer)).fit(numbers)


def test_samplers_that_do_not_cover_shapley_are_refused_before_anything_is_trained() -> None:
    with pytest.raises(
        UnsupportedSemivalueError, match=r"loo does not cover .*these would do: .*a"
    ):
        valuation(LOOSampler()).fit(TRAIN)
    with pytest.warns(DvlWarning, match="suits semivalue shapley badly"):
        valuation(UniformSampler(), MaxEvaluations(10)).design(60)


def test_the_command_line_values_a_file(tmp_path: Path) -> None:
    data = points(40, 9, 2)
    frame = pd.DataFrame(data.x, columns=["size", "weight"]).assign(label=data.y)
    frame.to_csv(tmp_path / "data.csv", index=False)
    words = ["value", str(tmp_path / "data.csv"), "--target", "label"]
    words += ["--model", "sklearn.naive_bayes:GaussianNB", "--method", "classwise-shapley"]
    words += ["--budget", "400", "--option", "min-elements-per-label=2"]
    done = CliRunner().invoke(cli, [*words, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    values = pd.read_csv(tmp_path / "out" / "values.csv")
    assert len(values) == 32
    assert np.isfinite(values["value"]).all()
    assert (tmp_path / "out" / "report.html").is_file()


def test_the_command_line_sees_that_an_exact_run_ends(tmp_path: Path) -> None:
    data = points(10, 9, 2)
    frame = pd.DataFrame(data.x, columns=["size", "weight"]).assign(label=data.y)
    frame.to_csv(tmp_path / "data.csv", index=False)
    words = ["value", str(tmp_path / "data.csv"), "--target", "label", "--sampler", "all-subsets"]
    words += ["--model", "sklearn.naive_bayes:GaussianNB", "--method", "classwise-shapley"]
    done = CliRunner().invoke(cli, [*words, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert not re.search("no --budget", done.output + done.stderr)
    assert not pd.read_csv(tmp_path / "out" / "values.csv")["stderr"].any()
