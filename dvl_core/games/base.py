"""What all games share: checks of what comes in, and the base of the reference games."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from textwrap import shorten
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from dvl_core.errors import DataError, InvalidOptionError, UtilityError

if TYPE_CHECKING:
    from dvl_core.data import Dataset
    from dvl_core.protocols import BoolArray, FloatArray

__all__ = [
    "ReferenceGame",
    "checked_coalitions",
    "checked_n_players",
    "coalition_name",
    "require_players",
]

_NAMED_MEMBERS = 10
_SHOWN_CHARACTERS = 60


def checked_n_players(n: int, name: str = "n", least: int = 1) -> int:
    """Return the option `n` of that `name` as an int.

    Raises
    ------
    InvalidOptionError
        If it is no integer of at least `least`.
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < least:
        raise InvalidOptionError(f"{name} must be an integer of at least {least}, got {n!r}")
    return int(n)


def checked_coalitions(coalitions: BoolArray, n_players: int) -> BoolArray:
    """Return `coalitions` [b, n] as they are.

    Raises
    ------
    UtilityError
        If they are not boolean, or not of `n_players` players.
    """
    coalitions = np.asarray(coalitions)
    if coalitions.dtype != np.bool_ or coalitions.ndim != 2 or coalitions.shape[1] != n_players:
        raise UtilityError(
            f"coalitions must be a boolean array of shape [b, {n_players}], "
            f"got {coalitions.dtype} of shape {coalitions.shape}"
        )
    return coalitions


def coalition_name(coalition: BoolArray) -> str:
    """Return how messages name a coalition [n].

    Examples
    --------
    >>> coalition_name(np.array([True, False, True]))
    '{0, 2} (2 of 3 players)'
    """
    members = np.flatnonzero(coalition)
    listed = [str(member) for member in members[:_NAMED_MEMBERS]]
    if len(members) > _NAMED_MEMBERS:
        listed.append("...")
    return f"{{{', '.join(listed)}}} ({len(members)} of {len(coalition)} players)"


def require_players(train: Dataset, n_players: int, game: object) -> None:
    """Refuse data of another number of players than the game has.

    Raises
    ------
    DataError
        If ``len(train)`` is not `n_players`.
    """
    if len(train) != n_players:
        raise DataError(f"{game} has {n_players} players, the data has {len(train)}")


class ReferenceGame(ABC):
    """A game whose Shapley and Banzhaf values are known: a utility to test methods with.

    Subclasses evaluate so that a coalition has the same value, to the bit, in whatever batch it
    comes: in integers, or element by element.

    Parameters
    ----------
    n_players : int
        Number of players.
    parameters : dict of str to JSON-able values
        All that determines the game: constructor parameter names and values.
    """

    def __init__(self, n_players: int, parameters: dict[str, Any]) -> None:
        self._n_players = n_players
        self._parameters = parameters

    @property
    def n_players(self) -> int:
        """Number of players."""
        return self._n_players

    @property
    def fingerprint(self) -> str:
        """Digest of the class and its parameters."""
        identity = [type(self).__module__, type(self).__qualname__, self._parameters]
        content = json.dumps(identity, sort_keys=True).encode()
        return hashlib.blake2b(content, digest_size=16).hexdigest()

    @property
    def batch_invariant(self) -> bool:
        """Always true."""
        return True

    def with_data(self, train: Dataset) -> Self:
        """Return the game itself: it needs no data, but as many players as `train` has.

        Raises
        ------
        DataError
            If `train` has another number of players.
        """
        require_players(train, self._n_players, self)
        return self

    def __call__(self, coalitions: BoolArray) -> FloatArray:
        """Evaluate a batch.

        Parameters
        ----------
        coalitions : bool array [b, n]
            Members of each coalition.

        Returns
        -------
        float array [b]
            The worth of each coalition.

        Raises
        ------
        UtilityError
            If the coalitions are not boolean or not of the players of this game.
        """
        coalitions = checked_coalitions(coalitions, self._n_players)
        return np.asarray(self._evaluate(coalitions), dtype=np.float64)

    @abstractmethod
    def _evaluate(self, coalitions: BoolArray) -> Any:
        """Return the worth [b] of each of the checked `coalitions` [b, n]."""

    @abstractmethod
    def shapley_values(self) -> FloatArray:
        """Return the exact Shapley values [n]."""

    @abstractmethod
    def banzhaf_values(self) -> FloatArray:
        """Return the exact Banzhaf values [n], for p = 1/2."""

    def __repr__(self) -> str:
        parameters = ", ".join(
            f"{name}={shorten(str(value), _SHOWN_CHARACTERS, placeholder=' ...]')}"
            for name, value in self._parameters.items()
        )
        return f"{type(self).__name__}({parameters})"
