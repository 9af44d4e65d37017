"""What the engine adds to the price of training: permutation Shapley against a plain loop."""

from __future__ import annotations

import numpy as np
from measure import Arrays, Case, Script
from results import Target
from sides.ours import drawn_permutations
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler

from cases.common import SEED, distance_from_floor


def make(n: int, n_permutations: int) -> Arrays:
    """Return the data, and the permutations that dvl follows, for the others to follow too."""
    x, y = load_breast_cancer(return_X_y=True)
    order = np.random.default_rng(SEED).permutation(len(y))
    x, y = StandardScaler().fit_transform(x)[order], y[order]
    return {
        "x_train": x[:n],
        "y_train": y[:n],
        "x_test": x[n:],
        "y_test": y[n:],
        "permutations": drawn_permutations(n, n_permutations, SEED),
        "default": np.array(0.5),
        "seed": np.array(SEED),
    }


CASE = Case(
    name="engine",
    title="Overhead of the engine",
    what=(
        "Shapley values of {n} rows of scikit-learn's breast cancer data (30 features, "
        "standardised, the other rows are the test set), {n_permutations} permutations, accuracy "
        "of `LogisticRegression()`: one fit per proper prefix of a permutation and one on all "
        "rows. dvl: `DataShapleyValuation` with `PermutationSampler` and `ModelUtility`, serial, "
        "without dvl-batched, so that it fits as often as the others; batched: with it. "
        "Floor: a loop of clone, fit and score over the same coalitions, no statistics; seeded: "
        "with a `random_state`, which dvl sets in every model so that runs can be repeated, and "
        "from which scikit-learn makes a generator in every fit, needed or not. pyDVL: "
        "`ShapleyValuation` with its `PermutationSampler` given the same permutations; it trains "
        f"on all rows once more per permutation. Seed {SEED}."
    ),
    sides=(
        # Many short rounds: in a long one a machine drifts by more than the per cent looked for.
        Script("floor", "floor", "permutation-shapley", 15),
        Script("dvl", "ours", "permutation-shapley", 15),
        Script("dvl, batched", "ours", "permutation-shapley-batched", 15),
        Script("floor, seeded", "floor", "permutation-shapley-seeded", 15),
        Script("pyDVL", "peer", "permutation-shapley", 5),
    ),
    targets=(
        Target("dvl", "floor", at_most=1.05),
        Target("dvl", "floor, seeded", at_most=1.05),
        Target("floor", "dvl, batched", at_least=15),
    ),
    size={"n": 150, "n_permutations": 4},
    tiny={"n": 12, "n_permutations": 6},
    make=make,
    check=distance_from_floor,
    reference="the floor's values",
    tolerance=1e-9,
)
