"""Utilities whose models go on from the last fit while a coalition grows: another game."""

from __future__ import annotations

import inspect
import math
from contextlib import ExitStack, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from sklearn import config_context

from dvl_batched.members import run_starts
from dvl_core.data import take_rows
from dvl_core.errors import InvalidOptionError
from dvl_core.protocols import Evaluation
from dvl_core.utilities import ModelUtility
from dvl_core.utilities.degenerate import predicts_labels
from dvl_core.utilities.fingerprint import fingerprint_object, fingerprint_of
from dvl_core.utilities.torch_models import torch_seeded
from dvl_core.utilities.wrapper import ModelUtilityWrapper

if TYPE_CHECKING:
    from dvl_core.protocols import BoolArray, IntArray

__all__ = ["WarmStartUtility"]

By = Literal["partial_fit", "warm_start"]
STARTING_POINTS = ("coef_", "coefs_", "module_")
"""What a model that can go on from its last fit has learned."""


class WarmStartUtility(ModelUtilityWrapper):
    """A `ModelUtility` whose models go on from the last fit along a chain of coalitions.

    It is **another game**: what a coalition is worth depends on the order in which its players
    joined, and on how often the model was updated. Nobody gets it without asking, its fingerprint
    is its own, and a store answers whole batches of it only. In each batch, a coalition that
    properly contains the one before it goes on from the model of that one; any other starts
    afresh, and so does one after a failure. With ``partial_fit``, one pass over each point in the
    order of a permutation, it is in the spirit of Gradient Shapley.

    Parameters
    ----------
    utility : ModelUtility
        What to fit and score. Failures are treated as it does.
    by : {"partial_fit", "warm_start"}, optional
        "partial_fit": learn from the rows that are new, with all classes of the training data
        announced. "warm_start": fit all rows again from the last coefficients; afresh where a
        class joins. None: "warm_start" if the model asks for it or has nothing else.

    Raises
    ------
    InvalidOptionError
        If `utility` is no `ModelUtility`, or its model cannot go on from a fit in this way. That
        of a model that only adds parts to itself (trees, for instance) shows with its first fit.

    References
    ----------
    Ghorbani & Zou (2019), Data Shapley: Equitable valuation of data for machine learning,
    algorithm 2.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import SGDClassifier
    >>> from dvl_core import Dataset, SupervisedScorer
    >>> train, test = Dataset.from_sklearn(load_iris(), train_size=0.6, random_state=0)
    >>> model = SGDClassifier(random_state=0)
    >>> utility = WarmStartUtility(ModelUtility(model, SupervisedScorer("accuracy", test)))
    >>> chain = utility.with_data(train)(np.tri(90, dtype=bool))
    >>> bool(chain[-1] > 0.5)
    True
    """

    batch_invariant: ClassVar[bool] = False
    """The value of a coalition depends on those before it in the batch."""

    def __init__(self, utility: ModelUtility, *, by: By | None = None) -> None:
        super().__init__(utility)
        self.by: By = _way_of(utility.model, by)

    def __repr__(self) -> str:
        return f"WarmStartUtility({self.utility!r}, by={self.by!r})"

    @property
    def fingerprint(self) -> str | None:
        """Digest that tells it from the utility it wraps; None if that has none."""
        own = fingerprint_object(("WarmStartUtility", self.by))
        return fingerprint_of(own, self.utility.fingerprint)

    def evaluate(self, coalitions: BoolArray) -> Evaluation:
        """Compute utilities, and tell which of them are stand-ins for failures.

        Parameters and errors are those of calling the utility; the store is not used.
        """
        return _Chains(self.utility, self.by).evaluate(coalitions)


class _Chains(ModelUtility):
    """Fits, scores and excuses as a `ModelUtility`, but goes on where coalitions are nested."""

    def __init__(self, utility: ModelUtility, by: By) -> None:
        self.__dict__.update(utility.__dict__)
        self.by = by

    def evaluate(self, coalitions: BoolArray) -> Evaluation:
        """Compute utilities, and tell which of them are stand-ins for failures."""
        train, coalitions = self._checked(coalitions)
        values = np.full(len(coalitions), np.nan)
        failed = np.zeros(len(coalitions), dtype=bool)
        starts = set(run_starts(coalitions).tolist()) if len(coalitions) else set()
        model, learned = None, np.zeros(0, dtype=np.int64)
        with ExitStack() as context:
            for i, coalition in enumerate(coalitions):
                rows = train.rows(coalition)
                if i in starts or model is None:
                    model, learned = None, rows[:0]
                new = np.setdiff1d(rows, learned, assume_unique=True)
                if len(rows) == 0:
                    values[i], failed[i] = self.scorer.default, True
                    continue
                if len(new) == 0:
                    # Players without rows.
                    values[i] = values[i - 1]
                    continue
                try:
                    model = self._learned(model, rows, new)
                    values[i] = self._score(model)
                except (MemoryError, InvalidOptionError):
                    raise
                except Exception as error:
                    model = None
                    self._check_excused(coalition, rows, error)
                    values[i], failed[i] = self.scorer.default, True
                else:
                    if len(learned) == 0:
                        # What was accepted once is not checked again.
                        context.enter_context(config_context(skip_parameter_validation=True))
                    learned = rows
        return Evaluation(values, failed)

    def _learned(self, model: Any, rows: IntArray, new: IntArray) -> Any:
        """Return the model after it has learned from these rows, some of which are new."""
        y = take_rows(self._y, rows)
        if self.by == "warm_start" and model is not None and hasattr(model, "classes_"):
            model = model if np.array_equal(np.unique(y), model.classes_) else None
        if model is None:
            model = self._copy_model(self.model)
        with nullcontext() if self._torch_seed is None else torch_seeded(self._torch_seed):
            if self.by == "partial_fit":
                model.partial_fit(take_rows(self._x, new), take_rows(self._y, new), **self._known)
                return model
            if not model.warm_start:
                model.set_params(warm_start=True)
            model.fit(take_rows(self._x, rows), y)
        if not any(hasattr(model, name) for name in STARTING_POINTS):
            raise InvalidOptionError(
                f"the warm start of {type(model).__name__} does not go on from coefficients, so "
                "new rows would not be learned: use ModelUtility itself"
            )
        return model

    @property
    def _known(self) -> dict[str, Any]:
        """What ``partial_fit`` is told besides the rows: all classes, if it asks for them."""
        assert self.train is not None
        asked = "classes" in inspect.signature(self.model.partial_fit).parameters
        labelled = asked and predicts_labels(self.model, self.train.y)
        return {"classes": np.unique(self.train.y)} if labelled else {}

    def _score(self, model: Any) -> float:
        """Return the score of a fitted model."""
        with nullcontext() if self._torch_seed is None else torch_seeded(self._torch_seed):
            score = float(self.scorer(model))
        if not math.isfinite(score):
            raise ArithmeticError(f"the scorer returned {score}")
        return score


def _way_of(model: Any, by: By | None) -> By:
    """Return how a model goes on from a fit, or say why it cannot."""
    ways: dict[By, bool] = {
        "partial_fit": callable(getattr(model, "partial_fit", None)),
        "warm_start": hasattr(model, "warm_start"),
    }
    name = type(model).__name__
    if not any(ways.values()):
        raise InvalidOptionError(
            f"{name} has neither partial_fit nor warm_start, so it cannot go on from an earlier "
            "fit: use ModelUtility itself"
        )
    if by is None:
        asked = getattr(model, "warm_start", False) or not ways["partial_fit"]
        return "warm_start" if asked else "partial_fit"
    if by not in ways:
        raise InvalidOptionError(f"by must be one of {', '.join(ways)}, got {by!r}")
    if not ways[by]:
        raise InvalidOptionError(f"{name} has no {by}: leave `by` out")
    return by
