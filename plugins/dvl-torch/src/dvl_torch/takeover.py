"""From the utility of a net to what scores coalitions all at once, or the reason against."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone

from dvl_batched.metrics import METRICS, Metric
from dvl_batched.predictions import Predictions, class_predictions
from dvl_batched.problem import NotReproducedError, Problem
from dvl_core import SupervisedScorer
from dvl_core.errors import UtilityError
from dvl_core.tensors import torch_module
from dvl_core.threads import single_threaded
from dvl_core.utilities import ModelUtility
from dvl_torch.estimators import TorchClassifier, TorchRegressor
from dvl_torch.stack import Stack

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dvl_core import Dataset
    from dvl_core.protocols import BoolArray, FloatArray, IntArray

__all__ = ["TakeOver", "check_by_example", "lacks_seed", "take_over"]

NUMBER_BYTES = 8
EXAMPLE_SHARES = (1.0, 0.8, 0.6, 0.4, 0.2)
ROUNDING = {"float64": 1e-6, "float32": 1e-3}
"""By how much a score may differ, relative to max(1, |score|)."""
NOISE = {"float64": 1e-9, "float32": 1e-4}
"""Error of an output relative to the largest: what rounding may grow to while a net is trained."""
LAST_DIGITS = 1e-15
SHIFT = {"float64": 1e-8, "float32": 1e-5}
MOST_AMPLIFIED = {"float64": 1e5, "float32": 1e3}
"""By how much a training may magnify a change of its beginning, so that rounding stays noise."""


@dataclass(frozen=True, eq=False)
class TakeOver:
    """Everything that is needed to score coalitions, prepared once.

    Parameters
    ----------
    stack : Stack
        Trains and predicts.
    metric : Metric
        Scores.
    problem : Problem
        Targets as numbers, and the test rows as a table.
    groups : int array [m], optional
        Player that owns each row; None: the rows are the players.
    all_classes : bool
        Whether coalitions that lack a class are refused.
    """

    stack: Stack
    metric: Metric
    problem: Problem
    groups: IntArray | None
    all_classes: bool

    def chunk(self, n_bytes: float) -> int:
        """Return how many coalitions may be worked on at the same time."""
        outputs = 4 * len(self.problem.y_test) * max(1, self.problem.n_classes)
        return max(1, int(n_bytes // (NUMBER_BYTES * (self.stack.floats + outputs))))

    def scores(self, coalitions: BoolArray) -> tuple[FloatArray, BoolArray]:
        """Return the scores [b] of coalitions [b, n], and which of them are good."""
        rows = self._rows(coalitions)
        values = np.zeros(len(rows))
        good = rows.any(axis=1) & ~self._lacks_classes(rows)
        if not good.any():
            return values, good
        predictions = self._predictions(rows[good])
        with np.errstate(invalid="ignore", over="ignore"):
            scores, sure = self.metric.score(predictions, self.problem)
        values[good] = scores
        good[good] = sure & np.isfinite(scores)
        return values, good

    def amplification(self, coalitions: BoolArray) -> float:
        """Return by how much training magnifies a small change of the initial parameters."""
        rows = self._rows(coalitions)
        shift = SHIFT[self.stack.model.dtype]
        (before, _), (after, _) = self.stack.outputs(rows), self.stack.outputs(rows, shift)
        scales = np.maximum(1.0, np.abs(before).max(axis=(1, 2)))
        return float((np.abs(after - before).max(axis=(1, 2)) / scales).max() / shift)

    def _rows(self, coalitions: BoolArray) -> BoolArray:
        return coalitions if self.groups is None else coalitions[:, self.groups]

    def _lacks_classes(self, rows: BoolArray) -> BoolArray:
        if not self.all_classes:
            return np.zeros(len(rows), dtype=bool)
        y, count = self.problem.y, self.problem.n_classes
        present = [rows[:, y == code].any(axis=1) for code in range(count)]
        return np.asarray(~np.all(present, axis=0))

    def _predictions(self, rows: BoolArray) -> Predictions:
        outputs, sure = self.stack.outputs(rows)
        outputs[~sure] = 0.0
        if self.metric.output == "numbers":
            return Predictions(outputs[:, :, 0], sure)
        scores = np.ascontiguousarray(outputs.transpose(0, 2, 1))
        largest = np.abs(outputs).max(axis=(1, 2))
        noise = NOISE[self.stack.model.dtype] * np.maximum(1.0, largest)
        if self.metric.output == "labels":
            return class_predictions(scores, noise, sure, "labels", ranked_by_probability=True)
        found = class_predictions(
            scores, np.zeros(len(noise)), sure, "probabilities", ranked_by_probability=True
        )
        if self.metric.output == "probabilities":
            return found
        ranked = found.values[:, 1]
        # A probability hardly moves with the outputs where it is nearly one, but it is rounded.
        margin = 2 * noise[:, None] * ranked * (1 - ranked) + LAST_DIGITS * ranked
        return Predictions(ranked, sure, margin)


def lacks_seed(model: Any) -> bool:
    """Return whether two fits of a net may differ because ``random_state`` is none yet."""
    if type(model) not in (TorchClassifier, TorchRegressor) or model.random_state is not None:
        return False
    return model.n_batches != 1 or not isinstance(model.module, torch_module().nn.Module)


def take_over(utility: ModelUtility, device: str | None) -> TakeOver:
    """Prepare the evaluation of all coalitions of a bound utility.

    Parameters
    ----------
    utility : ModelUtility
        With its players.
    device : str, optional
        Where to train. Default: where the model does.

    Raises
    ------
    NotReproducedError
        If the model, an option of it, the score or the data cannot be taken over.
    """
    if utility.train is None:
        raise NotReproducedError("the utility has no players yet")
    if utility.time_limit is not None:
        raise NotReproducedError("each coalition has a time limit of its own")
    scorer, model = utility.scorer, utility.model
    if type(scorer) is not SupervisedScorer or not isinstance(scorer.scoring, str):
        raise NotReproducedError("the scorer is no SupervisedScorer with the name of a metric")
    metric = METRICS.get(scorer.scoring)
    if metric is None:
        raise NotReproducedError(f"the score {scorer.scoring!r} is not reproduced")
    if type(model) not in (TorchClassifier, TorchRegressor):
        raise NotReproducedError(f"a {type(model).__name__} is trained in its own way")
    if (metric.output == "numbers") is not (type(model) is TorchRegressor):
        raise NotReproducedError(f"{scorer.scoring} of a {type(model).__name__} is not reproduced")
    if lacks_seed(model):
        raise NotReproducedError("random_state is None: give one, or call with_seed")
    moved = clone(model)
    moved.device = device or model.device
    try:
        return _prepared(moved, metric, utility.train, scorer.test)
    except NotReproducedError:
        raise
    except Exception as error:
        raise NotReproducedError(f"the net cannot be taken over: {error}") from error


def _prepared(model: Any, metric: Metric, train: Dataset, test: Dataset) -> TakeOver:
    x, x_test = model.features_of(train.x), model.features_of(test.x)
    if train.y.ndim != 1 or test.y.ndim != 1:
        raise NotReproducedError("there is more than one target")
    if type(model) is TorchRegressor:
        y, y_test, n_classes = train.y.astype(model.dtype), test.y.astype(float), 0
    else:
        y, y_test, n_classes = _codes(model, train.y, test.y)
    problem = Problem(
        np.empty((len(x), 0)),
        y,
        np.asarray(x_test, dtype=float).reshape(len(x_test), -1),
        y_test,
        n_classes,
    )
    metric.check(problem)
    stack = Stack(model, x, y, x_test)
    all_classes = type(model) is TorchClassifier and model.classes is None
    return TakeOver(stack, metric, problem, train.groups, all_classes)


def _codes(
    model: TorchClassifier, y: NDArray[Any], y_test: NDArray[Any]
) -> tuple[IntArray, IntArray, int]:
    """Return targets as numbers of classes: first the model's, then those of test rows alone."""
    classes, codes = model.classes_and_codes(y)
    if len(classes) < 2:
        raise NotReproducedError("there is a single class")
    if (y.dtype.kind in "US") != (y_test.dtype.kind in "US"):
        raise NotReproducedError("the labels of training and test data are of different kinds")
    unknown = np.setdiff1d(y_test, classes)
    everything = np.concatenate([classes, unknown])
    order = np.argsort(everything, kind="stable")
    codes_test = order[np.searchsorted(everything, y_test, sorter=order)]
    return codes, codes_test.astype(np.int64), len(classes)


def check_by_example(utility: ModelUtility, prepared: TakeOver) -> None:
    """Compare a few coalitions, those of all sizes that work, with the model trained by itself.

    It finds what the options do not tell: nets and losses that mix rows, trainings in which
    rounding grows, versions of torch that compute something else.

    Raises
    ------
    NotReproducedError
        If a score differs by more than rounding, or if none of the coalitions can be evaluated at
        once.
    """
    # As in a run; more threads would only be in each other's way.
    with single_threaded():
        try:
            _compare(utility, prepared)
        except NotReproducedError:
            raise
        except Exception as error:
            raise NotReproducedError(f"torch cannot stack the net: {error}") from error


def _compare(utility: ModelUtility, prepared: TakeOver) -> None:
    assert utility.train is not None
    n = len(utility.train)
    rng = np.random.default_rng(0)
    coalitions = np.array([rng.permutation(n) < round(share * n) for share in EXAMPLE_SHARES])
    values, good = prepared.scores(coalitions)
    if not good.any():
        raise NotReproducedError("none of the coalitions that were tried can be taken over")
    if not prepared.amplification(coalitions[good]) <= MOST_AMPLIFIED[prepared.stack.model.dtype]:
        raise NotReproducedError("the training magnifies rounding: lower learning_rate")
    tolerance = ROUNDING[prepared.stack.model.dtype]
    for coalition, value in zip(coalitions[good], values[good], strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                evaluation = utility.evaluate(coalition[None])
            except UtilityError as error:
                raise NotReproducedError(f"the net by itself fails: {error}") from error
        expected = float(evaluation.values[0])
        if evaluation.failed[0] or abs(value - expected) > tolerance * max(1.0, abs(expected)):
            raise NotReproducedError(
                f"the net by itself scores {expected:g}, not {value:g}, for {coalition.sum()} of "
                f"{n} players"
            )
