"""The same work by opendataval 1.3, run in an environment of its own."""

from __future__ import annotations

import importlib
import sys
from typing import Any, Self
from unittest.mock import MagicMock

import numpy as np
import torch
from numpy.random import RandomState
from numpy.typing import NDArray

from sides.common import Arrays, Prepared, run_side
from sides.floor import fitted_forest

STAND_INS = (
    "geomloss",
    "torchvision",
    "torchvision.datasets",
    "torchvision.transforms",
    "torchvision.transforms.functional",
    "transformers",
)
"""Imported by modules that none of this uses; the real ones would want another torch and numpy."""


def _library(module: str) -> Any:
    """Return a module of opendataval."""
    for name in STAND_INS:
        sys.modules.setdefault(name, MagicMock())
    return importlib.import_module(f"opendataval.{module}")


def _values(values: NDArray[Any]) -> dict[str, NDArray[Any]]:
    return {"values": values.astype(float)}


class SquareRootGame:
    """Predicts the square root of the sum of the weights of the rows that it was given."""

    def __init__(self, weights: NDArray[Any], asked: list[NDArray[Any]]) -> None:
        self.weights = weights
        self.asked = asked

    def clone(self) -> Self:
        """Return a model that notes its coalition in the same list."""
        return type(self)(self.weights, self.asked)

    def fit(self, x_train: Any, y_train: Any, *_: Any, **__: Any) -> Self:
        """Note the coalition."""
        self.asked.append(x_train.indices)
        return self

    def predict(self, x: Any, *_: Any, **__: Any) -> torch.Tensor:
        """Return what the coalition is worth."""
        return torch.tensor(np.sqrt(self.weights[self.asked[-1]].sum()))


def msr(arrays: Arrays) -> Prepared:
    """Value by `DataBanzhaf`, with the game as its model and its metric."""
    weights, n_coalitions = arrays["weights"], int(arrays["n_coalitions"])
    players = torch.zeros((len(weights), 1))
    dataval = _library("dataval")

    def work() -> Any:
        asked: list[NDArray[Any]] = []
        evaluator = dataval.DataBanzhaf(n_coalitions, random_state=int(arrays["seed"]))
        evaluator.input_data(players, players, players[:1], players[:1])
        evaluator.input_model_metric(SquareRootGame(weights, asked), lambda _, worth: float(worth))
        values = evaluator.train_data_values().evaluate_data_values()
        return values, asked

    def outputs(result: Any) -> dict[str, NDArray[Any]]:
        values, asked = result
        coalitions = np.zeros((len(asked), len(weights)), dtype=bool)
        for row, subset in zip(coalitions, asked, strict=True):
            row[subset] = True
        return {**_values(values), "coalitions": coalitions}

    return Prepared(work, outputs)


def knn(arrays: Arrays) -> Prepared:
    """Value by KNN-Shapley, in single precision: it takes no other."""
    dataval = _library("dataval")
    classes = np.unique(arrays["y_train"])
    x_train, x_test = (torch.from_numpy(arrays[name]).float() for name in ("x_train", "x_test"))
    y_train, y_test = (_one_hot(arrays[name], classes) for name in ("y_train", "y_test"))

    def work() -> Any:
        evaluator = dataval.KNNShapley(int(arrays["k_neighbours"]))
        evaluator.input_data(x_train, y_train, x_test, y_test)
        return evaluator.train_data_values().evaluate_data_values()

    return Prepared(work, _values)


class GivenBags(RandomState):
    """Hands out the bags of a forest instead of drawing some."""

    def __init__(self, bags: NDArray[Any]) -> None:
        super().__init__(0)
        self.bags = bags

    def randint(self, *_: Any, **__: Any) -> NDArray[Any]:
        """Return the rows [trees, samples] in each bag."""
        return self.bags


class FittedTree:
    """A tree of a forest that is fitted already: every clone is the next one."""

    def __init__(self, forest: Any) -> None:
        self.forest = forest
        self.trees = iter(forest.estimators_)
        self.tree: Any = None

    def clone(self) -> Self:
        """Return this; the next fit is that of the next tree."""
        return self

    def fit(self, x_train: Any, y_train: Any, *_: Any, **__: Any) -> Self:
        """Take the next tree, which was fitted on these rows."""
        self.tree = next(self.trees)
        return self

    def predict(self, x: Any, *_: Any, **__: Any) -> torch.Tensor:
        """Return the predicted classes [rows, classes]."""
        predicted = self.tree.predict(x.dataset[x.indices].numpy()).astype(int)
        return _one_hot(predicted, np.arange(len(self.forest.classes_)))


def oob(arrays: Arrays) -> Prepared:
    """Value by Data-OOB with a forest that is fitted already."""
    dataval, metrics = _library("dataval"), _library("metrics")
    forest = fitted_forest(arrays)
    bags = np.stack(forest.estimators_samples_)
    x, y = torch.from_numpy(arrays["x"]), _one_hot(arrays["y"], forest.classes_)

    def work() -> Any:
        evaluator = dataval.DataOob(len(bags), random_state=GivenBags(bags))
        evaluator.input_data(x, y, x[:0], y[:0])
        evaluator.input_model_metric(FittedTree(forest), metrics.accuracy)
        return evaluator.train_data_values().evaluate_data_values()

    return Prepared(work, _values)


def _one_hot(labels: NDArray[Any], classes: NDArray[Any]) -> torch.Tensor:
    """Return labels as opendataval wants them: a column for each class."""
    return torch.from_numpy((labels[:, None] == classes).astype(np.float32))


PREPARE = {"msr": msr, "knn": knn, "oob": oob}

if __name__ == "__main__":
    run_side(PREPARE, ["opendataval", "torch", "numpy", "scipy", "scikit-learn"])
