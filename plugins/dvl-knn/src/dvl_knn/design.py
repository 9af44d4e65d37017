"""Blocks of test points: the neighbours of each, then the solution of the game."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core.statistics import Estimate
from dvl_knn.games import Neighbours
from dvl_knn.ordering import in_order

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dvl_core.protocols import AnyArray, BoolArray, FloatArray, Guarantee
    from dvl_knn.games import KNNGame
    from dvl_knn.neighbours import NeighbourSearch
    from dvl_knn.rows import Rows

    IntArray = NDArray[np.int64]

__all__ = ["KNNDesign"]

MOST_TEST_POINTS_A_BLOCK = 64
ENTRIES_A_BLOCK = 4_000_000
"""Test points times training points; about 40 bytes of working memory an entry."""


@dataclass(frozen=True, eq=False)
class KNNDesign:
    """Values in a game of nearest neighbours, means over the test points.

    Parameters
    ----------
    n_players : int
        Training points, or groups of them.
    search : NeighbourSearch
        Finds the training points near a test point.
    y_train, y_test : array [n], [t]
        Encoded labels, or numbers.
    x_test : Rows
        Features of the test points [t, d].
    game : KNNGame
        What a coalition is worth for a test point, solved.
    groups : int array [n], optional
        Group of each training point, for the identity: the game knows what to do with it.
    error_bound : float
        How far a value may be off; 0: exact.
    keep_points : bool
        Keep the values for each test point.
    """

    n_players: int
    search: NeighbourSearch
    y_train: AnyArray
    x_test: Rows
    y_test: AnyArray
    game: KNNGame
    groups: AnyArray | None = None
    error_bound: float = 0.0
    keep_points: bool = False
    block_evaluations: int = 0

    @property
    def guarantee(self) -> Guarantee:
        """Exact, unless far neighbours are left out."""
        return "biased-by-option" if self.error_bound > 0 else "exact"

    @property
    def test_points_per_block(self) -> int:
        """Test points that one block looks at, fewer the more neighbours they have."""
        return max(1, min(MOST_TEST_POINTS_A_BLOCK, ENTRIES_A_BLOCK // self.search.n_nearest))

    @property
    def n_blocks(self) -> int:
        """Blocks until all test points were looked at."""
        return -(-len(self.x_test) // self.test_points_per_block)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the values."""
        digest = hashlib.blake2b(digest_size=16)
        targets = [self.y_train, self.y_test, *([] if self.groups is None else [self.groups])]
        arrays = [*self.search.x_train.arrays, *self.x_test.arrays, *targets]
        for array in arrays:
            digest.update(np.ascontiguousarray(array).data)
        return {
            "method": "knn",
            "arrays": [[array.dtype.str, list(array.shape)] for array in arrays],
            "n_players": self.n_players,
            "content": digest.hexdigest(),
            "game": self.game.identity,
            "metric": [self.search.metric.name, repr(self.search.metric.options)],
            "n_nearest": self.search.n_nearest,
            "test_points_per_block": self.test_points_per_block,
            "keep_points": self.keep_points,
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
        """Return ``sums`` [n] of the values over the test points of a block, and their number.

        If the values for each test point are kept, also ``points`` [m, n].
        """
        start = block * self.test_points_per_block
        rows = slice(start, start + self.test_points_per_block)
        order, distances = self._around(self.x_test.take(rows))
        neighbours = Neighbours(order, distances, self.y_train[order], self.y_test[rows])
        players, values = self.game.shares(neighbours)
        sums = np.bincount(players.ravel(), values.ravel(), self.n_players)
        sample = {"sums": sums, "count": np.array(len(order))}
        if self.keep_points:
            points = np.zeros((len(order), self.n_players))
            np.put_along_axis(points, players, values, axis=1)
            sample["points"] = points
        return sample

    def _around(self, x: FloatArray) -> tuple[IntArray, FloatArray | None]:
        """Return the training points [m, k] around test points, and their distances if used."""
        if not self.game.uses_distances:
            return self.search.order(x), None
        distances = self.search.distances(x)
        if not self.game.by_distance:
            return np.tile(np.arange(distances.shape[1]), (len(x), 1)), distances
        order = in_order(distances)
        return order, np.take_along_axis(distances, order, axis=1)

    def accumulator(self) -> _TestMean:
        """Return the running sum over test points."""
        return _TestMean(self.n_players, len(self.x_test), self.error_bound, self.keep_points)


class _TestMean:
    """Mean over the test points; no value before the last of them."""

    def __init__(self, n: int, n_test: int, error_bound: float, keep_points: bool) -> None:
        self.sums = np.zeros(n)
        self.seen = 0
        self.n_test = n_test
        self.error_bound = error_bound
        self.points = np.full((n_test, n), np.nan) if keep_points else None

    def fold(self, sample: Mapping[str, AnyArray]) -> None:
        """Add the sums of a block."""
        self.sums = self.sums + sample["sums"]
        count = int(sample["count"])
        if self.points is not None:
            self.points[self.seen : self.seen + count] = sample["points"]
        self.seen += count

    def estimate(self) -> Estimate:
        """Return the values once all test points were seen, NaN before."""
        n = len(self.sums)
        done = self.seen == self.n_test
        values = self.sums / self.n_test if done else np.full(n, np.nan)
        counts = np.full(n, self.n_test if done else 0, dtype=np.int64)
        return Estimate(values, np.zeros(n), counts, np.full(n, 0.0 if done else np.inf))

    def finish(self) -> tuple[Estimate, dict[str, Any]]:
        """Return the values, and what else is known of them."""
        extras: dict[str, Any] = {}
        if self.error_bound > 0:
            extras["error_bound"] = self.error_bound
        if self.points is not None:
            extras["test_point_values"] = self.points
        return self.estimate(), extras

    def state(self) -> dict[str, AnyArray]:
        """Return the arrays that `restore` needs."""
        state = {"sums": self.sums.copy(), "seen": np.array(self.seen)}
        return state if self.points is None else state | {"points": self.points.copy()}

    def restore(self, state: Mapping[str, AnyArray]) -> None:
        """Go back to a saved state."""
        self.sums = np.array(state["sums"], dtype=float)
        self.seen = int(state["seen"])
        if self.points is not None:
            self.points = np.array(state["points"], dtype=float)
