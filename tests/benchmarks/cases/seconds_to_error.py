"""Seconds to a relative squared error of a tenth, models trained and all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from accuracy import Entrant, PlayedGame
from references import shapley_reference
from seconds import SecondsCase
from sides.common import Arrays
from sklearn.linear_model import LogisticRegression

from cases.estimators import REFERENCES, breast_cancer
from dvl_batched import batched
from dvl_core import Dataset, ModelUtility, SupervisedScorer

THRESHOLD = 0.1
OURS = "models, default"


def make(folder: Path) -> tuple[Arrays, float]:
    """Return the data with values by very many permutations."""
    arrays = dict(breast_cancer(100, 200, 0))
    share = arrays["y_test"].mean()
    arrays["default"] = np.array(max(share, 1 - share))
    scorer = SupervisedScorer(
        "accuracy", Dataset(arrays["x_test"], arrays["y_test"]), default=float(arrays["default"])
    )
    utility = ModelUtility(LogisticRegression(), scorer)
    utility = utility.with_data(Dataset(arrays["x_train"], arrays["y_train"]))
    values, error = shapley_reference("models", batched(utility), arrays, 1_000_000, folder)
    return {**arrays, "truth": values}, error


CASE = SecondsCase(
    name="seconds-to-error",
    title="Seconds to an error",
    what=(
        "Data Shapley of 100 rows: accuracy of scikit-learn's `LogisticRegression()` on 200 test "
        "points of its breast cancer data, the first 10 features, standardised, a tenth of the "
        "training labels flipped. dvl: `DataShapleyValuation` of a `ModelUtility` with its default "
        "sampler, and with permutations; dvl-batched trains the coalitions of a block "
        "together. pyDVL: `ShapleyValuation` with `ModelUtility` and its two best samplers. One "
        "process and one BLAS thread. Seconds are medians over seeds of the whole fit, errors "
        f"relative squared errors, means over seeds; the seconds to {THRESHOLD} are interpolated."
    ),
    game=PlayedGame(
        title="Logistic regression",
        what="",
        kind="logistic",
        n=100,
        make=make,
        multiples=(25, 50, 100, 200, 300, 400),
        seeds=5,
        entrants=[
            Entrant("dvl", OURS, 5, (25, 50, 100, 200)),
            Entrant("dvl", "models, permutation", 5, (50, 100, 200, 400)),
            Entrant("pyDVL", "models, antithetic permutation", 3, (100, 300)),
            Entrant("pyDVL", "models, VRDS", 3, (100, 300)),
        ],
        bounds=[],
    ),
    threshold=THRESHOLD,
    ours=OURS,
    at_least=60,
    references=REFERENCES,
)
