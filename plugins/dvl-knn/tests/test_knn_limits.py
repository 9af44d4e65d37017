"""Games at their limits: one class, labels nobody has, votes without weight."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from dvl_core import Dataset
from dvl_knn import KNNShapleyValuation


@pytest.mark.parametrize(
    ("model", "options", "worth_of_any"),
    [
        (3, {}, None),
        (3, {"game": "soft-label"}, 1.0),
        (3, {"game": "threshold", "radius": 9.0}, 1.0),
        (KNeighborsClassifier(3, weights="distance"), {}, 1.0),
    ],
)
@pytest.mark.parametrize("n", [1, 2, 6])
def test_one_class(model: object, options: dict, worth_of_any: float | None, n: int) -> None:
    """Where nobody can be wrong, a guess is right: only the fixed game pays for filling a place."""
    rng = np.random.default_rng(n)
    train = Dataset(rng.normal(size=(n, 2)), ["only"] * n)
    test = Dataset(rng.normal(size=(4, 2)), ["only"] * 4)
    values = KNNShapleyValuation(model, test, **options).fit(train).result.values
    expected = min(3, n) / (3 * n) if worth_of_any is None else 0.0
    np.testing.assert_allclose(values, expected, atol=1e-14)


def test_labels_that_the_training_data_lacks() -> None:
    train = Dataset([[0.0], [1.0], [2.0]], ["a", "b", "a"])
    test = Dataset([[0.0]], ["c"])
    for options, worth in (({}, 0.0), ({"game": "soft-label"}, -1 / 2)):
        values = KNNShapleyValuation(2, test, **options).fit(train).result.values
        np.testing.assert_allclose(values, worth / 3, atol=1e-15)


@pytest.mark.parametrize("k", [1, 3, 9])
def test_votes_without_weight_decide_nothing(k: int) -> None:
    """All weights zero is a tie, which counts as right; a single weight decides alone."""
    train = Dataset(np.arange(6.0)[:, None], [1, 0, 1, 0, 0, 1])
    test = Dataset([[0.0]], [1])

    def values(weights: Callable) -> np.ndarray:
        model = KNeighborsClassifier(k, weights=weights)
        return KNNShapleyValuation(model, test).fit(train).result.values

    np.testing.assert_array_equal(values(np.zeros_like), np.zeros(6))
    # The wrong neighbour at 3 loses the game for who has it among the K nearest.
    for_one = values(lambda distances: (distances == 3).astype(float))
    assert for_one[3] < 0
    assert for_one[[0, 1, 2]] == pytest.approx(for_one[0])
    np.testing.assert_allclose(for_one[4:], 0, atol=1e-15)
    assert for_one.sum() == pytest.approx(0.0 if k <= 3 else -1.0)
