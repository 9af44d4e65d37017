"""Blocks of test points: distances to all training points, then the solution of the game."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial.distance import cdist

from dvl_core.statistics import Estimate

if TYPE_CHECKING:
    from dvl_core.protocols import AnyArray, BoolArray, FloatArray, Guarantee
    from dvl_knn.games import KNNGame

__all__ = ["KNNDesign"]

MOST_TEST_POINTS_A_BLOCK = 64
ENTRIES_A_BLOCK = 4_000_000
"""Test points times training points; about 40 bytes of working memory an entry."""


@dataclass(frozen=True, eq=False)
class KNNDesign:
    """Exact values in a game of nearest neighbours, means over the test points.

    Parameters
    ----------
    x_train, x_test : float array [n, d], [t, d]
        Features.
    y_train, y_test : int array [n], [t]
        Encoded labels.
    game : KNNGame
        What a coalition is worth for a test point, solved.
    metric : str
        Metric for `scipy.spatial.distance.cdist`.
    metric_options : dict
        Its options.
    """

    x_train: FloatArray
    y_train: AnyArray
    x_test: FloatArray
    y_test: AnyArray
    game: KNNGame
    metric: str
    metric_options: dict[str, Any]
    guarantee: Guarantee = "exact"
    block_evaluations: int = 0

    @property
    def n_players(self) -> int:
        """Number of training points."""
        return len(self.x_train)

    @property
    def test_points_per_block(self) -> int:
        """Test points that one block looks at, fewer the more training points there are."""
        return max(1, min(MOST_TEST_POINTS_A_BLOCK, ENTRIES_A_BLOCK // self.n_players))

    @property
    def n_blocks(self) -> int:
        """Blocks until all test points were looked at."""
        return -(-len(self.x_test) // self.test_points_per_block)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the values."""
        digest = hashlib.blake2b(digest_size=16)
        for array in (self.x_train, self.y_train, self.x_test, self.y_test):
            digest.update(np.ascontiguousarray(array).tobytes())
        return {
            "method": "knn",
            "shapes": [list(self.x_train.shape), list(self.x_test.shape)],
            "content": digest.hexdigest(),
            "game": self.game.identity,
            "metric": [self.metric, repr(sorted(self.metric_options.items()))],
            "test_points_per_block": self.test_points_per_block,
        }

    def anchors(self) -> BoolArray:
        """Return no coalitions: nothing is trained."""
        return np.zeros((0, self.n_players), dtype=bool)

    def evaluate(
        self,
        block: int,
        utility: Callable[[BoolArray], FloatArray],
        rng: np.random.Generator,
        anchor_values: FloatArray,
    ) -> dict[str, AnyArray]:
        """Return ``sums`` [n] of the values over the test points of a block, and their number."""
        start = block * self.test_points_per_block
        rows = slice(start, start + self.test_points_per_block)
        order, distances = self._neighbours(self.x_test[rows])
        matches = (self.y_train[order] == self.y_test[rows, None]).astype(float)
        values = self.game.values(matches, distances)
        sums = np.bincount(order.ravel(), values.ravel(), self.n_players)
        return {"sums": sums, "count": np.array(len(order))}

    def _neighbours(self, x: FloatArray) -> tuple[AnyArray, FloatArray]:
        """Return training points [m, n], as the game wants them ordered, and their distances."""
        distances = cdist(x, self.x_train, self.metric, **self.metric_options)
        if not self.game.by_distance:
            return np.tile(np.arange(self.n_players), (len(x), 1)), distances
        order = np.argsort(distances, axis=1)
        ordered = np.take_along_axis(distances, order, axis=1)
        # The fast sort leaves equal distances in any order: rows that have some are done again,
        # so that ties go by the index.
        tied = (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)
        if tied.any():
            order[tied] = np.argsort(distances[tied], axis=1, kind="stable")
        return order, ordered

    def accumulator(self) -> _TestMean:
        """Return the running sum over test points."""
        return _TestMean(self.n_players, len(self.x_test))


class _TestMean:
    """Mean over the test points; no value before the last of them."""

    def __init__(self, n_players: int, n_test: int) -> None:
        self.sums = np.zeros(n_players)
        self.seen = 0
        self.n_test = n_test

    def fold(self, sample: Mapping[str, AnyArray]) -> None:
        """Add the sums of a block."""
        self.sums = self.sums + sample["sums"]
        self.seen += int(sample["count"])

    def estimate(self) -> Estimate:
        """Return exact values once all test points were seen, NaN before."""
        n = len(self.sums)
        done = self.seen == self.n_test
        values = self.sums / self.n_test if done else np.full(n, np.nan)
        counts = np.full(n, self.n_test if done else 0, dtype=np.int64)
        return Estimate(values, np.zeros(n), counts, np.full(n, 0.0 if done else np.inf))

    def state(self) -> dict[str, AnyArray]:
        """Return the arrays that `restore` needs."""
        return {"sums": self.sums.copy(), "seen": np.array(self.seen)}

    def restore(self, state: Mapping[str, AnyArray]) -> None:
        """Go back to a saved state."""
        self.sums = np.array(state["sums"], dtype=float)
        self.seen = int(state["seen"])
