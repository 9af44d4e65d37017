"""Estimators that keep their coalitions: least-squares Shapley and kernel Banzhaf."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dvl_banzhaf import DataBanzhafValuation, KernelBanzhafSampler, MSRSampler
from dvl_core import AbsoluteStandardError, BetaSemivalue, Dataset, MaxEvaluations
from dvl_core.designs.size_features import odd_size_features, size_features
from dvl_core.errors import UnsupportedSemivalueError
from dvl_core.games import AdditiveGame, FunctionGame, SizeGame
from dvl_knn import KNNShapleyValuation
from dvl_shapley import DataShapleyValuation, LeastSquaresSampler, PermutationSampler

METHODS = [
    (DataShapleyValuation, LeastSquaresSampler()),
    (DataBanzhafValuation, KernelBanzhafSampler()),
]


def knn_game(n: int) -> tuple[FunctionGame, Dataset, Dataset]:
    """The fixed game of 5 neighbours, mean over 20 test points."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n + 20, 4))
    y = (x[:, 0] + x[:, 1] > 0).astype(int)
    y[:n] ^= rng.random(n) < 0.1
    train, test = Dataset(x[:n], y[:n]), Dataset(x[n:], y[n:])
    order = np.argsort(np.square(test.x[:, None] - train.x).sum(axis=2), axis=1)
    matches = (train.y[order] == test.y[:, None]).astype(float)

    def utility(coalitions: np.ndarray) -> np.ndarray:
        total = np.zeros(len(coalitions))
        for near, match in zip(order, matches, strict=True):
            member = coalitions[:, near]
            total += (member & (np.cumsum(member, axis=1) <= 5)) @ match / 5
        return total / len(order)

    return FunctionGame(n, utility), train, test


@pytest.mark.parametrize(
    ("cls", "sampler", "other", "factor"),
    [
        (DataShapleyValuation, LeastSquaresSampler(), PermutationSampler(), 8),
        (DataBanzhafValuation, KernelBanzhafSampler(), MSRSampler(), 6),
    ],
)
def test_errors_are_a_fraction_on_a_data_game(
    cls: type, sampler: object, other: object, factor: float
) -> None:
    game, train, test = knn_game(60)
    semivalue = cls(game).semivalue
    exact = KNNShapleyValuation(5, test, semivalue=semivalue).fit(train).result.values

    def error(of: object) -> float:
        runs = [cls(game, of, MaxEvaluations(2_400), seed=seed).fit().result for seed in range(5)]
        return float(np.mean([np.square(run.values - exact).sum() for run in runs]))

    assert error(sampler) * factor < error(other)


@pytest.mark.parametrize(("cls", "sampler"), METHODS)
def test_what_is_additive_or_a_matter_of_size_is_found_at_once(cls: type, sampler: object) -> None:
    weights = np.arange(20.0)
    additive = cls(AdditiveGame(weights), sampler, MaxEvaluations(450), seed=0).fit().result
    np.testing.assert_allclose(additive.values, weights, atol=1e-6)
    assert additive.stderr.max() < 1e-6
    # k (k - 1) has the marginals 2 k, on average n - 1 for both semivalues.
    size = cls(SizeGame(20), sampler, MaxEvaluations(2_000), seed=0).fit().result
    np.testing.assert_allclose(size.values, 19.0, atol=1e-6)


@pytest.mark.parametrize(("cls", "sampler"), METHODS)
def test_few_evaluations_make_values_too(cls: type, sampler: object) -> None:
    game, train, test = knn_game(60)
    exact = KNNShapleyValuation(5, test, semivalue=cls(game).semivalue).fit(train).result.values
    z = []
    for seed in range(10):
        result = cls(game, sampler, MaxEvaluations(66), seed=seed).fit().result
        assert (result.counts == 4).all()
        z.append((result.values - exact) / result.stderr)
    # Student's t with 3 degrees of freedom has a median square of 0.585.
    assert 0.1 < float(np.median(np.square(z))) < 1.0


@pytest.mark.parametrize(("cls", "sampler"), METHODS)
def test_a_rule_sees_errors_on_the_way_and_a_resumed_run_is_the_same(
    cls: type, sampler: object, tmp_path: Path
) -> None:
    game, _, _ = knn_game(30)
    rule = AbsoluteStandardError(0.003)
    whole = cls(game, sampler, rule, seed=3).fit().result
    assert whole.stderr.max() <= 0.003
    assert 400 < whole.n_evaluations < 20_000
    for cut in (130, whole.n_evaluations // 2, whole.n_evaluations - 20):
        path = tmp_path / f"{cut}.npz"
        cls(game, sampler, MaxEvaluations(cut), seed=3, checkpoint=path).fit()
        resumed = cls(game, sampler, rule, seed=3, checkpoint=path).fit().result
        assert resumed.values.tobytes() == whole.values.tobytes()
        assert resumed.stderr.tobytes() == whole.stderr.tobytes()
        assert resumed.n_evaluations == whole.n_evaluations


@pytest.mark.parametrize("sampler", [LeastSquaresSampler(), KernelBanzhafSampler()])
def test_other_semivalues_are_refused(sampler: object) -> None:
    with pytest.raises(UnsupportedSemivalueError, match=r"does not cover semivalue beta\(4,1\)"):
        sampler.design(10, BetaSemivalue(4, 1))


@pytest.mark.parametrize("n", [1, 2, 3, 11, 12, 13, 100, 5_000])
def test_features_of_the_size(n: int) -> None:
    features = size_features(n)
    np.testing.assert_allclose(features.sum(axis=1), 1.0)
    assert np.linalg.matrix_rank(features) == features.shape[1] <= max(12, n + 1)
    odd = odd_size_features(n)
    np.testing.assert_allclose(odd, -odd[::-1], atol=1e-12)
    np.testing.assert_allclose(odd.T @ odd, np.eye(odd.shape[1]), atol=1e-9)
