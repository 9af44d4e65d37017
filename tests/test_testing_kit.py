"""The conformance kit catches what it is there to catch."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from dvl_core import (
    AntitheticSampler,
    DiskStore,
    LOOSampler,
    MemoryStore,
    SerialBackend,
    SupervisedScorer,
    UniformSampler,
    override,
)
from dvl_core.cli.main import cli
from dvl_core.errors import ConformanceError, InvalidOptionError
from dvl_core.registry import KINDS
from dvl_core.statistics import Estimate
from dvl_core.testing import (
    assert_conforms,
    check_component,
    checks,
    conformance_test,
    run_check,
)
from dvl_core.testing.inverse_hessians import MatrixOperator
from dvl_core.testing.samples import sample_function
from dvl_core.utilities import ModelUtility
from dvl_shapley import DataShapleyValuation, PermutationSampler, TruncatedPermutationSampler


def status(kind: str, component: Callable[..., Any], name: str) -> str:
    (check,) = (c for c in checks(kind) if c.name == f"{kind.replace('-', '_')}_{name}")
    return run_check(check, component).status


# Samplers


class Altered:
    """A design with some members replaced."""

    def __init__(self, design: Any, **members: Any) -> None:
        self.design = design
        self.members = members

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("design", "members"):
            raise AttributeError(name)
        return self.members.get(name, getattr(self.design, name))


@dataclass(frozen=True)
class SecretlyTruncated:
    def design(self, n_players: int, semivalue: Any) -> Any:
        sampler = TruncatedPermutationSampler(rule="fixed", fraction=0.5)
        return Altered(sampler.design(n_players, semivalue), guarantee="unbiased")


class BoastfulAccumulator:
    def __init__(self, accumulator: Any) -> None:
        self.accumulator = accumulator

    def __getattr__(self, name: str) -> Any:
        return getattr(self.accumulator, name)

    def estimate(self) -> Estimate:
        return replace(self.accumulator.estimate(), stderr=self.accumulator.estimate().stderr / 3)


class Boastful(UniformSampler):
    def design(self, n_players: int, semivalue: Any) -> Any:
        design = super().design(n_players, semivalue)
        return Altered(design, accumulator=lambda: BoastfulAccumulator(design.accumulator()))


class WrongLaw(PermutationSampler):
    def design(self, n_players: int, semivalue: Any) -> Any:
        law = np.arange(1.0, n_players + 1)
        return Altered(super().design(n_players, semivalue), size_law=law / law.sum())


class WrongWeights(UniformSampler):
    def design(self, n_players: int, semivalue: Any) -> Any:
        design = super().design(n_players, semivalue)
        return replace(design, weights=np.ones(n_players))


class Greedy(AntitheticSampler):
    def design(self, n_players: int, semivalue: Any) -> Any:
        return Altered(super().design(n_players, semivalue), block_evaluations=3)


class Stateful(UniformSampler):
    def design(self, n_players: int, semivalue: Any) -> Any:
        design = super().design(n_players, semivalue)
        numbers = itertools.count()

        def evaluate(block: int, utility: Any, rng: Any, anchors: Any) -> Any:
            return design.evaluate(next(numbers), utility, np.random.default_rng(), anchors)

        return Altered(design, evaluate=evaluate)


class Forgetful(UniformSampler):
    def design(self, n_players: int, semivalue: Any) -> Any:
        design = super().design(n_players, semivalue)

        def accumulator() -> Any:
            made = design.accumulator()
            made.restore = lambda state: None
            return made

        return Altered(design, accumulator=accumulator)


@dataclass(frozen=True)
class Refusing:
    def design(self, n_players: int, semivalue: Any) -> Any:
        raise ValueError("not today")


@pytest.mark.parametrize(
    ("sampler", "caught_by"),
    [
        (SecretlyTruncated, "estimates"),
        (SecretlyTruncated, "unbiased"),
        (Boastful, "standard_errors"),
        (WrongLaw, "size_law"),
        (WrongWeights, "estimates"),
        (WrongWeights, "unbiased"),
        (Greedy, "coalitions"),
        (Stateful, "blocks_are_pure"),
        (Stateful, "seed"),
        (Forgetful, "checkpoint"),
        (Refusing, "covers_or_refuses"),
    ],
)
def test_a_broken_sampler_is_caught(sampler: Any, caught_by: str) -> None:
    assert status("sampler", sampler, caught_by) == "failed"


# Utilities


class Game:
    """A game of six players, right but for what a subclass does."""

    def __init__(self) -> None:
        self.n_players = 6

    def with_data(self, train: Any) -> Game:
        return self

    def __call__(self, coalitions: Any) -> Any:
        if coalitions.ndim != 2 or coalitions.shape[1] != 6:
            raise InvalidOptionError("this game has six players")
        return self.worth(coalitions)

    def worth(self, coalitions: Any) -> Any:
        return sample_function(coalitions)


class FloatsOfThirtyTwoBits(Game):
    def worth(self, coalitions: Any) -> Any:
        return super().worth(coalitions).astype(np.float32)


class NotFinite(Game):
    def worth(self, coalitions: Any) -> Any:
        return np.where(coalitions.any(axis=1), 1.0, np.nan)


class Centred(Game):
    def worth(self, coalitions: Any) -> Any:
        values = super().worth(coalitions)
        return values - values.max(initial=0.0)


class Scribbler(Game):
    def worth(self, coalitions: Any) -> Any:
        values = super().worth(coalitions)
        coalitions[:, 0] = True
        return values


class Noisy(Game):
    fingerprint = "noisy"
    batch_invariant = True

    def worth(self, coalitions: Any) -> Any:
        return np.random.default_rng().normal(size=len(coalitions))


class Careless(Game):
    def __call__(self, coalitions: Any) -> Any:
        return np.zeros(len(coalitions))


class BindsItself(ModelUtility):
    def with_data(self, train: Any) -> Any:
        self.train = train
        return self


class SameForAllData(ModelUtility):
    fingerprint = "always the same"


@pytest.mark.parametrize(
    ("utility", "caught_by"),
    [
        (FloatsOfThirtyTwoBits, "shape_and_type"),
        (NotFinite, "shape_and_type"),
        (Centred, "batch_equals_single"),
        (Scribbler, "leaves_input_alone"),
        (Noisy, "deterministic"),
        (Careless, "refuses_other_players"),
        (BindsItself, "binds_a_copy"),
        (SameForAllData, "fingerprint"),
    ],
)
def test_a_broken_utility_is_caught(utility: Any, caught_by: str) -> None:
    assert status("utility", ModelUtility, caught_by) == "passed"
    assert status("utility", Game, caught_by) != "failed"
    assert status("utility", utility, caught_by) == "failed"


# Scorers


class Scorer:
    default = 0.5

    def __call__(self, model: Any) -> float:
        return SupervisedScorer("accuracy", ([[9.0, 9.0], [-9.0, -9.0]], [1, 0]))(model)


class Loss(Scorer):
    def __call__(self, model: Any) -> float:
        return -super().__call__(model)


class NoDefault(Scorer):
    default = float("nan")


class Refitting(Scorer):
    def __call__(self, model: Any) -> float:
        model.fit([[0.0, 0.0], [1.0, 1.0]], [0, 1])
        return super().__call__(model)


@pytest.mark.parametrize(
    ("scorer", "caught_by"),
    [(Loss, "larger_is_better"), (NoDefault, "default"), (Refitting, "leaves_model_alone")],
)
def test_a_broken_scorer_is_caught(scorer: Any, caught_by: str) -> None:
    assert status("scorer", Scorer, caught_by) != "failed"
    assert status("scorer", scorer, caught_by) == "failed"


# Backends


class Eager(SerialBackend):
    def map(self, function: Any, shared: Any, tasks: Any) -> Any:
        ready = [function(shared, task) for task in itertools.islice(tasks, 5_000)]
        yield from ready


class Reversed(SerialBackend):
    def map(self, function: Any, shared: Any, tasks: Any) -> Any:
        while chunk := list(itertools.islice(tasks := iter(tasks), 4)):
            yield from reversed([function(shared, task) for task in chunk])


class Swallowing(SerialBackend):
    def map(self, function: Any, shared: Any, tasks: Any) -> Any:
        for task in tasks:
            try:
                yield function(shared, task)
            except Exception:
                return


class Listing(SerialBackend):
    def map(self, function: Any, shared: Any, tasks: Any) -> Any:
        return map(functools.partial(function, shared), tasks)


@pytest.mark.parametrize(
    ("backend", "caught_by"),
    [
        (Eager, "is_lazy"),
        (Reversed, "order"),
        (Swallowing, "raises_in_place"),
        (Listing, "cancels"),
    ],
)
def test_a_broken_backend_is_caught(backend: Any, caught_by: str) -> None:
    assert status("backend", backend, caught_by) == "failed"


# Stores


class LastWins(MemoryStore):
    def put(self, keys: Any, values: Any) -> None:
        self.extra = getattr(self, "extra", {})
        self.extra.update({bytes(k): v for k, v in zip(keys, values, strict=True)})
        super().put(keys, values)

    def get(self, keys: Any) -> Any:
        values, found = super().get(keys)
        for i, key in enumerate(keys):
            values[i] = getattr(self, "extra", {}).get(bytes(key), values[i])
        return values, found


def test_a_broken_store_is_caught() -> None:
    assert status("store", LastWins, "first_record_stays") == "failed"


# Valuations


class Uneven(DataShapleyValuation):
    def fit(self, train: Any = None) -> Any:
        super().fit(train)
        self._result.values[0] += 0.5
        return self


class Unseeded(DataShapleyValuation):
    def fit(self, train: Any = None) -> Any:
        self.seed = None
        return super().fit(train)


class Eternal(DataShapleyValuation):
    def fit(self, train: Any = None) -> Any:
        self.stopping = None
        return super().fit(train)


class Unready(DataShapleyValuation):
    @property
    def result(self) -> Any:
        return self._result


class Demanding(DataShapleyValuation):
    def __init__(self, utility: Any, sampler: Any = None, *, share: float, **parts: Any) -> None:
        super().__init__(utility, sampler, **parts)


@pytest.mark.parametrize(
    ("valuation", "caught_by"),
    [
        (Uneven, "null_player"),
        (Uneven, "symmetry"),
        (Uneven, "estimates_its_semivalue"),
        (Unseeded, "seed"),
        (Eternal, "budget"),
        (Unready, "result"),
        (Demanding, "options"),
    ],
)
def test_a_broken_valuation_is_caught(valuation: Any, caught_by: str) -> None:
    assert status("valuation", valuation, caught_by) == "failed"


# Inverse Hessians: no component of this kind is needed to test the checks.


@dataclass
class Solved:
    value: Any
    residual: Any
    iterations: int = 0
    converged: bool = True


class Direct:
    """Solves with the dense matrix."""

    def init(self, curvature: MatrixOperator) -> Any:
        return curvature.dense()

    def solve(self, state: Any, rhs: Any) -> Solved:
        value = np.linalg.solve(state, rhs.T).T
        return Solved(value, np.zeros(len(rhs)))


class Half(Direct):
    def solve(self, state: Any, rhs: Any) -> Solved:
        return Solved(super().solve(state, rhs).value / 2, np.zeros(len(rhs)))


class Normalising(Direct):
    def solve(self, state: Any, rhs: Any) -> Solved:
        with np.errstate(invalid="ignore"):
            return super().solve(state, rhs / np.linalg.norm(rhs, axis=1, keepdims=True))


class Overwriting(Direct):
    def solve(self, state: Any, rhs: Any) -> Solved:
        solved = super().solve(state, rhs)
        rhs[:] = solved.value
        return solved


class Basis(Direct):
    def solve(self, state: Any, rhs: Any) -> Solved:
        q, r = np.linalg.qr(rhs.T)
        inner = np.linalg.inv(q.T @ state @ q)
        value = (q @ inner @ np.linalg.solve(r.T @ r, r.T).T).T if len(rhs) < 7 else rhs * np.nan
        return Solved(value, np.zeros(len(rhs)))


@pytest.mark.parametrize(
    ("approximator", "caught_by"),
    [
        (Half, "accuracy"),
        (Half, "residuals"),
        (Normalising, "scales"),
        (Normalising, "zero"),
        (Overwriting, "leaves_input_alone"),
        (Basis, "more_vectors_than_parameters"),
    ],
)
def test_a_broken_inverse_hessian_is_caught(approximator: Any, caught_by: str) -> None:
    assert status("inverse-hessian", approximator, caught_by) == "failed"


def test_a_solver_that_is_right_passes() -> None:
    assert_conforms("inverse-hessian", Direct)


# The kit itself


@pytest.mark.parametrize("kind", KINDS)
def test_every_check_of_every_kind_says_what_it_demands(kind: str) -> None:
    found = checks(kind)
    assert len(found) >= 6
    assert len({check.name for check in found}) == len(found)
    for check in found:
        assert check.name.startswith(kind.replace("-", "_"))
        assert check.demand.endswith(".")


def test_a_failure_that_was_declared_is_no_failure_until_it_is_gone() -> None:
    reason = {"backend_cancels": "lists have no close", "backend_is_lazy": "for the same reason"}
    assert_conforms("backend", Listing, expected_failures=reason)
    with pytest.raises(ConformanceError, match="passed unexpectedly: declared to fail: a guess"):
        assert_conforms("backend", SerialBackend, expected_failures={"backend_order": "a guess"})


def test_unknown_kinds_and_checks_are_refused() -> None:
    with pytest.raises(InvalidOptionError, match="there is no kind 'samplers'"):
        checks("samplers")
    with pytest.raises(InvalidOptionError, match="store_flies: no such check"):
        check_component("store", MemoryStore, expected_failures={"store_flies": ""})


class Remote(MemoryStore):
    def __init__(self, servers: list[str]) -> None:
        super().__init__()


def test_what_the_kit_cannot_fill_in_is_named() -> None:
    with pytest.raises(ConformanceError, match=r"Remote requires 'servers'.*functools\.partial"):
        assert_conforms("store", Remote)
    assert_conforms("store", functools.partial(Remote, servers=[]))


def test_a_path_is_filled_in_and_the_store_found_persistent() -> None:
    outcomes = check_component("store", DiskStore)
    assert {outcome.status for outcome in outcomes} == {"passed"}


test_a_line_in_a_test_module_is_a_test_for_each_check = conformance_test("sampler", LOOSampler)


def test_the_command_line_prints_each_check_and_exits_by_the_outcome() -> None:
    good = CliRunner().invoke(cli, ["check", "sampler", "loo"])
    assert good.exit_code == 0
    assert "sampler_estimates: Agree with enumeration" in good.output
    with override("sampler", "greedy", Greedy):
        bad = CliRunner().invoke(cli, ["check", "sampler", "greedy", "--json"])
    assert bad.exit_code == 1
    status = {row["check"]: row["status"] for row in json.loads(bad.stdout)}
    assert status["sampler_coalitions"] == "failed"
    assert status["sampler_estimates"] == "passed"


def test_the_command_line_takes_options() -> None:
    arguments = ["check", "sampler", "msr", "--option", "p=0.3", "--json"]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    wrong = CliRunner().invoke(cli, [*arguments[:3], "--option", "q=0.3"])
    assert wrong.exit_code == 2
    assert "no option 'q'" in wrong.output
