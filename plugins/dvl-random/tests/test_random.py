"""The random baseline is random, and repeatable."""

from __future__ import annotations

import numpy as np

from dvl_core import Dataset
from dvl_random import RandomValuation


def values(n: int, seed: int | None) -> np.ndarray:
    return RandomValuation(seed=seed).fit(Dataset(np.zeros((n, 1)), np.arange(n))).result.values


def test_values_are_uniform_and_follow_the_seed() -> None:
    drawn = values(4000, 3)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    # A mean of 4,000 uniform numbers has a standard error of 0.0046.
    assert abs(drawn.mean() - 0.5) < 0.025
    assert (drawn == values(4000, 3)).all()
    assert (drawn != values(4000, 4)).any()


def test_without_a_seed_runs_differ_and_the_result_tells_the_seed() -> None:
    data = Dataset(np.zeros((5, 1)), np.arange(5))
    first, second = RandomValuation().fit(data).result, RandomValuation().fit(data).result
    assert (first.values != second.values).any()
    assert (values(5, first.seed) == first.values).all()


def test_groups_are_players() -> None:
    data = Dataset(np.zeros((6, 1)), np.arange(6), groups=["a", "b", "a", "b", "c", "c"])
    assert list(RandomValuation(seed=0).fit(data).result.names) == ["a", "b", "c"]
