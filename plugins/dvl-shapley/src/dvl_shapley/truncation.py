"""Rules that end a chain before all players have joined."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DeviationTruncation", "FixedTruncation", "RelativeTruncation"]


@dataclass(frozen=True)
class RelativeTruncation:
    """End when the utility is close to that of the full coalition.

    Parameters
    ----------
    tolerance : float
        Relative to the distance between the utilities of the empty and the full coalition.
    burn_in : float
        Fraction of the players that always join.

    Examples
    --------
    >>> rule = RelativeTruncation(tolerance=0.1, burn_in=0.0)
    >>> rule.stop(10, np.array([[0.0, 0.2, 0.5], [0.0, 0.9, 0.95]]), full=1.0)
    array([False,  True])
    """

    tolerance: float
    burn_in: float

    @property
    def identity(self) -> dict[str, Any]:
        """JSON-able description."""
        return {"rule": "relative", **asdict(self)}

    def stop(self, n_players: int, path: NDArray[np.float64], full: float) -> NDArray[np.bool_]:
        """Return which chains [m] end, given the utilities [m, size + 1] of their prefixes."""
        if path.shape[1] <= max(1.0, self.burn_in * n_players):
            return np.zeros(len(path), dtype=bool)
        empty, last = path[:, 0], path[:, -1]
        return np.asarray(np.abs(last - full) <= self.tolerance * np.abs(full - empty))


@dataclass(frozen=True)
class DeviationTruncation:
    """End when the utility is closer to that of the full coalition than it varies along the chain.

    Parameters
    ----------
    deviations : float
        How close, in standard deviations of the utilities along the chain so far.
    burn_in : float
        Fraction of the players that always join, at least three of them.

    Examples
    --------
    >>> rule = DeviationTruncation(deviations=0.5, burn_in=0.0)
    >>> rule.stop(10, np.array([[0.0, 0.1, 0.2, 0.3], [0.0, 0.6, 0.8, 0.9]]), full=1.0)
    array([False,  True])
    """

    deviations: float
    burn_in: float

    @property
    def identity(self) -> dict[str, Any]:
        """JSON-able description."""
        return {"rule": "deviation", **asdict(self)}

    def stop(self, n_players: int, path: NDArray[np.float64], full: float) -> NDArray[np.bool_]:
        """Return which chains [m] end, given the utilities [m, size + 1] of their prefixes."""
        if path.shape[1] <= max(3.0, self.burn_in * n_players):
            return np.zeros(len(path), dtype=bool)
        spread = path.std(axis=1, ddof=1)
        return np.asarray(np.abs(path[:, -1] - full) <= self.deviations * spread)


@dataclass(frozen=True)
class FixedTruncation:
    """End after a fraction of the players.

    Parameters
    ----------
    fraction : float
        Of the players, between 0 and 1.
    """

    fraction: float

    @property
    def identity(self) -> dict[str, Any]:
        """JSON-able description."""
        return {"rule": "fixed", **asdict(self)}

    def stop(self, n_players: int, path: NDArray[np.float64], full: float) -> NDArray[np.bool_]:
        """Return which chains [m] end, given the utilities [m, size + 1] of their prefixes."""
        size = path.shape[1] - 1
        return np.full(len(path), size >= self.fraction * n_players)
