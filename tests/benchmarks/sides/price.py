"""One model evaluated on the same coalitions by a plain loop and by dvl, many at once."""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import get_scorer
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, NearestCentroid

from dvl_batched import batched
from dvl_core import Dataset, ModelUtility, SupervisedScorer
from sides.common import Arrays, versions_of

COALITIONS_A_BLOCK = 64
TORCH_FEATURES = 20

Evaluate = Callable[[NDArray[np.bool_]], NDArray[np.float64]]

MODELS: dict[str, Callable[[], Any]] = {
    "LogisticRegression, 2 classes": LogisticRegression,
    "LogisticRegression, 3 classes": LogisticRegression,
    "Ridge": Ridge,
    "GaussianNB": GaussianNB,
    "NearestCentroid": NearestCentroid,
    "KNeighborsClassifier": KNeighborsClassifier,
    "KNeighborsRegressor": KNeighborsRegressor,
    "KernelRidge, rbf": lambda: KernelRidge(kernel="rbf"),
    "LinearDiscriminantAnalysis": LinearDiscriminantAnalysis,
    "TorchClassifier, MLP 20-16-2": lambda: torch_classifier(),
}


def torch_classifier() -> Any:
    """Return a small net: 50 steps of Adam, all rows in each."""
    from torch import nn

    from dvl_torch import TorchClassifier

    def net() -> Any:
        return nn.Sequential(nn.Linear(TORCH_FEATURES, 16), nn.ReLU(), nn.Linear(16, 2))

    return TorchClassifier(
        net, optimizer="adam", learning_rate=0.01, epochs=50, classes=[0, 1], random_state=0
    )


def ways(model: str, targets: str, score: str, arrays: Arrays) -> tuple[Evaluate, Evaluate]:
    """Return the plain loop and the utility that trains many models at once."""
    x_train, x_test = arrays["x_train"], arrays["x_test"]
    y_train, y_test = arrays[f"{targets}_train"], arrays[f"{targets}_test"]
    if model.startswith("TorchClassifier"):
        from dvl_torch import stacked as together

        x_train, x_test = x_train[:, :TORCH_FEATURES], x_test[:, :TORCH_FEATURES]
    else:
        together = batched
    estimator, scorer = MODELS[model](), get_scorer(score)
    default = 0.0

    def alone(coalitions: NDArray[np.bool_]) -> NDArray[np.float64]:
        scores = np.full(len(coalitions), default)
        for place, members in enumerate(coalitions):
            rows = np.flatnonzero(members)
            try:
                fitted = clone(estimator).fit(x_train[rows], y_train[rows])
                scores[place] = scorer(fitted, x_test, y_test)
            except ValueError:  # lacks a class, or has too few rows
                continue
        return scores

    test = Dataset(x_test, y_test)
    plain = ModelUtility(estimator, SupervisedScorer(score, test, default=default))
    bound = plain.with_data(Dataset(x_train, y_train))
    utility = together(bound)
    if utility is bound:
        raise RuntimeError(f"{model} is not taken over")
    return alone, utility


def timed(
    first: Evaluate, second: Evaluate, coalitions: NDArray[np.bool_], rounds: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return seconds [2, rounds] and scores [2, b]; the two take turns block by block."""
    starts = range(0, len(coalitions), COALITIONS_A_BLOCK)
    blocks = [coalitions[start : start + COALITIONS_A_BLOCK] for start in starts]
    both = (first, second)
    for evaluate in both:
        evaluate(blocks[0])
    seconds = np.zeros((2, rounds))
    scores: list[list[NDArray[np.float64]]] = [[], []]
    for number in range(rounds):
        for place, block in enumerate(blocks):
            for which in (0, 1) if (place + number) % 2 == 0 else (1, 0):
                start = time.perf_counter()
                found = both[which](block)
                seconds[which, number] += time.perf_counter() - start
                if number == 0:
                    scores[which].append(found)
    return seconds, np.array([np.concatenate(found) for found in scores])


def main() -> None:
    """Serve ``FOLDER``: time the model of the job that lies there."""
    folder = Path(sys.argv[1])
    job = json.loads((folder / "job.json").read_text())
    with np.load(folder / "inputs.npz", allow_pickle=False) as inputs:
        arrays = dict(inputs)
    warnings.simplefilter("ignore")
    alone, together = ways(job["model"], job["targets"], job["score"], arrays)
    seconds, scores = timed(alone, together, arrays["coalitions"], job["rounds"])
    packages = ["dvl-core", "numpy", "scipy", "scikit-learn"]
    if "torch" in sys.modules:
        packages.append("torch")
    outputs = {
        "alone": seconds[0].tolist(),
        "together": seconds[1].tolist(),
        "gaps": np.abs(scores[0] - scores[1]).tolist(),
        "versions": versions_of(packages),
    }
    (folder / "outputs.json").write_text(json.dumps(outputs))


if __name__ == "__main__":
    main()
