"""What a game is given, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

__all__ = ["KNNGame", "Neighbours", "Shares", "from_steps"]


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The training points around m test points, as a game wants them ordered.

    Parameters
    ----------
    order : int array [m, k]
        Numbers of the training points.
    distances : float array [m, k], optional
        Their distances, for the games that look at them.
    targets : array [m, k]
        Their targets.
    wanted : array [m]
        Targets of the test points.
    """

    order: IntArray
    distances: FloatArray | None
    targets: NDArray[Any]
    wanted: NDArray[Any]

    @cached_property
    def matches(self) -> NDArray[np.int8]:
        """1 where a training point has the label of the test point, else 0, [m, k]."""
        return (self.targets == self.wanted[:, None]).view(np.int8)


class Shares(NamedTuple):
    """What players get from test points: `values` [m, k] for the `players` [m, k]."""

    players: IntArray
    values: FloatArray


class KNNGame(Protocol):
    """A game of nearest neighbours, solved."""

    @property
    def by_distance(self) -> bool:
        """Whether the training points must come in the order of their distance."""

    @property
    def uses_distances(self) -> bool:
        """Whether it looks at the distances, not at their order alone."""

    @property
    def identity(self) -> dict[str, Any]:
        """JSON-able description of what decides the values."""

    def shares(self, neighbours: Neighbours) -> Shares:
        """Return the values of the players for each test point; who is not named gets nothing."""


def from_steps(steps: FloatArray) -> FloatArray:
    """Return the sums of each row's entries from every position to the last, in place."""
    np.cumsum(steps[:, ::-1], axis=1, out=steps[:, ::-1])
    return steps
