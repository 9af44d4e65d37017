"""What every scorer must do.

Each check takes a factory; the scorer judges binary classifiers of two features, on the test data
that the kit passes as ``test`` if the constructor asks for it.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core.testing.requirements import pickled_copy, require
from dvl_core.testing.samples import held_out_data

if TYPE_CHECKING:
    from dvl_core.protocols import Scorer

__all__ = [
    "check_scorer_default",
    "check_scorer_deterministic",
    "check_scorer_finite",
    "check_scorer_larger_is_better",
    "check_scorer_leaves_model_alone",
    "check_scorer_pickles",
]

MakeScorer = Callable[[], "Scorer"]


def _fitted(flip: bool = False) -> Any:
    """Return a classifier, fitted to the labels of the test data or to their opposite."""
    from sklearn.linear_model import LogisticRegression

    data = held_out_data()
    return LogisticRegression().fit(data.x, 1 - data.y if flip else data.y)


def check_scorer_default(make: MakeScorer) -> None:
    """Have a finite number as the default, the same each time."""
    scorer = make()
    default = scorer.default
    require(
        isinstance(default, float | int | np.floating) and math.isfinite(default),
        f"the default must be a finite number, got {default!r}",
    )
    require(scorer.default == default, "the default changes from one reading to the next")
    require(make().default == default, "two scorers made alike have different defaults")


def check_scorer_finite(make: MakeScorer) -> None:
    """Give a finite number for a fitted model."""
    score = make()(_fitted())
    require(
        isinstance(score, float | int | np.floating) and math.isfinite(score),
        f"the score of a fitted model must be a finite number, got {score!r}",
    )


def check_scorer_larger_is_better(make: MakeScorer) -> None:
    """Give a model that knows the test labels more than one that knows their opposite."""
    scorer = make()
    right, wrong = scorer(_fitted()), scorer(_fitted(flip=True))
    require(right > wrong, f"a model fitted to the labels has {right}, to wrong ones {wrong}")
    require(
        right > scorer.default,
        f"a model fitted to the labels has {right}, the default {scorer.default} is not less",
    )


def check_scorer_deterministic(make: MakeScorer) -> None:
    """Give the same model the same score, whatever was scored in between."""
    scorer = make()
    model = _fitted()
    first = scorer(model)
    scorer(_fitted(flip=True))
    require(scorer(model) == first, "the same model has another score the second time")


def check_scorer_leaves_model_alone(make: MakeScorer) -> None:
    """Leave the model as it was."""
    model = _fitted()
    before = pickle.dumps(model)
    make()(model)
    require(pickle.dumps(model) == before, "scoring changed the model")


def check_scorer_pickles(make: MakeScorer) -> None:
    """Give the same scores in a pickled copy, as workers use it."""
    scorer = make()
    copy = pickled_copy(scorer)
    same = copy(_fitted()) == scorer(_fitted()) and copy.default == scorer.default
    require(same, "a pickled copy gives other scores")
