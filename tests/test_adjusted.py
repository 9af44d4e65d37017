"""Means of what a fitted game leaves unexplained, for every semivalue."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dvl_beta import BetaShapleyValuation
from dvl_core import (
    AbsoluteStandardError,
    AdjustedSampler,
    BanzhafSemivalue,
    BetaSemivalue,
    MatchedSampler,
    MaxEvaluations,
    ShapleySemivalue,
    engine,
)
from dvl_core.designs.adjusted import balanced_sizes
from dvl_core.designs.kept import KeptCoalitionsDesign
from dvl_core.designs.proxies import fit_proxy
from dvl_core.designs.streaming import StreamingAdjustedDesign
from dvl_core.errors import DvlWarning, InvalidOptionError
from dvl_core.games import FunctionGame, RandomGame, exact_values
from dvl_shapley import DataShapleyValuation

PROXIES = ("size", "linear", "trees")


def wobbly(coalitions: np.ndarray) -> np.ndarray:
    """A learning curve, unequal players, and one pair that needs each other."""
    n = coalitions.shape[1]
    level = np.sqrt(coalitions.mean(axis=1)) + coalitions @ np.linspace(-0.01, 0.01, n)
    return level + 0.05 * (coalitions[:, 0] & coalitions[:, 1])


@settings(max_examples=15, deadline=None)
@given(
    kind=st.sampled_from(PROXIES),
    n=st.integers(3, 7),
    seed=st.integers(0, 10**6),
    alpha=st.floats(0.5, 8),
    beta=st.floats(0.5, 8),
)
def test_the_values_of_a_proxy_are_those_of_its_predictions(
    kind: str, n: int, seed: int, alpha: float, beta: float
) -> None:
    rng = np.random.default_rng(seed)
    coalitions = rng.random((200, n)) < rng.random((200, 1))
    sizes = coalitions.sum(axis=1)
    proxy = fit_proxy(kind, coalitions, sizes, rng.normal(size=200), np.array([0.0, 1.0]))
    game = FunctionGame(n, lambda c: proxy.predict(c, c.sum(axis=1)))
    for semivalue in (BetaSemivalue(alpha, beta), BanzhafSemivalue(0.3)):
        expected = exact_values(game, semivalue)
        np.testing.assert_allclose(proxy.semivalue(semivalue.size_law(n)), expected, atol=1e-9)


@pytest.mark.parametrize("semivalue", [ShapleySemivalue(), BetaSemivalue(16, 1)])
@pytest.mark.parametrize("proxy", ["size", "linear"])
def test_errors_are_a_fraction_of_those_of_marginals(semivalue: object, proxy: str) -> None:
    n = 12
    game = FunctionGame(n, wobbly)
    exact = exact_values(game, semivalue)

    def error(sampler: object) -> float:
        design = sampler.design(n, semivalue)
        runs = [engine.run(design, game, seed=s, stopping=MaxEvaluations(800)) for s in range(5)]
        return float(np.mean([np.square(run.values - exact).sum() for run in runs]))

    assert 3 * error(AdjustedSampler(proxy)) < error(MatchedSampler())


def test_trees_find_what_players_do_together() -> None:
    n = 30
    game = FunctionGame(
        n, lambda c: np.sum([c[:, i] & c[:, i + 1] & c[:, i + 2] for i in range(0, n, 3)], axis=0)
    )
    # Of three that need each other each is worth a third.
    squares = {}
    for proxy in ("linear", "trees"):
        sampler = AdjustedSampler(proxy)
        result = DataShapleyValuation(game, sampler, MaxEvaluations(3_000), seed=0).fit().result
        assert (np.abs(result.values - 1 / 3) < 5 * result.stderr).all()
        squares[proxy] = np.square(result.values - 1 / 3).sum()
    assert squares["trees"] < 0.8 * squares["linear"]


def test_the_proxy_depends_on_the_number_of_players() -> None:
    few = AdjustedSampler().design(2_000, ShapleySemivalue())
    many = AdjustedSampler().design(2_001, ShapleySemivalue())
    assert isinstance(few, KeptCoalitionsDesign)
    assert isinstance(many, StreamingAdjustedDesign)
    with pytest.raises(InvalidOptionError, match=r"proxy must be 'auto', .*got 'forest'"):
        AdjustedSampler("forest")


def test_very_many_players_take_no_memory_that_grows() -> None:
    n = 30_000
    game = FunctionGame(n, lambda c: np.log1p(c.sum(axis=1)) + c[:, 0])
    result = DataShapleyValuation(game, None, MaxEvaluations(640), seed=0).fit().result
    assert result.n_evaluations <= 640
    assert np.isfinite(result.values).all()
    low, high = result.confidence_interval(1 - 1e-4 / n).T
    expected = np.log1p(n) / n + (np.arange(n) == 0)
    assert ((low <= expected) & (expected <= high)).all()
    state = AdjustedSampler().design(n, ShapleySemivalue()).accumulator()
    assert sum(array.nbytes for array in state.state().values()) < 4 * 8 * n


@pytest.mark.parametrize("proxy", ["size", "linear"])
def test_a_resumed_run_is_the_same(proxy: str, tmp_path: Path) -> None:
    game, sampler = RandomGame(10, 1), AdjustedSampler(proxy)
    whole = BetaShapleyValuation(game, sampler, AbsoluteStandardError(0.02), seed=4).fit().result
    assert 0.01 < whole.stderr.max() <= 0.02
    for cut in (20, 200, whole.n_evaluations - 40):
        path = tmp_path / f"{cut}.npz"
        few = cut == 20
        with pytest.warns(DvlWarning, match="are too few") if few else nullcontext():
            BetaShapleyValuation(game, sampler, MaxEvaluations(cut), seed=4, checkpoint=path).fit()
        resumed = BetaShapleyValuation(
            game, sampler, AbsoluteStandardError(0.02), seed=4, checkpoint=path
        ).fit()
        assert resumed.result.values.tobytes() == whole.values.tobytes()
        assert resumed.result.stderr.tobytes() == whole.stderr.tobytes()


def test_sizes_are_drawn_where_the_factors_are_large() -> None:
    law = balanced_sizes(BetaSemivalue(16, 1).size_law(50))
    assert law[0] == law[-1] == 0.0
    assert law[1:6].sum() > 0.5
    np.testing.assert_allclose(law.sum(), 1.0)
