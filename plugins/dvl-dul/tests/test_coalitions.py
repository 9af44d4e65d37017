"""Which coalitions a utility is learned from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from dvl_core.semivalues import BanzhafSemivalue
from dvl_dul.coalitions import training_coalitions

LAWS = ["uniform", "binomial"]


@given(st.integers(1, 12), st.integers(10, 60), st.sampled_from(LAWS), st.integers(0, 10**6))
def test_the_ends_come_first_and_no_coalition_twice(
    n: int, n_training: int, sizes: str, seed: int
) -> None:
    drawn = training_coalitions(n, n_training, sizes, np.random.default_rng(seed))
    assert drawn.dtype == bool
    assert drawn.shape == (min(n_training, 2**n), n)
    assert drawn[:2].sum(axis=1).tolist() == [0, n]
    assert len(np.unique(drawn, axis=0)) == len(drawn)


def test_sizes_are_uniform() -> None:
    drawn = training_coalitions(40, 4002, "uniform", np.random.default_rng(0))[2:]
    counts = np.bincount(drawn.sum(axis=1), minlength=41)
    # Singletons and their complements run out: there are only 40 of each.
    assert counts[[0, 40]].tolist() == [0, 0]
    assert counts[[1, 39]].max() <= 40
    assert chisquare(counts[2:39]).pvalue > 1e-3


def test_sizes_are_binomial() -> None:
    drawn = training_coalitions(40, 4002, "binomial", np.random.default_rng(0))[2:]
    law = BanzhafSemivalue().size_law(41)[14:27]
    counts = np.bincount(drawn.sum(axis=1), minlength=41)[14:27]
    assert chisquare(counts, counts.sum() * law / law.sum()).pvalue > 1e-3


@pytest.mark.parametrize("sizes", LAWS)
def test_players_are_drawn_alike(sizes: str) -> None:
    drawn = training_coalitions(30, 4000, sizes, np.random.default_rng(1))
    shares = drawn.mean(axis=0)
    # Variance at most 1/4 each: 5 standard errors.
    assert np.abs(shares - 0.5).max() < 5 * 0.5 / np.sqrt(4000)
