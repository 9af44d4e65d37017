"""What utilities have in common that evaluate a `ModelUtility` in another way."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Self

from dvl_core.errors import InvalidOptionError
from dvl_core.ledger import values_through_store
from dvl_core.utilities.model import ModelUtility

if TYPE_CHECKING:
    from dvl_core.data import Dataset
    from dvl_core.protocols import BoolArray, Evaluation, FloatArray, Store

__all__ = ["ModelUtilityWrapper"]


class ModelUtilityWrapper(ABC):
    """A utility with the players, the store and the seed of the one that it wraps.

    A subclass says how coalitions are evaluated, and by which fingerprint it is known. What it
    keeps as ``_prepared`` follows from the rest: it does not travel, and copies have none.

    Parameters
    ----------
    utility : ModelUtility
        What is wrapped; no subclass, which may fit or score in its own way.

    Raises
    ------
    InvalidOptionError
        If `utility` is no `ModelUtility`.
    """

    def __init__(self, utility: ModelUtility) -> None:
        if type(utility) is not ModelUtility:
            raise InvalidOptionError(f"utility must be a ModelUtility, got {utility!r}")
        self.utility = utility

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.utility!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {name: part for name, part in self.__dict__.items() if name != "_prepared"}

    @property
    def n_players(self) -> int | None:
        """Number of players; None until bound to data."""
        return self.utility.n_players

    @property
    def store(self) -> Store | None:
        """The ledger of the utility."""
        return self.utility.store

    @property
    @abstractmethod
    def fingerprint(self) -> str | None:
        """Digest that tells it from the utility it wraps; None if that has none."""

    @property
    @abstractmethod
    def batch_invariant(self) -> bool:
        """Whether a coalition has the same value, to the bit, in whatever batch it comes."""

    def with_data(self, train: Dataset) -> Self:
        """Return a copy bound to the players of `train`.

        Raises
        ------
        DataError
            If `train` is not a `Dataset`.
        """
        return self._changed(self.utility.with_data(train))

    def with_seed(self, seed: int) -> Self:
        """Return a copy in which every ``random_state`` of None is fixed."""
        return self._changed(self.utility.with_seed(seed))

    def __call__(self, coalitions: BoolArray) -> FloatArray:
        """Return the utilities [b] of `coalitions` [b, n], through the store if there is one.

        Raises
        ------
        DataError
            If the utility is not bound to data, or `coalitions` has another shape or type.
        UtilityError
            If an error stops the run, see `ModelUtility`; the message names the coalition.
        """
        if self.store is None:
            return self.evaluate(coalitions).values
        return values_through_store(self, coalitions, self.store)

    @abstractmethod
    def evaluate(self, coalitions: BoolArray) -> Evaluation:
        """Compute utilities, and tell which of them are stand-ins for failures.

        Parameters and errors are those of calling the utility; the store is not used.
        """

    def _changed(self, utility: ModelUtility) -> Self:
        """Return a copy around another utility."""
        other = copy.copy(self)
        other.__dict__.pop("_prepared", None)
        other.utility = utility
        return other
