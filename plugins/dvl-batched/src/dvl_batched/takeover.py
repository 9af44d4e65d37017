"""From a model utility to what evaluates its coalitions all at once, or the reason against."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from dvl_batched.metrics import METRICS, Metric
from dvl_batched.options import anything, check_options
from dvl_batched.problem import NotReproducedError, Problem, problem_of
from dvl_batched.trainers import TRAINERS, Trainer
from dvl_core import SupervisedScorer
from dvl_core.errors import UtilityError
from dvl_core.utilities import ModelUtility

if TYPE_CHECKING:
    from dvl_core.protocols import BoolArray, FloatArray, IntArray

__all__ = ["TakeOver", "check_by_example", "take_over"]

FLOAT_BYTES = 8
EXAMPLE_SHARES = (1.0, 0.8, 0.6, 0.4, 0.2)
ROUNDING = 1e-6
"""By how much a score may differ, relative to max(1, |score|)."""


@dataclass(frozen=True, eq=False)
class TakeOver:
    """Everything that is needed to score coalitions, prepared once.

    Parameters
    ----------
    trainer : Trainer
        Fits and predicts.
    metric : Metric
        Scores.
    problem : Problem
        The data as arrays.
    groups : int array [m], optional
        Player that owns each row; None: the rows are the players.
    """

    trainer: Trainer
    metric: Metric
    problem: Problem
    groups: IntArray | None

    def chunk(self, n_bytes: float) -> int:
        """Return how many coalitions may be worked on at the same time."""
        each = FLOAT_BYTES * (self.trainer.floats + 4 * len(self.problem.y))
        return max(1, int(n_bytes // each))

    def scores(self, coalitions: BoolArray) -> tuple[FloatArray, BoolArray]:
        """Return the scores [b] of coalitions [b, n], and which of them are good."""
        rows = coalitions if self.groups is None else coalitions[:, self.groups]
        members = rows.astype(float)
        values = np.zeros(len(members))
        good = self.trainer.regular(members, self.metric.output)
        if not good.any():
            return values, good
        chosen = members if good.all() else members[good]
        predictions = self.trainer.fit_predict(chosen, self.metric.output)
        with np.errstate(invalid="ignore", over="ignore"):
            scores, sure = self.metric.score(predictions, self.problem)
        values[good] = scores
        good[good] = sure & np.isfinite(scores)
        return values, good

    def hopeless(self, coalitions: BoolArray) -> BoolArray:
        """Return which of the coalitions [b, n] scikit-learn refuses, whatever their rows are."""
        rows = coalitions if self.groups is None else coalitions[:, self.groups]
        sizes = rows.sum(axis=1)
        few = sizes < self.trainer.least_rows
        if self.trainer.least_classes > 1:
            classes = [rows[:, self.problem.y == k].any(axis=1) for k in np.unique(self.problem.y)]
            few |= np.sum(classes, axis=0) < self.trainer.least_classes
        return few & (sizes > 0)


def take_over(utility: ModelUtility) -> TakeOver:
    """Prepare the evaluation of all coalitions of a bound utility.

    Raises
    ------
    NotReproducedError
        If the model, an option of it, the score or the data is none that is reproduced.
    """
    if type(utility) is not ModelUtility:
        raise NotReproducedError(f"a {type(utility).__name__} may fit or score in its own way")
    if utility.train is None:
        raise NotReproducedError("the utility has no players yet")
    scorer = utility.scorer
    if type(scorer) is not SupervisedScorer or not isinstance(scorer.scoring, str):
        raise NotReproducedError("the scorer is no SupervisedScorer with the name of a metric")
    metric = METRICS.get(scorer.scoring)
    if metric is None:
        raise NotReproducedError(f"the score {scorer.scoring!r} is not reproduced")
    model, standardised = _split_pipeline(utility.model)
    kind: Any = TRAINERS.get(type(model))
    if kind is None:
        raise NotReproducedError(f"{type(model).__name__} is not reproduced")
    problem = problem_of(utility.train, scorer.test, kind.classification, standardised)
    trainer: Trainer = kind(model, problem)
    if metric.output not in trainer.outputs:
        raise NotReproducedError(f"{scorer.scoring} of {model!r} is not reproduced")
    metric.check(problem)
    return TakeOver(trainer, metric, problem, utility.train.groups)


def _split_pipeline(model: Any) -> tuple[Any, bool]:
    """Return the model proper, and whether a plain `StandardScaler` comes before it."""
    if type(model) is not Pipeline:
        return model, False
    check_options(model, {"steps": anything, "verbose": anything})
    steps = [step for _, step in model.steps]
    if len(steps) != 2 or type(steps[0]) is not StandardScaler:
        raise NotReproducedError("a pipeline of other steps than StandardScaler and a model")
    check_options(steps[0], {"copy": anything})
    return steps[1], True


def check_by_example(utility: ModelUtility, prepared: TakeOver) -> None:
    """Compare a few coalitions with scikit-learn's answers, those of all sizes that work.

    It finds what the options do not tell: versions of scikit-learn that compute something else.

    Raises
    ------
    NotReproducedError
        If a score differs by more than rounding, or if none of the coalitions can be evaluated at
        once.
    """
    # As in a run; more threads would only be in each other's way.
    with threadpool_limits(limits=1):
        _compare(utility, prepared)


def _compare(utility: ModelUtility, prepared: TakeOver) -> None:
    assert utility.train is not None
    n = len(utility.train)
    rng = np.random.default_rng(0)
    coalitions = np.array([rng.permutation(n) < round(share * n) for share in EXAMPLE_SHARES])
    values, good = prepared.scores(coalitions)
    if not good.any():
        raise NotReproducedError("none of the coalitions that were tried can be taken over")
    for coalition, value in zip(coalitions[good], values[good], strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                evaluation = utility.evaluate(coalition[None])
            except UtilityError as error:
                raise NotReproducedError(
                    f"scikit-learn fails on {coalition.sum()} of {n} players: {error}"
                ) from error
        expected = float(evaluation.values[0])
        if evaluation.failed[0] or abs(value - expected) > ROUNDING * max(1.0, abs(expected)):
            raise NotReproducedError(
                f"scikit-learn gives {expected:g}, not {value:g}, for {coalition.sum()} of {n} "
                "players"
            )
