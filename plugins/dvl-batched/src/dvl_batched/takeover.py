"""From a model utility to what evaluates its coalitions all at once, or the reason against."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from dvl_batched.members import Members, members_of
from dvl_batched.metrics import METRICS, Metric
from dvl_batched.options import anything, check_options
from dvl_batched.problem import NotReproducedError, Problem, problem_of
from dvl_batched.trainers import TRAINERS, Trainer
from dvl_batched.trainers.base import ExactTrainer
from dvl_core import SupervisedScorer
from dvl_core.data import take_rows
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
    utility : ModelUtility
        What gives scikit-learn's answers.
    tried : dict
        Values of coalitions that had to be refused, one for each reason and way to treat errors.
    """

    trainer: Trainer
    metric: Metric
    problem: Problem
    groups: IntArray | None
    utility: ModelUtility
    tried: dict[tuple[str, int], float | None] = field(default_factory=dict)

    def chunk(self, n_bytes: float) -> int:
        """Return how many coalitions may be worked on at the same time."""
        each = FLOAT_BYTES * (self.trainer.floats + 4 * len(self.problem.y))
        return max(1, int(n_bytes // each))

    def scores(self, coalitions: BoolArray) -> tuple[FloatArray, BoolArray]:
        """Return the scores [b] of coalitions [b, n], and which of them are good."""
        members = members_of(coalitions, self.groups, self.trainer.least_run)
        values = np.zeros(len(members))
        good = self.trainer.regular(members, self.metric.output)
        if not good.any():
            return values, good
        chosen = members if good.all() else members.kept(good)
        predictions = self.trainer.fit_predict(chosen, self.metric.output)
        with np.errstate(invalid="ignore", over="ignore"):
            scores, sure = self.metric.score(predictions, self.problem)
        values[good] = scores
        regular = good.copy()
        good[good] = sure & np.isfinite(scores)
        unclear = regular & ~good
        if unclear.any() and self._exact is not None:
            predictions = self._exact.exact(members.kept(unclear), self.metric.output)
            with np.errstate(invalid="ignore"):
                scores, sure = self.metric.score(predictions, self.problem)
            values[unclear] = scores
            good[unclear] = sure & np.isfinite(scores)
        return values, good

    def refusals(self, coalitions: BoolArray) -> IntArray:
        """Return why scikit-learn must refuse coalitions [b, n], whatever their rows are.

        Returns
        -------
        int array [b]
            0: nothing is known against it, or it is empty; 1: too few rows; 1 + c: only c classes.
        """
        rows = coalitions if self.groups is None else coalitions[:, self.groups]
        sizes = rows.sum(axis=1)
        reasons = np.where(sizes < self.trainer.least_rows, 1, 0)
        if self.trainer.classification:
            # Without all classes there are not the probabilities that the score needs.
            labels = self.metric.output == "labels"
            least = self.trainer.least_classes if labels else self.problem.n_classes
            codes = range(self.problem.n_classes)
            present = np.sum([rows[:, self.problem.y == k].any(axis=1) for k in codes], axis=0)
            reasons = np.where((reasons == 0) & (present < least), 1 + present, reasons)
        return np.where(sizes > 0, reasons, 0)

    def refused(self, utility: ModelUtility, reason: int, coalition: BoolArray) -> float | None:
        """Return the value of all coalitions that must be refused; None if they are not.

        Parameters
        ----------
        utility : ModelUtility
            What treats errors; it may differ from that of another run in this alone.
        reason : int
            As `refusals` gives it.
        coalition : bool array [n]
            One of them, that is tried if none has been.
        """
        key = utility.on_error, reason
        if key not in self.tried:
            found = utility.evaluate(coalition[None])
            self.tried[key] = float(found.values[0]) if found.failed[0] else None
        return self.tried[key]

    @cached_property
    def _exact(self) -> ExactTrainer | None:
        """The trainer, if it has an exact way that gives scikit-learn's bits on examples."""
        trainer = self.trainer
        if isinstance(trainer, ExactTrainer) and same_bits(self.utility, trainer, self.problem):
            return trainer
        return None


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
    if utility.time_limit is not None:
        raise NotReproducedError("each coalition has a time limit of its own")
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
    return TakeOver(trainer, metric, problem, utility.train.groups, utility)


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


def same_bits(utility: ModelUtility, trainer: ExactTrainer, problem: Problem) -> bool:
    """Return whether the exact way gives scikit-learn's probabilities to the bit on examples."""
    train, scorer = utility.train, utility.scorer
    assert train is not None
    assert isinstance(scorer, SupervisedScorer)
    x, y = train.x, train.target_for(utility.model)
    x = np.ascontiguousarray(x) if isinstance(x, np.ndarray) else x
    every_second = np.zeros(len(problem.y), dtype=bool)
    for code in range(problem.n_classes):
        every_second[np.flatnonzero(problem.y == code)[::2]] = True
    for chosen in (every_second, np.ones_like(every_second)):
        rows = np.flatnonzero(chosen)
        model = clone(utility.model).fit(take_rows(x, rows), take_rows(y, rows))
        ours = trainer.exact(Members(chosen[None]), "probabilities").values[0]
        if not np.array_equal(ours.T, model.predict_proba(scorer.test.x)):
            return False
    return True


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
