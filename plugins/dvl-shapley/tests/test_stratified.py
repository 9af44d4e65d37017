"""Laws of sizes, Neyman allocation, and the truncation rules."""

from __future__ import annotations

import numpy as np
import pytest

from dvl_core import BanzhafSemivalue, MaxEvaluations, ShapleySemivalue
from dvl_core.errors import InvalidOptionError
from dvl_core.games import FunctionGame
from dvl_core.semivalues import SizeLawSemivalue
from dvl_shapley import (
    DataShapleyValuation,
    SGDConstants,
    StratifiedSampler,
    TruncatedPermutationSampler,
)

N = 40


def saturating(noise_at_small: float = 1.0) -> FunctionGame:
    """Marginals that vary with who is there only while few are: their spread falls with size."""
    quality = np.random.default_rng(3).normal(size=N)

    def utility(coalitions: np.ndarray) -> np.ndarray:
        sizes = coalitions.sum(axis=1)
        return np.sin(3 * (coalitions @ quality)) * noise_at_small * np.exp(-sizes / 3)

    return FunctionGame(N, utility)


def largest_error(sampler: object) -> float:
    result = DataShapleyValuation(saturating(), sampler, MaxEvaluations(16_000), seed=1).fit()
    return float(result.result.stderr.max())


def test_neyman_draws_where_a_pilot_finds_spread() -> None:
    design = StratifiedSampler("neyman").design(N, ShapleySemivalue())
    law = design.allocated(saturating()(design.anchors()))
    assert law.sum() == pytest.approx(1)
    assert law[:8].sum() > 0.7
    assert (law >= 0.2 / N - 1e-12).all()
    assert largest_error(StratifiedSampler("neyman")) < 0.75 * largest_error(
        StratifiedSampler("constant")
    )


def test_neyman_without_spread_follows_the_semivalue() -> None:
    flat = FunctionGame(N, lambda coalitions: np.zeros(len(coalitions)))
    for semivalue in (ShapleySemivalue(), BanzhafSemivalue()):
        design = StratifiedSampler("neyman").design(N, semivalue)
        law = design.allocated(flat(design.anchors()))
        np.testing.assert_allclose(law, semivalue.size_law(N), atol=1e-15)


def test_the_pilot_of_neyman_keeps_to_sizes_of_the_semivalue() -> None:
    law = np.zeros(N)
    law[10:13] = 1 / 3
    design = StratifiedSampler("neyman").design(N, SizeLawSemivalue(tuple(law)))
    assert set(design.anchors().sum(axis=1)) <= {10, 11, 12, 13}
    assert len(design.anchors()) <= 2 * 3 * 8


def test_delta_shapley_sizes_fall_like_the_square_of_the_size() -> None:
    constants = SGDConstants(2.0, 3.0, 0.5, 0.8, 20, 0.05)
    q = 0.4
    h = 2**0.2857142857142857 * (2 * 0.8 * 9) ** (1 / 1.4) * 20 ** (q / 1.4) * 3.5 / 9
    expected = 2 * h**2 + 2 * 2 * h + 4 * 2 * 0.05 / 3
    assert constants.frequencies(np.array([10]))[0] == pytest.approx(expected)
    law = StratifiedSampler("delta-shapley", sgd=SGDConstants(n_steps=10**6)).size_law(100)
    assert law[10] / law[46] == pytest.approx((45 / 9) ** 2, rel=0.02)


def test_a_chain_ends_once_it_varies_more_than_it_lacks() -> None:
    sampler = TruncatedPermutationSampler(rule="deviation", deviations=1.0, burn_in=0.0)
    steps = FunctionGame(10, lambda coalitions: np.minimum(coalitions.sum(axis=1), 6) / 6)
    design = sampler.design(10, ShapleySemivalue())
    asked: list[np.ndarray] = []

    def utility(coalitions: np.ndarray) -> np.ndarray:
        asked.append(coalitions.sum(axis=1))
        return steps(coalitions)

    design.evaluate(0, utility, np.random.default_rng(0), np.array([0.0, 1.0]))
    # 0, 1/6, ..., k/6 have a standard deviation of at least 1 - k/6 from k = 5 on.
    assert max(sizes.max() for sizes in asked) == 5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StratifiedSampler("neyman", lower=2), "not for sizes='neyman'"),
        (lambda: StratifiedSampler("neyman", n_pilot=1), "n_pilot must be at least 2, got 1"),
        (lambda: StratifiedSampler("optimal"), "'delta-shapley', 'neyman', got 'optimal'"),
        (lambda: SGDConstants(n_steps=0), "n_steps must be positive, got 0"),
        (lambda: TruncatedPermutationSampler("deviation", deviations=-1.0), "deviations must not"),
        (lambda: TruncatedPermutationSampler("late"), "'relative', 'deviation' or 'fixed'"),
    ],
)
def test_options_that_make_no_sense_are_refused(make: object, message: str) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        make()
