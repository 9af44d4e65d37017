"""The least that the work can cost: plain numpy and scikit-learn loops, no framework."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer

from sides.common import Arrays, Prepared, run_side


def _as_values(values: NDArray[Any]) -> dict[str, NDArray[Any]]:
    return {"values": values}


def msr(arrays: Arrays) -> Prepared:
    """Draw coalitions, evaluate sqrt(sum of weights), compare members with outsiders."""
    weights, n_coalitions = arrays["weights"], int(arrays["n_coalitions"])

    def work() -> tuple[NDArray[Any], NDArray[Any]]:
        rng = np.random.default_rng(int(arrays["seed"]))
        coalitions = rng.random((n_coalitions, len(weights))) < 0.5
        utilities = np.sqrt(coalitions @ weights)
        members = coalitions.astype(float)
        counts = members.sum(axis=0)
        inside = utilities @ members
        values = inside / counts - (utilities.sum() - inside) / (n_coalitions - counts)
        return values, coalitions

    def outputs(result: tuple[NDArray[Any], NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return {"values": result[0], "coalitions": result[1]}

    return Prepared(work, outputs)


def knn_points(n: int, n_test: int, seed: int) -> dict[str, NDArray[Any]]:
    """Return Gaussian features and five classes, by the largest of five linear functions."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n + n_test, 32))
    y = np.argmax(x @ rng.normal(size=(32, 5)), axis=1)
    return {"x_train": x[:n], "y_train": y[:n], "x_test": x[n:], "y_test": y[n:]}


def with_points(arrays: Arrays) -> Arrays:
    """Return the arrays with the points that their numbers stand for."""
    return {**arrays, **knn_points(*(int(arrays[name]) for name in ("n", "n_test", "seed")))}


def knn(arrays: Arrays) -> Prepared:
    """Sort the training points by distance to each test point, then Jia's recursion."""
    x, y, k_neighbours = arrays["x_train"], arrays["y_train"], int(arrays["k_neighbours"])
    n = len(x)
    shares = 1.0 / np.maximum(k_neighbours, np.arange(1, n))
    halved_norms = np.square(x).sum(axis=1) / 2

    def work() -> NDArray[Any]:
        total = np.zeros(n)
        for point, label in zip(arrays["x_test"], arrays["y_test"], strict=True):
            # Sorts like the distance: half its square, less half the square of the point's norm.
            order = np.argsort(halved_norms - x @ point)
            matches = (y[order] == label).astype(float)
            steps = np.append((matches[:-1] - matches[1:]) * shares, matches[-1] / n)
            total[order] += np.cumsum(steps[::-1])[::-1]
        return total / len(arrays["x_test"])

    return Prepared(work, _as_values)


def knn_large(arrays: Arrays) -> Prepared:
    """Do the same with points made here."""
    return knn(with_points(arrays))


def permutation_shapley(arrays: Arrays, random_state: int | None = None) -> Prepared:
    """Clone, fit and score on every proper prefix of the given permutations."""
    x, y = arrays["x_train"], arrays["y_train"]
    x_test, y_test = arrays["x_test"], arrays["y_test"]
    default, scorer = float(arrays["default"]), get_scorer("accuracy")
    model = LogisticRegression(random_state=random_state)

    def utility(rows: NDArray[Any]) -> float:
        try:
            fitted = clone(model).fit(x[rows], y[rows])
        except ValueError:  # one class only
            return default
        return float(scorer(fitted, x_test, y_test))

    def work() -> NDArray[Any]:
        n = len(x)
        full = utility(np.arange(n))
        total = np.zeros(n)
        for permutation in arrays["permutations"]:
            member = np.zeros(n, dtype=bool)
            utilities = [default]
            for player in permutation[:-1]:
                member[player] = True
                utilities.append(utility(np.flatnonzero(member)))
            total[permutation] += np.diff([*utilities, full])
        return total / len(arrays["permutations"])

    return Prepared(work, _as_values)


def permutation_shapley_seeded(arrays: Arrays) -> Prepared:
    """Do the same with the model's random state fixed, as dvl does whatever the model."""
    return permutation_shapley(arrays, int(arrays["seed"]))


def oob(arrays: Arrays) -> Prepared:
    """Ask every tree of a fitted forest about the rows that it did not see."""
    x, y = arrays["x"], arrays["y"]
    forest = fitted_forest(arrays)

    def work() -> NDArray[Any]:
        right, asked = np.zeros(len(x)), np.zeros(len(x))
        for tree, sample in zip(forest.estimators_, forest.estimators_samples_, strict=True):
            unseen = np.ones(len(x), dtype=bool)
            unseen[sample] = False
            predicted = forest.classes_[tree.predict(x[unseen]).astype(int)]
            right[unseen] += predicted == y[unseen]
            asked[unseen] += 1
        return right / asked

    return Prepared(work, _as_values)


def oob_large(arrays: Arrays) -> Prepared:
    """Do the same with rows made here."""
    return oob(with_rows(arrays))


def with_rows(arrays: Arrays) -> Arrays:
    """Return the arrays with rows of two classes, 10 % of the labels flipped."""
    rng = np.random.default_rng(int(arrays["seed"]))
    x = rng.normal(size=(int(arrays["n"]), 20))
    y = x[:, 0] * x[:, 1] + x[:, 2] + x[:, 3] > 0
    return {**arrays, "x": x, "y": np.where(rng.random(len(x)) < 0.1, ~y, y).astype(int)}


def fitted_forest(arrays: Arrays) -> RandomForestClassifier:
    """Return the forest that every side values with; fitting it is not measured."""
    forest = RandomForestClassifier(
        int(arrays["n_trees"]),
        max_samples=int(arrays["max_samples"]) if "max_samples" in arrays else None,
        n_jobs=-1,
        random_state=int(arrays["seed"]),
    )
    return forest.fit(arrays["x"], arrays["y"])


PREPARE = {
    "msr": msr,
    "knn": knn,
    "knn-large": knn_large,
    "permutation-shapley": permutation_shapley,
    "permutation-shapley-seeded": permutation_shapley_seeded,
    "oob": oob,
    "oob-large": oob_large,
}

if __name__ == "__main__":
    run_side(PREPARE, ["numpy", "scipy", "scikit-learn"])
