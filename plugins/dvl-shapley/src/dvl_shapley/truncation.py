"""Rules that end a chain before all players have joined."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FixedTruncation", "RelativeTruncation"]


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
    >>> rule.stop(3, 10, np.array([0.5, 0.95]), empty=0.0, full=1.0)
    array([False,  True])
    """

    tolerance: float
    burn_in: float

    @property
    def identity(self) -> dict[str, Any]:
        """JSON-able description."""
        return {"rule": "relative", **asdict(self)}

    def stop(
        self, size: int, n_players: int, values: NDArray[np.float64], empty: float, full: float
    ) -> NDArray[np.bool_]:
        """Return which chains [m] end, given the utilities [m] of their prefixes of `size`."""
        if size < max(1.0, self.burn_in * n_players):
            return np.zeros(len(values), dtype=bool)
        return np.abs(values - full) <= self.tolerance * abs(full - empty)


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

    def stop(
        self, size: int, n_players: int, values: NDArray[np.float64], empty: float, full: float
    ) -> NDArray[np.bool_]:
        """Return which chains [m] end, given the utilities [m] of their prefixes of `size`."""
        return np.full(len(values), size >= self.fraction * n_players)
