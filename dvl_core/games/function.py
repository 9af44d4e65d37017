"""A utility from any function of coalitions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from dvl_core.errors import InvalidOptionError, UtilityError
from dvl_core.games.base import (
    checked_coalitions,
    checked_n_players,
    coalition_name,
    require_players,
)

if TYPE_CHECKING:
    from dvl_core.data import Dataset
    from dvl_core.protocols import BoolArray, FloatArray

__all__ = ["FunctionGame"]


class FunctionGame:
    """A game given by a function: no data, no model.

    Parameters
    ----------
    n : int
        Number of players.
    function : callable, bool array [b, n] -> float array [b]
        Worth of each coalition of a batch. It must not change its argument.
    fingerprint : str, optional
        Digest of all that determines the values of `function`. By default it is computed from the
        code of the function and what it refers to, where that can be known; otherwise runs of this
        game are neither stored nor resumed exactly.

    Examples
    --------
    >>> import numpy as np
    >>> game = FunctionGame(3, lambda coalitions: coalitions.sum(axis=1) ** 2)
    >>> game(np.array([[True, True, False], [True, True, True]]))
    array([4., 9.])
    """

    def __init__(
        self,
        n: int,
        function: Callable[[BoolArray], FloatArray],
        *,
        fingerprint: str | None = None,
    ) -> None:
        if not callable(function):
            raise InvalidOptionError(f"function must be callable, got {function!r}")
        self.n = checked_n_players(n)
        self.function = function
        self._fingerprint = fingerprint

    @property
    def n_players(self) -> int:
        """Number of players."""
        return self.n

    @property
    def fingerprint(self) -> str | None:
        """Digest of all that determines the values; None if that cannot be known."""
        if self._fingerprint is not None:
            return self._fingerprint
        from dvl_core.utilities.fingerprint import fingerprint_function

        return fingerprint_function(self.function)

    @property
    def batch_invariant(self) -> bool:
        """Always false: a matrix product, for one, may round otherwise in a larger batch."""
        return False

    def with_data(self, train: Dataset) -> Self:
        """Return the game itself: it needs no data, but as many players as `train` has.

        Raises
        ------
        DataError
            If `train` has another number of players.
        """
        require_players(train, self.n, self)
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
            If the coalitions do not fit the game, or the function fails or returns anything but one
            finite number a coalition.
        """
        # The function gets a view that it cannot write to: the coalitions are the engine's.
        view = checked_coalitions(coalitions, self.n).view()
        view.flags.writeable = False
        if len(view) == 0:
            return np.empty(0)
        try:
            returned = self.function(view)
        except MemoryError:
            # Not the fault of the coalition: the engine tries again.
            raise
        except Exception as error:
            raise UtilityError(
                f"the function of {self} failed on a batch of {len(view)} coalitions, the first "
                f"{coalition_name(view[0])}: {type(error).__name__}: {error}"
            ) from error
        return self._checked_values(returned, view)

    def _checked_values(self, returned: Any, coalitions: BoolArray) -> FloatArray:
        """Return a copy of what the function returned, as float64 [b]."""
        array = np.asarray(returned)
        if array.shape != (len(coalitions),) or array.dtype.kind not in "biuf":
            raise UtilityError(
                f"the function of {self} must return a number for each of {len(coalitions)} "
                f"coalitions, it returned {array.dtype} of shape {array.shape}"
            )
        values = array.astype(np.float64)
        finite = np.isfinite(values)
        if not finite.all():
            first = int(np.argmin(finite))
            raise UtilityError(
                f"the function of {self} returned {values[first]} for the coalition "
                f"{coalition_name(coalitions[first])}"
            )
        return values

    def __repr__(self) -> str:
        name = getattr(self.function, "__qualname__", type(self.function).__name__)
        return f"FunctionGame(n={self.n}, function={name})"
