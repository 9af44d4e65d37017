"""Data Shapley of a hundred thousand rows with a model: memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from measure import Arrays, Case, Script
from results import MemoryLimit

from cases.common import SEED


def make(n: int, n_test: int, n_evaluations: int) -> Arrays:
    """Return what the side makes the rows from."""
    numbers = {"n": n, "n_test": n_test, "n_evaluations": n_evaluations, "seed": SEED}
    return {name: np.array(number) for name, number in numbers.items()}


def check(arrays: Arrays, outputs: Mapping[str, Arrays]) -> dict[str, float]:
    """Return how far the values are from adding up; NaN where a standard error is no number."""
    gaps = {}
    for label, side in outputs.items():
        usable = bool(np.isfinite(side["stderr"]).all() and (side["stderr"] > 0).all())
        gap = abs(float(side["values"].sum() - side["to_share"]))
        gaps[label] = gap if usable else float("nan")
    return gaps


def remark(outputs: Mapping[str, Arrays]) -> Sequence[str]:
    """Return how large values and their standard errors are."""
    values, errors = (
        float(np.sqrt(np.square(outputs["dvl"][name]).mean())) for name in ("values", "stderr")
    )
    return [
        f"Evaluations: {int(outputs['dvl']['n_evaluations']):,}. Root mean square of the values "
        f"{values:.1e}, of the standard errors that the result states {errors:.1e}: so few "
        "evaluations tell little of a single player."
    ]


CASE = Case(
    name="many-players",
    title="Very many players",
    what=(
        "Data Shapley of {n:,} rows (10 Gaussian features, two classes by a sum, a tenth of the "
        "labels flipped): accuracy of `NearestCentroid()` on {n_test} test points, at most "
        "{n_evaluations:,} evaluations in whole blocks. dvl: `DataShapleyValuation` of a "
        "`ModelUtility` with its default sampler, which for so many players fits a function of the "
        f"size alone; dvl-batched trains the coalitions of a block together. Seed {SEED}."
    ),
    sides=(Script("dvl", "ours", "many-players", 3),),
    limits=(MemoryLimit("dvl", 4_096),),
    size={"n": 100_000, "n_test": 200, "n_evaluations": 2_000},
    tiny={"n": 2_500, "n_test": 20, "n_evaluations": 600},
    make=make,
    check=check,
    reference="what there is to share, of the sum of the values",
    tolerance=1e-9,
    remark=remark,
)
