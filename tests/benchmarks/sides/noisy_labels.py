"""Values of rows of which a fifth has a wrong label, by dvl, and how well they tell which."""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from detection import BoolArray, flip, scores
from numpy.typing import NDArray
from sklearn.ensemble import BaggingClassifier, GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from dvl_banzhaf import DataBanzhafValuation, MSRSampler
from dvl_core import Dataset, MaxEvaluations, ModelUtility, SerialBackend, SupervisedScorer
from dvl_knn import KNNShapleyValuation
from dvl_oob import DataOOBValuation
from dvl_random import RandomValuation
from dvl_shapley import DataShapleyValuation, LeastSquaresSampler
from sides.common import versions_of

N_TRAIN, N_NOISY, N_CLEAN = 1_000, 100, 500
SHARE = 0.2


class Task(NamedTuple):
    """Rows to value, which of them have a wrong label, and rows to validate with."""

    train: Dataset
    wrong: BoolArray
    noisy: Dataset
    clean: Dataset
    seed: int


def draw(x: NDArray[Any], y: NDArray[Any], seed: int) -> Task:
    """Return training rows and validation rows; `noisy` are the first of `clean`, some flipped."""
    x = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-8)
    rng = np.random.default_rng(seed)
    train, validation = np.split(rng.permutation(len(x))[: N_TRAIN + N_CLEAN], [N_TRAIN])
    labels, wrong = flip(y[train], SHARE, rng)
    few = validation[:N_NOISY]
    return Task(
        Dataset(x[train], labels),
        wrong,
        Dataset(x[few], flip(y[few], SHARE, rng)[0]),
        Dataset(x[validation], y[validation]),
        seed,
    )


@dataclass(frozen=True)
class Method:
    """How to value, and for how many seeds; `data` are the only files that it is for, if any."""

    seeds: int
    valuation: Callable[[Task], Any]
    data: tuple[str, ...] = ()


def utility(task: Task) -> ModelUtility:
    """Return the accuracy of logistic regression on the noisy validation rows."""
    return ModelUtility(LogisticRegression(), SupervisedScorer("accuracy", task.noisy, default=0.5))


def knn(k_neighbours: int, validation: str) -> Callable[[Task], Any]:
    """Return a maker of KNN-Shapley."""
    return lambda task: KNNShapleyValuation(
        k_neighbours, getattr(task, validation), backend=SerialBackend()
    )


def oob(model: Any) -> Callable[[Task], Any]:
    """Return a maker of Data-OOB with an ensemble."""
    return lambda task: DataOOBValuation(model, seed=task.seed, backend=SerialBackend())


def banzhaf(p: float, n_evaluations: int) -> Callable[[Task], Any]:
    """Return a maker of Banzhaf values by maximum sample reuse."""
    return lambda task: DataBanzhafValuation(
        utility(task),
        MSRSampler(),
        MaxEvaluations(n_evaluations),
        p=p,
        seed=task.seed,
        backend=SerialBackend(),
    )


def shapley(n_evaluations: int) -> Callable[[Task], Any]:
    """Return a maker of Shapley values by least squares."""
    return lambda task: DataShapleyValuation(
        utility(task),
        LeastSquaresSampler(),
        MaxEvaluations(n_evaluations),
        seed=task.seed,
        backend=SerialBackend(),
    )


BOOSTED = GradientBoostingClassifier(n_estimators=200, learning_rate=0.05)
METHODS = {
    "random": Method(25, lambda task: RandomValuation(seed=task.seed)),
    "knn-100": Method(25, knn(100, "noisy")),
    "knn-10": Method(25, knn(10, "noisy")),
    "knn-5-clean": Method(25, knn(5, "clean")),
    "oob-logistic": Method(5, oob(BaggingClassifier(LogisticRegression(), n_estimators=1_000))),
    "oob-forest": Method(5, oob(RandomForestClassifier(500))),
    "oob-leaves": Method(5, oob(RandomForestClassifier(500, min_samples_leaf=5))),
    "oob-boosted": Method(3, oob(BaggingClassifier(BOOSTED, n_estimators=60)), ("pol",)),
    "banzhaf": Method(3, banzhaf(0.5, 1_024)),
    "banzhaf-small": Method(3, banzhaf(0.03, 2_048)),
    "shapley": Method(3, shapley(5_056)),
}


def figures(
    name: str, x: NDArray[Any], y: NDArray[Any], most_seeds: int | None = None
) -> dict[str, dict[str, list[float]]]:
    """Return the scores over seeds of all methods for the data set of that name, by metric."""
    found: dict[str, dict[str, list[float]]] = {}
    for key, method in METHODS.items():
        if method.data and name not in method.data:
            continue
        sample = defaultdict(list)
        for seed in range(min(method.seeds, most_seeds or method.seeds)):
            task = draw(x, y, seed)
            values = method.valuation(task).fit(task.train).result.values
            for metric, score in scores(values, task.wrong).items():
                sample[metric].append(score)
        found[key] = dict(sample)
    return found


if __name__ == "__main__":
    file, folder = Path(sys.argv[1]), Path(sys.argv[2])
    start = time.perf_counter()
    with np.load(file, allow_pickle=False) as arrays:
        found = figures(file.stem, arrays["X"].astype(float), arrays["y"], *map(int, sys.argv[3:]))
    outputs = {
        "figures": found,
        "seconds": time.perf_counter() - start,
        "versions": versions_of(["dvl-core", "numpy", "scipy", "scikit-learn"]),
    }
    (folder / "outputs.json").write_text(json.dumps(outputs))
