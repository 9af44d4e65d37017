"""Semivalues: laws, limits, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dvl_core.errors import InvalidOptionError
from dvl_core.semivalues import (
    BanzhafSemivalue,
    BetaSemivalue,
    LOOSemivalue,
    ShapleySemivalue,
    SizeLawSemivalue,
    checked_size_law,
)

shapes = st.floats(0.2, 30.0)


@given(n=st.integers(1, 400), alpha=shapes, beta=shapes, p=st.floats(0.01, 0.99))
def test_every_law_is_a_distribution(n: int, alpha: float, beta: float, p: float) -> None:
    for semivalue in (
        ShapleySemivalue(),
        BanzhafSemivalue(p),
        BetaSemivalue(alpha, beta),
        LOOSemivalue(),
    ):
        law = checked_size_law(semivalue, n)
        assert law.shape == (n,)
        assert law.min() >= 0
        assert abs(law.sum() - 1) < 1e-10


@pytest.mark.parametrize("n", [1, 2, 10, 100])
def test_beta_one_one_is_shapley(n: int) -> None:
    np.testing.assert_allclose(
        BetaSemivalue(1, 1).size_law(n), ShapleySemivalue().size_law(n), rtol=1e-10
    )


def test_larger_alpha_weighs_small_coalitions() -> None:
    law = BetaSemivalue(16, 1).size_law(50)
    assert np.all(np.diff(law) < 0)


def test_beta_law_by_the_integral_definition() -> None:
    # Kwon & Zou 2022: t ~ Beta(beta, alpha), every other player is in with probability t.
    n, alpha, beta = 6, 4.0, 2.0
    t, weights = np.polynomial.legendre.leggauss(60)
    t, weights = (t + 1) / 2, weights / 2
    density = t ** (beta - 1) * (1 - t) ** (alpha - 1)
    density /= (density * weights).sum()
    binomials = np.array([1, 5, 10, 10, 5, 1])
    k = np.arange(n)
    expected = [(weights * density * binomials[j] * t**j * (1 - t) ** (n - 1 - j)).sum() for j in k]
    np.testing.assert_allclose(BetaSemivalue(alpha, beta).size_law(n), expected, rtol=1e-10)


@pytest.mark.parametrize("n", [2000, 100_000])
def test_large_games_neither_overflow_nor_vanish(n: int) -> None:
    for semivalue in (BanzhafSemivalue(), BanzhafSemivalue(0.01), BetaSemivalue(16, 1)):
        law = semivalue.size_law(n)
        assert np.isfinite(law).all()
        assert abs(law.sum() - 1) < 1e-9


@pytest.mark.parametrize("p", [0.0, 1.0, -0.1, float("nan")])
def test_banzhaf_refuses_what_is_no_probability(p: float) -> None:
    with pytest.raises(InvalidOptionError, match="between 0 and 1"):
        BanzhafSemivalue(p)


def test_beta_refuses_shapes_that_are_not_positive() -> None:
    with pytest.raises(InvalidOptionError, match="alpha=0"):
        BetaSemivalue(0, 1)


@pytest.mark.parametrize(
    "law", [(0.5, 0.6), (1.5, -0.5), (float("nan"), 1.0)], ids=["sum", "negative", "nan"]
)
def test_a_law_that_is_no_distribution_is_refused(law: tuple[float, ...]) -> None:
    with pytest.raises(InvalidOptionError, match="no probability distribution"):
        checked_size_law(SizeLawSemivalue(law, "mine"), 2)


def test_a_law_for_another_number_of_players_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match="2 players, the game has 3"):
        checked_size_law(SizeLawSemivalue((0.5, 0.5), "mine"), 3)
