"""Random values: what every method must beat."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core.profiles import MethodProfile
from dvl_core.statistics import Estimate
from dvl_core.valuation import OneShotValuation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dvl_core.data import Dataset
    from dvl_core.protocols import Guarantee

__all__ = ["RandomValuation"]


class RandomValuation(OneShotValuation):
    """Independent uniform values in [0, 1): the baseline of experiments.

    Parameters
    ----------
    seed : int, optional
        Decides the values; None: a fresh one, kept in the result.
    progress : bool
        Show a progress bar on stderr, if that is a terminal.
    checkpoint : path, optional
        File to resume from and to save the state of the run to.

    Examples
    --------
    >>> from dvl_core import Dataset
    >>> train = Dataset([[1.0], [2.0]], [0, 1])
    >>> first = RandomValuation(seed=1).fit(train).result.values
    >>> bool((first == RandomValuation(seed=1).fit(train).result.values).all())
    True
    """

    algorithm = "random"
    profile = MethodProfile(
        answers="nothing: the baseline to beat",
        guarantee="none",
        cost="none",
        needs="nothing",
    )
    backend = None

    def __init__(
        self,
        *,
        seed: int | None = None,
        progress: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> None:
        self.seed = seed
        self.progress = progress
        self.checkpoint = checkpoint

    def design(self, train: Dataset, seed: int) -> _RandomDesign:
        """Return the design that draws a number for each player of `train`."""
        return _RandomDesign(len(train))


@dataclass(frozen=True)
class _RandomDesign:
    """One block: a number for each player."""

    n_players: int
    n_blocks: int = 1
    block_evaluations: int = 0
    guarantee: Guarantee = "exact"

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the draws, the seed apart."""
        return {"method": "random", "n_players": self.n_players}

    def anchors(self) -> NDArray[np.bool_]:
        """Return no coalitions: nothing is evaluated."""
        return np.zeros((0, self.n_players), dtype=bool)

    def evaluate(
        self,
        block: int,
        utility: Callable[[NDArray[np.bool_]], NDArray[np.float64]],
        rng: np.random.Generator,
        anchor_values: NDArray[np.float64],
    ) -> dict[str, NDArray[Any]]:
        """Draw the values [n]."""
        return {"values": rng.random(self.n_players)}

    def accumulator(self) -> _Drawn:
        """Return the statistics of a run."""
        return _Drawn(self.n_players)


class _Drawn:
    """Keeps the values; nothing informs them, so that counts are zero."""

    def __init__(self, n_players: int) -> None:
        self.values = np.full(n_players, np.nan)

    def fold(self, sample: Mapping[str, NDArray[Any]]) -> None:
        """Take in the values."""
        self.values = sample["values"]

    def estimate(self) -> Estimate:
        """Return the values, which are what they are."""
        zeros = np.zeros(len(self.values))
        return Estimate(self.values.copy(), zeros, zeros.astype(np.int64), zeros.copy())

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that `restore` needs."""
        return {"values": self.values.copy()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go back to a saved state."""
        self.values = np.array(state["values"], dtype=float)
