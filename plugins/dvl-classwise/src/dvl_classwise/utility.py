"""The games of all classes in one utility: which one is played is part of the coalition."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from dvl_core.protocols import Evaluation
from dvl_core.utilities.fingerprint import fingerprint_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dvl_core.data import Dataset
    from dvl_core.protocols import Store
    from dvl_core.utilities import ModelUtility

__all__ = ["ClasswiseUtility"]


class ClasswiseUtility:
    """Several utilities of the same players, which differ by their scorers.

    A row of coalitions has one column for each player and, behind them, one for each game, of which
    one is true. Nothing else says which scorer judges a model: no state is shared between
    evaluations, and a store tells the games apart because it tells coalitions apart.

    Parameters
    ----------
    games : sequence of ModelUtility
        Bound to the same training data.
    store : Store, optional
        Of the utility that the games are made of.
    """

    def __init__(self, games: Sequence[ModelUtility], store: Store | None = None) -> None:
        self.games = tuple(games)
        self.store = store

    def __repr__(self) -> str:
        return f"ClasswiseUtility({len(self.games)} games of {self.games[0]!r})"

    @property
    def n_players(self) -> int | None:
        """Number of columns: players and games; None until bound to data."""
        players = self.games[0].n_players
        return None if players is None else players + len(self.games)

    @property
    def batch_invariant(self) -> bool:
        """Whether a coalition has the same value in whatever batch it comes."""
        return all(game.batch_invariant for game in self.games)

    @cached_property
    def fingerprint(self) -> str | None:
        """Digest of all games; None if one of them has none."""
        return fingerprint_of("ClasswiseUtility", *(game.fingerprint for game in self.games))

    def with_data(self, train: Dataset) -> Self:
        """Return a copy whose games are bound to `train`."""
        return type(self)([game.with_data(train) for game in self.games], self.store)

    def with_seed(self, seed: int) -> Self:
        """Return a copy whose games have the same seed."""
        return type(self)([game.with_seed(seed) for game in self.games], self.store)

    def __call__(self, coalitions: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the value [b] of each row of `coalitions` [b, n + games]."""
        return self.evaluate(coalitions).values

    def evaluate(self, coalitions: NDArray[np.bool_]) -> Evaluation:
        """Return values and failures [b] of each row of `coalitions` [b, n + games].

        Raises
        ------
        UtilityError
            If an error stops the run, see `ModelUtility`; the message names the coalition.
        """
        n_games = len(self.games)
        players, asked = coalitions[:, :-n_games], coalitions[:, -n_games:]
        values: NDArray[Any] = np.zeros(len(coalitions))
        failed: NDArray[Any] = np.zeros(len(coalitions), dtype=bool)
        for number in np.flatnonzero(asked.any(axis=0)):
            rows = asked[:, number]
            evaluation = self.games[number].evaluate(players[rows])
            values[rows], failed[rows] = evaluation.values, evaluation.failed
        return Evaluation(values, failed)
