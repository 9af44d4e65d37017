"""Exact KNN-Shapley values."""

from __future__ import annotations

import numpy as np
from measure import Arrays, Case, Script
from results import Target
from sides.floor import knn_points

from cases.common import SEED, distance_from_floor


def make(n: int, n_test: int) -> Arrays:
    """Return the points and the number of neighbours."""
    return {**knn_points(n, n_test, SEED), "k_neighbours": np.array(5)}


CASE = Case(
    name="knn",
    title="KNN-Shapley",
    what=(
        "Exact KNN-Shapley values of {n:,} training points for {n_test:,} test points with 32 "
        "features (Gaussian; five classes by the largest of five linear functions), K = 5. dvl: "
        "`KNNShapleyValuation(5, test)`. pyDVL: `KNNShapleyValuation(KNeighborsClassifier(5), "
        "test)`. opendataval: `KNNShapley(5)`, in single precision, for it takes no other: points "
        "at almost the same distance change places. Floor: a numpy loop over the test points with "
        f"one sort and one cumulative sum each. Seed {SEED}."
    ),
    sides=(
        Script("floor", "floor", "knn", 5),
        Script("dvl", "ours", "knn", 5),
        Script("pyDVL", "peer", "knn", 5),
        Script("opendataval", "opendataval", "knn", 5),
    ),
    targets=(Target("pyDVL", "dvl", at_least=15), Target("dvl", "floor", at_most=2)),
    size={"n": 10_000, "n_test": 500},
    tiny={"n": 20, "n_test": 4},
    make=make,
    check=distance_from_floor,
    reference="the floor's values",
    tolerance={"dvl": 1e-12, "pyDVL": 1e-12, "opendataval": 1e-4},
)
