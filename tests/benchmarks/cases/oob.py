"""Data-OOB on a forest that is fitted already."""

from __future__ import annotations

import numpy as np
from measure import Arrays, Case, Script
from sklearn.datasets import make_classification

from cases.common import SEED, distance_from_floor


def make(n: int, n_trees: int) -> Arrays:
    """Return rows with 10 % of the labels flipped."""
    x, y = make_classification(n, 5, n_informative=4, n_redundant=0, flip_y=0.0, random_state=SEED)
    y = np.where(np.random.default_rng(SEED).random(n) < 0.1, 1 - y, y)
    return {"x": x, "y": y, "n_trees": np.array(n_trees), "seed": np.array(SEED)}


CASE = Case(
    name="oob",
    title="Data-OOB",
    what=(
        "Data-OOB values of {n:,} generated rows (5 features, two classes, 10 % of the labels "
        "flipped) with a random forest of {n_trees} trees. Every side fits the same forest "
        "beforehand; only what comes after the fit is timed. dvl and pyDVL: "
        "`DataOOBValuation(forest)`. opendataval: `DataOob`, which is given the bags and the trees "
        f"and adds up in single precision. Floor: a loop over the trees. Seed {SEED}."
    ),
    sides=(
        Script("floor", "floor", "oob", 5),
        Script("dvl", "ours", "oob", 5),
        Script("pyDVL", "peer", "oob", 5),
        Script("opendataval", "opendataval", "oob", 5),
    ),
    size={"n": 4_000, "n_trees": 200},
    tiny={"n": 60, "n_trees": 50},
    make=make,
    check=distance_from_floor,
    reference="the floor's values",
    tolerance={"dvl": 1e-12, "pyDVL": 1e-12, "opendataval": 1e-6},
)
