"""Data-OOB of a million rows: memory beyond the data and the fitted forest."""

from __future__ import annotations

import numpy as np
from measure import Arrays, Case, Script
from results import MemoryLimit

from cases.common import SEED, distance_from_floor


def make(n: int, n_trees: int, max_samples: int) -> Arrays:
    """Return what each side makes the rows and the forest from."""
    numbers = {"n": n, "n_trees": n_trees, "max_samples": max_samples, "seed": SEED}
    return {name: np.array(number) for name, number in numbers.items()}


CASE = Case(
    name="oob-large",
    title="Data-OOB of very many rows",
    what=(
        "Data-OOB values of {n:,} rows (20 Gaussian features, two classes by a product and a sum, "
        "10 % of the labels flipped) with a random forest of {n_trees} trees, "
        "`max_samples={max_samples}`. Every side makes the rows and fits the forest beforehand; "
        "only what comes after the fit is measured. dvl: `DataOOBValuation(forest)`. Floor: a loop "
        f"over the trees. Seed {SEED}."
    ),
    sides=(
        Script("floor", "floor", "oob-large", 1),
        Script("dvl", "ours", "oob-large", 1),
    ),
    limits=(MemoryLimit("dvl", 2_048, beyond_inputs=True),),
    size={"n": 1_000_000, "n_trees": 200, "max_samples": 100_000},
    tiny={"n": 300, "n_trees": 50, "max_samples": 100},
    make=make,
    check=distance_from_floor,
    reference="the floor's values",
    tolerance=1e-12,
)
