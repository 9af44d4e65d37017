"""KNN-Shapley values of a million points: memory, time by test points, and the stated bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from measure import Arrays, Case, Script
from results import MemoryLimit, Target

from cases.common import SEED

TOLERANCE = 0.001
FEW = 50


def make(n: int, n_test: int) -> Arrays:
    """Return what each side makes the points from."""
    numbers = {"n": n, "n_test": n_test, "seed": SEED, "k_neighbours": 5, "tolerance": TOLERANCE}
    return {name: np.array(number) for name, number in numbers.items()}


def check(arrays: Arrays, outputs: Mapping[str, Arrays]) -> dict[str, float]:
    """Compare the sides that worked on few test points with the floor, which is exact."""
    floor = outputs["floor, exact, few"]["values"]
    return {
        label: float(np.abs(outputs[label]["values"] - floor).max())
        for label in ("dvl, few", "dvl, exact, few")
    }


def remark(outputs: Mapping[str, Arrays]) -> Sequence[str]:
    """Return the bound that the result states."""
    bound = float(outputs["dvl"]["error_bound"])
    return [f"Error bound that the result of dvl states: {bound:.1e} for each value."]


CASE = Case(
    name="knn-large",
    title="KNN-Shapley of very many points",
    what=(
        "KNN-Shapley values of {n:,} training points for {n_test:,} test points, made as those of "
        "the case above, K = 5. dvl: `KNNShapleyValuation(5, test, "
        f"tolerance={TOLERANCE})`, which looks for the nearest points only; then for half and a "
        f"quarter of the test points; few: for {FEW}; exact: with `tolerance=0`. Floor: sorts all "
        f"points. Every side makes the points itself. Seed {SEED}."
    ),
    sides=(
        Script("dvl", "ours", "knn-large", 3),
        Script("dvl, 500 test points", "ours", "knn-large", 3, {"n_test": 500}),
        Script("dvl, 250 test points", "ours", "knn-large", 3, {"n_test": 250}),
        Script("dvl, few", "ours", "knn-large", 1, {"n_test": FEW}),
        Script("dvl, exact, few", "ours", "knn-large", 1, {"n_test": FEW, "tolerance": 0.0}),
        Script("floor, exact, few", "floor", "knn-large", 1, {"n_test": FEW}),
    ),
    # Linear in the test points: four times as many take no more than four times as long.
    targets=(
        Target("dvl", "dvl, 250 test points", at_most=4.4),
        Target("dvl", "dvl, 500 test points", at_most=2.2),
    ),
    limits=(MemoryLimit("dvl", 2_048), MemoryLimit("dvl, exact, few", 2_048)),
    size={"n": 1_000_000, "n_test": 1_000},
    tiny={"n": 300, "n_test": 8},
    make=make,
    check=check,
    reference="the floor's values",
    tolerance={"dvl, few": TOLERANCE, "dvl, exact, few": 1e-12},
    remark=remark,
)
