"""Shapley and Banzhaf estimators of dvl."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from dvl_banzhaf import KernelBanzhafSampler, MSRSampler
from dvl_core import (
    BanzhafSemivalue,
    Dataset,
    MaxEvaluations,
    ModelUtility,
    ShapleySemivalue,
    SupervisedScorer,
    engine,
)
from dvl_core.games import FunctionGame
from dvl_core.protocols import Sampler, Semivalue
from dvl_core.samplers import AdjustedSampler, OneSampleFitsAllSampler
from dvl_shapley import (
    AntitheticPermutationSampler,
    ComplementarySampler,
    DataShapleyValuation,
    LeastSquaresSampler,
    PermutationSampler,
    QuasiPermutationSampler,
)
from sides.estimators import Counted, Estimate, compare


def _estimate(semivalue: Semivalue, sampler: Sampler) -> Estimate:
    def estimate(game: Counted, n: int, budget: int, seed: int) -> NDArray[Any]:
        design = sampler.design(n, semivalue)
        played = FunctionGame(n, game)
        return engine.run(design, played, seed=seed, stopping=MaxEvaluations(budget)).values

    return estimate


def _models(sampler: Sampler | None) -> Estimate:
    """Return an estimate that trains a logistic regression for every coalition."""

    def estimate(game: Counted, n: int, budget: int, seed: int) -> NDArray[Any]:
        arrays = game.arrays
        test = Dataset(arrays["x_test"], arrays["y_test"])
        scorer = SupervisedScorer("accuracy", test, default=float(arrays["default"]))
        utility = ModelUtility(LogisticRegression(), scorer)
        valuation = DataShapleyValuation(utility, sampler, MaxEvaluations(budget), seed=seed)
        result = valuation.fit(Dataset(arrays["x_train"], arrays["y_train"])).result
        game.evaluations += result.n_evaluations
        return result.values

    return estimate


SHAPLEY, BANZHAF = ShapleySemivalue(), BanzhafSemivalue()

ESTIMATORS = {
    "permutation": _estimate(SHAPLEY, PermutationSampler()),
    "antithetic permutation": _estimate(SHAPLEY, AntitheticPermutationSampler()),
    "least squares": _estimate(SHAPLEY, LeastSquaresSampler()),
    "adjusted, size": _estimate(SHAPLEY, AdjustedSampler("size")),
    "adjusted, linear": _estimate(SHAPLEY, AdjustedSampler("linear")),
    "adjusted, trees": _estimate(SHAPLEY, AdjustedSampler("trees")),
    "one sample fits all": _estimate(SHAPLEY, OneSampleFitsAllSampler()),
    "complementary": _estimate(SHAPLEY, ComplementarySampler()),
    "quasi-permutation": _estimate(SHAPLEY, QuasiPermutationSampler()),
    "models, default": _models(None),
    "models, permutation": _models(PermutationSampler()),
    "Banzhaf, MSR": _estimate(BANZHAF, MSRSampler()),
    "Banzhaf, MSR, size control": _estimate(BANZHAF, MSRSampler(subtract="size")),
    "Banzhaf, kernel": _estimate(BANZHAF, KernelBanzhafSampler()),
    "Banzhaf, adjusted": _estimate(BANZHAF, AdjustedSampler()),
}

if __name__ == "__main__":
    compare(ESTIMATORS, ["dvl-core", "numpy", "scipy", "scikit-learn"])
