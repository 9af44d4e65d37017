"""The same work by pyDVL 0.10, run in an environment of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydvl.valuation import (
    BanzhafValuation,
    DataOOBValuation,
    Dataset,
    KNNShapleyValuation,
    MaxSamples,
    MinUpdates,
    ModelUtility,
    MSRBanzhafValuation,
    MSRSampler,
    PermutationSampler,
    ShapleyValuation,
    SupervisedScorer,
)
from pydvl.valuation.types import Sample
from pydvl.valuation.utility.base import UtilityBase
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from sides.common import Arrays, Prepared, run_side, values_only
from sides.floor import fitted_forest


class SquareRootGame(UtilityBase):
    """The square root of the sum of the members' weights; notes what it was asked."""

    def __init__(self, weights: NDArray[Any]) -> None:
        self.weights = weights
        self.asked: list[NDArray[Any]] = []

    def __call__(self, sample: Sample | None) -> float:
        if sample is None:
            return 0.0
        self.asked.append(sample.subset)
        return float(np.sqrt(self.weights[sample.subset].sum()))


def _msr(arrays: Arrays, dedicated: bool) -> Prepared:
    weights, n_coalitions = arrays["weights"], int(arrays["n_coalitions"])
    players = Dataset(np.arange(len(weights))[:, None], np.zeros(len(weights)))

    def work() -> Any:
        game, seed = SquareRootGame(weights), int(arrays["seed"])
        sampler = MSRSampler(seed=seed)
        stop = MaxSamples(sampler, n_coalitions)
        valuation: Any = BanzhafValuation(game, sampler, stop, show_warnings=False)
        if dedicated:
            valuation = MSRBanzhafValuation(game, stop, seed=seed, show_warnings=False)
            stop.sampler = valuation.sampler
        return valuation.fit(players), game

    def outputs(result: Any) -> dict[str, NDArray[Any]]:
        valuation, game = result
        coalitions = np.zeros((len(game.asked), len(weights)), dtype=bool)
        for row, subset in zip(coalitions, game.asked, strict=True):
            row[subset] = True
        return {**values_only(valuation.result), "coalitions": coalitions}

    return Prepared(work, outputs)


def msr(arrays: Arrays) -> Prepared:
    """Value by `BanzhafValuation` with `MSRSampler`."""
    return _msr(arrays, dedicated=False)


def msr_dedicated(arrays: Arrays) -> Prepared:
    """Value by `MSRBanzhafValuation`."""
    return _msr(arrays, dedicated=True)


def knn(arrays: Arrays) -> Prepared:
    """Value by KNN-Shapley."""
    train = Dataset(arrays["x_train"], arrays["y_train"])
    test = Dataset(arrays["x_test"], arrays["y_test"])

    def work() -> Any:
        model = KNeighborsClassifier(int(arrays["k_neighbours"]))
        return KNNShapleyValuation(model, test, progress=False).fit(train).result

    return Prepared(work, values_only)


class GivenPermutations(PermutationSampler):
    """The permutation sampler, with permutations from outside instead of drawn ones."""

    def __init__(self, permutations: NDArray[Any]) -> None:
        super().__init__()
        self.permutations = permutations

    def generate(self, indices: NDArray[Any]) -> Iterator[Sample]:
        """Yield them one by one, then stop."""
        for permutation in self.permutations:
            yield Sample(None, permutation)


def permutation_shapley(arrays: Arrays) -> Prepared:
    """Value by permutations, those that dvl follows."""
    train = Dataset(arrays["x_train"], arrays["y_train"])
    test = Dataset(arrays["x_test"], arrays["y_test"])
    permutations = arrays["permutations"]

    def work() -> Any:
        scorer = SupervisedScorer("accuracy", test, default=float(arrays["default"]))
        utility = ModelUtility(LogisticRegression(), scorer, show_warnings=False)
        sampler, stop = GivenPermutations(permutations), MinUpdates(len(permutations))
        return ShapleyValuation(utility, sampler, stop, show_warnings=False).fit(train).result

    return Prepared(work, values_only)


def oob(arrays: Arrays) -> Prepared:
    """Value by Data-OOB with a forest that is fitted already."""
    train = Dataset(arrays["x"], arrays["y"])
    forest = fitted_forest(arrays)
    return Prepared(lambda: DataOOBValuation(forest).fit(train).result, values_only)


PREPARE = {
    "msr": msr,
    "msr-dedicated": msr_dedicated,
    "knn": knn,
    "permutation-shapley": permutation_shapley,
    "oob": oob,
}

if __name__ == "__main__":
    run_side(PREPARE, ["pydvl", "numpy", "scipy", "scikit-learn"])
