"""The same work by dvl, as a user would write it."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid

from dvl_banzhaf import DataBanzhafValuation, MSRSampler
from dvl_core import Dataset, MaxEvaluations, ModelUtility, SerialBackend, SupervisedScorer
from dvl_core.games import FunctionGame
from dvl_knn import KNNShapleyValuation
from dvl_oob import DataOOBValuation
from dvl_shapley import DataShapleyValuation, PermutationSampler
from sides.common import Arrays, Prepared, run_side, values_only
from sides.floor import fitted_forest, with_points, with_rows

COALITIONS_A_BLOCK = 64


def msr(arrays: Arrays) -> Prepared:
    """Evaluate a whole number of blocks, the least that is not less work than the others do."""
    weights = arrays["weights"]
    budget = -(-int(arrays["n_coalitions"]) // COALITIONS_A_BLOCK) * COALITIONS_A_BLOCK
    drawn: list[NDArray[Any]] = []

    def function(coalitions: NDArray[Any]) -> NDArray[Any]:
        drawn.append(coalitions)
        return np.sqrt(coalitions @ weights)

    def work() -> Any:
        drawn.clear()
        game = FunctionGame(len(weights), function, fingerprint="sqrt of a sum")
        return DataBanzhafValuation(
            game,
            MSRSampler(),
            MaxEvaluations(budget),
            seed=int(arrays["seed"]),
            backend=SerialBackend(),
        ).fit()

    def outputs(valuation: Any) -> dict[str, NDArray[Any]]:
        return {**values_only(valuation.result), "coalitions": np.concatenate(drawn)}

    return Prepared(work, outputs)


def knn(arrays: Arrays) -> Prepared:
    """Value by KNN-Shapley."""
    return _knn(arrays)


def knn_large(arrays: Arrays) -> Prepared:
    """Do the same with points made here, within a tolerance."""
    return _knn(with_points(arrays), tolerance=float(arrays["tolerance"]))


def _knn(arrays: Arrays, **options: Any) -> Prepared:
    train = Dataset(arrays["x_train"], arrays["y_train"])
    test = Dataset(arrays["x_test"], arrays["y_test"])
    k_neighbours = int(arrays["k_neighbours"])

    def work() -> Any:
        valuation = KNNShapleyValuation(k_neighbours, test, backend=SerialBackend(), **options)
        return valuation.fit(train).result

    def outputs(result: Any) -> dict[str, NDArray[Any]]:
        bound = np.array(result.extras.get("error_bound", 0.0))
        return {**values_only(result), "error_bound": bound}

    return Prepared(work, outputs)


def permutation_shapley(arrays: Arrays) -> Prepared:
    """Value by permutations, one fit at a time: what the engine adds is what is asked for."""
    # Before the first run, and for good: a process does one thing only.
    os.environ["DVL_DISABLE_PLUGINS"] = "dvl-batched"
    return permutation_shapley_batched(arrays)


def permutation_shapley_batched(arrays: Arrays) -> Prepared:
    """Value by permutations; the seed is the one that the given permutations belong to."""
    train = Dataset(arrays["x_train"], arrays["y_train"])
    test = Dataset(arrays["x_test"], arrays["y_test"])
    n_permutations, n = arrays["permutations"].shape

    def work() -> Any:
        scorer = SupervisedScorer("accuracy", test, default=float(arrays["default"]))
        return (
            DataShapleyValuation(
                ModelUtility(LogisticRegression(), scorer),
                PermutationSampler(),
                permutation_budget(n_permutations, n),
                seed=int(arrays["seed"]),
                backend=SerialBackend(),
            )
            .fit(train)
            .result
        )

    return Prepared(work, values_only)


def permutation_budget(n_permutations: int, n: int) -> MaxEvaluations:
    """Return a budget for so many permutations, and for the empty and the full coalition."""
    return MaxEvaluations(2 + n_permutations * (n - 1))


def drawn_permutations(n: int, n_permutations: int, seed: int) -> NDArray[Any]:
    """Return the permutations [m, n] that dvl follows with a seed, for the others to follow."""
    batches: list[NDArray[Any]] = []

    def function(coalitions: NDArray[Any]) -> NDArray[Any]:
        batches.append(coalitions)
        return np.zeros(len(coalitions))

    DataShapleyValuation(
        FunctionGame(n, function, fingerprint="recorder"),
        PermutationSampler(),
        permutation_budget(n_permutations, n),
        seed=seed,
        backend=SerialBackend(),
    ).fit()
    prefixes = np.concatenate(batches[1:]).reshape(-1, n - 1, n)
    # The earlier a player joins, the more prefixes it is in.
    return np.argsort(-prefixes.sum(axis=1), axis=1)[:n_permutations]


def many_players(arrays: Arrays) -> Prepared:
    """Value rows made here with the default sampler; a tenth of their labels is flipped."""
    n, n_test = int(arrays["n"]), int(arrays["n_test"])
    rng = np.random.default_rng(int(arrays["seed"]))
    x = rng.normal(size=(n + n_test, 10))
    y = (x[:, 0] + x[:, 1] > 0).astype(int)
    y[:n] ^= rng.random(n) < 0.1
    train, test = Dataset(x[:n], y[:n]), Dataset(x[n:], y[n:])
    utility = ModelUtility(NearestCentroid(), SupervisedScorer("accuracy", test, default=0.5))
    budget = MaxEvaluations(int(arrays["n_evaluations"]))

    def work() -> Any:
        return (
            DataShapleyValuation(
                utility, stopping=budget, seed=int(arrays["seed"]), backend=SerialBackend()
            )
            .fit(train)
            .result
        )

    def outputs(result: Any) -> dict[str, NDArray[Any]]:
        full = utility.with_data(train)(np.ones((1, n), dtype=bool))
        return {
            **values_only(result),
            "stderr": result.stderr,
            "to_share": full[0] - 0.5,
            "n_evaluations": np.array(result.n_evaluations),
        }

    return Prepared(work, outputs)


def oob(arrays: Arrays) -> Prepared:
    """Value by Data-OOB with a forest that is fitted already."""
    train = Dataset(arrays["x"], arrays["y"])
    forest = fitted_forest(arrays)

    def work() -> Any:
        return DataOOBValuation(forest, backend=SerialBackend()).fit(train).result

    return Prepared(work, values_only)


def oob_large(arrays: Arrays) -> Prepared:
    """Do the same with rows made here."""
    return oob(with_rows(arrays))


PREPARE = {
    "msr": msr,
    "knn": knn,
    "knn-large": knn_large,
    "permutation-shapley": permutation_shapley,
    "permutation-shapley-batched": permutation_shapley_batched,
    "many-players": many_players,
    "oob": oob,
    "oob-large": oob_large,
}

if __name__ == "__main__":
    run_side(PREPARE, ["dvl-core", "numpy", "scipy", "scikit-learn"])
