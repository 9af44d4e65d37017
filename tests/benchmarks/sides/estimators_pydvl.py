"""Shapley and Banzhaf estimators of pyDVL 0.10, run in an environment of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydvl.utils.status import Status
from pydvl.valuation import (
    AntitheticOwenSampler,
    AntitheticPermutationSampler,
    AntitheticSampler,
    BanzhafValuation,
    Dataset,
    ModelUtility,
    MSRBanzhafValuation,
    OwenSampler,
    PermutationSampler,
    ShapleyValuation,
    StratifiedSampler,
    SupervisedScorer,
    UniformSampler,
    VRDSSampler,
)
from pydvl.valuation.samplers import ConstantSampleSize, GridOwenStrategy, UniformOwenStrategy
from pydvl.valuation.stopping import StoppingCriterion
from pydvl.valuation.types import Sample
from pydvl.valuation.utility.base import UtilityBase
from sklearn.linear_model import LogisticRegression

from sides.estimators import Counted, Estimate, compare


class Utility(UtilityBase):
    """A game as pyDVL asks for it: one coalition at a time, as indices."""

    def __init__(self, game: Counted, n: int) -> None:
        self.game = game
        self.n = n

    def __call__(self, sample: Sample | None) -> float:
        coalition = np.zeros((1, self.n), dtype=bool)
        if sample is not None:
            coalition[0, sample.subset] = True
        return float(self.game(coalition)[0])


class Spent(StoppingCriterion):
    """Stop when the game was asked often enough."""

    def __init__(self, game: Counted, budget: int) -> None:
        super().__init__()
        self.game = game
        self.budget = budget

    def _check(self, result: Any) -> Status:
        return Status.Converged if self.game.evaluations >= self.budget else Status.Pending


class CountedModelUtility(ModelUtility):
    """Scores of trained models; counts them where the game counts."""

    def __init__(self, game: Counted) -> None:
        arrays = game.arrays
        test = Dataset(arrays["x_test"], arrays["y_test"])
        scorer = SupervisedScorer("accuracy", test, default=float(arrays["default"]))
        super().__init__(LogisticRegression(), scorer, show_warnings=False)
        self.game = game

    def __call__(self, sample: Any) -> float:
        self.game.evaluations += 1
        return float(super().__call__(sample))


def _model_estimate(sampler: Callable[[int, int], Any]) -> Estimate:
    """Return an estimate that trains a logistic regression for every coalition."""

    def estimate(game: Counted, n: int, budget: int, seed: int) -> NDArray[Any]:
        drawn = sampler(max(budget // (2 * n), 1), seed)
        players = Dataset(game.arrays["x_train"], game.arrays["y_train"])
        stop = Spent(game, budget)
        method = ShapleyValuation(CountedModelUtility(game), drawn, stop, show_warnings=False)
        return np.asarray(method.fit(players).result.values)

    return estimate


def _estimate(valuation: Any, sampler: Callable[[int, int], Any]) -> Estimate:
    """Return an estimate; ``sampler(marginals a player, seed)`` may plan for so many."""

    def estimate(game: Any, n: int, budget: int, seed: int) -> NDArray[Any]:
        # A marginal takes two evaluations: nothing is shared between players.
        drawn = sampler(max(budget // (2 * n), 1), seed)
        players = Dataset(np.arange(n)[:, None], np.zeros(n))
        stop = Spent(game, budget)
        method = valuation(Utility(game, n), drawn, stop, show_warnings=False)
        return np.asarray(method.fit(players).result.values)

    return estimate


def _msr(game: Any, n: int, budget: int, seed: int) -> NDArray[Any]:
    players = Dataset(np.arange(n)[:, None], np.zeros(n))
    method = MSRBanzhafValuation(
        Utility(game, n), Spent(game, budget), seed=seed, show_warnings=False
    )
    return np.asarray(method.fit(players).result.values)


ESTIMATORS: dict[str, Estimate] = {
    "permutation": _estimate(ShapleyValuation, lambda _, seed: PermutationSampler(seed=seed)),
    "antithetic permutation": _estimate(
        ShapleyValuation, lambda _, seed: AntitheticPermutationSampler(seed=seed)
    ),
    "Owen": _estimate(
        ShapleyValuation,
        lambda m, seed: OwenSampler(UniformOwenStrategy(m, seed), 1, seed=seed),
    ),
    "Owen, grid": _estimate(
        ShapleyValuation, lambda m, seed: OwenSampler(GridOwenStrategy(max(m, 2)), 1, seed=seed)
    ),
    "Owen, antithetic": _estimate(
        ShapleyValuation,
        lambda m, seed: AntitheticOwenSampler(
            UniformOwenStrategy(max(m // 2, 1), seed), 1, seed=seed
        ),
    ),
    "stratified": _estimate(
        ShapleyValuation, lambda m, seed: StratifiedSampler(ConstantSampleSize(m), seed=seed)
    ),
    "VRDS": _estimate(ShapleyValuation, lambda m, seed: VRDSSampler(m, seed=seed)),
    "Banzhaf, MSR": _msr,
    "Banzhaf, uniform": _estimate(BanzhafValuation, lambda _, seed: UniformSampler(seed=seed)),
    "Banzhaf, antithetic": _estimate(
        BanzhafValuation, lambda _, seed: AntitheticSampler(seed=seed)
    ),
    "models, permutation": _model_estimate(lambda _, seed: PermutationSampler(seed=seed)),
    "models, antithetic permutation": _model_estimate(
        lambda _, seed: AntitheticPermutationSampler(seed=seed)
    ),
    "models, VRDS": _model_estimate(lambda m, seed: VRDSSampler(m, seed=seed)),
}

if __name__ == "__main__":
    compare(ESTIMATORS, ["pydvl", "numpy", "scipy", "scikit-learn"])
