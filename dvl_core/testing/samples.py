"""Small data, models and games that checks work with; the same in every run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core.data import Dataset

if TYPE_CHECKING:
    from dvl_core.protocols import BoolArray, FloatArray, Utility

__all__ = [
    "Recorder",
    "held_out_data",
    "model_utility",
    "sample_function",
    "sample_part",
    "train_data",
]

N_TRAIN = 12
N_TEST = 30


def train_data(seed: int = 0) -> Dataset:
    """Return twelve points of two classes that a line separates but for noise."""
    return _points(N_TRAIN, seed)


def held_out_data() -> Dataset:
    """Return thirty points from where `train_data` comes from."""
    return _points(N_TEST, 1_000)


def _points(count: int, seed: int) -> Dataset:
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    x = rng.normal(size=(count, 2)) + 1.5 * labels[:, None]
    return Dataset(x, labels)


def sample_function(coalitions: BoolArray) -> FloatArray:
    """Return the worth [b] of coalitions [b, n]: concave in the sum of different weights."""
    weights = 1.0 + np.arange(coalitions.shape[1])
    return np.asarray(np.sqrt(np.where(coalitions, weights, 0.0).sum(axis=1)))


def model_utility() -> Utility:
    """Return the accuracy of a logistic regression on `held_out_data`, bound to no players yet."""
    from sklearn.linear_model import LogisticRegression

    from dvl_core.scorers import SupervisedScorer
    from dvl_core.utilities import ModelUtility

    return ModelUtility(LogisticRegression(), SupervisedScorer("accuracy", held_out_data()))


def sample_part(name: str) -> Any:
    """Return what the kit passes for a required constructor parameter of that name.

    Raises
    ------
    KeyError
        If the kit has nothing of that name.
    """
    from sklearn.linear_model import LogisticRegression

    from dvl_core.scorers import SupervisedScorer

    makers: dict[str, Callable[[], Any]] = {
        "function": lambda: sample_function,
        "model": LogisticRegression,
        "n": lambda: N_TRAIN,
        "scorer": lambda: SupervisedScorer("accuracy", held_out_data()),
        "scoring": lambda: "accuracy",
        "stores": lambda: ["memory", "memory"],
        "test": held_out_data,
        "utility": model_utility,
    }
    return makers[name]()


class Recorder:
    """A function of coalitions that keeps what it is asked.

    Parameters
    ----------
    function : callable
        Bool array [b, n] to float array [b].
    """

    def __init__(self, function: Callable[[BoolArray], FloatArray]) -> None:
        self.function = function
        self.batches: list[BoolArray] = []

    def __call__(self, coalitions: BoolArray) -> FloatArray:
        """Return the worth of each coalition."""
        self.batches.append(np.array(coalitions))
        return self.function(coalitions)
