"""Models of a utility, and the one that sees nothing but who is in a coalition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from dvl_core.errors import InvalidOptionError
from dvl_core.options import Described
from dvl_core.utilities.seeding import seeded

if TYPE_CHECKING:
    from dvl_core.data import Dataset
    from dvl_core.protocols import BoolArray, FloatArray

__all__ = ["IndicatorUtilityModel", "Predictor", "UtilityModel", "as_utility_model"]

Predictor: TypeAlias = Callable[["BoolArray"], "FloatArray"]
"""What a model has learned: coalitions [b, n] to their predicted worth [b]."""


@runtime_checkable
class UtilityModel(Protocol):
    """How to learn a utility from coalitions of known worth: a recipe that stays as it is."""

    def learn(
        self,
        coalitions: BoolArray,
        utilities: FloatArray,
        *,
        train: Dataset | None,
        seed: int,
    ) -> Predictor:
        """Return what predicts the worth [b] of coalitions [b, n]; it must be picklable.

        Parameters
        ----------
        coalitions : bool array [m, n]
            Members of each coalition.
        utilities : float array [m]
            What each is worth.
        train : Dataset, optional
            The players; None if the utility was never bound to any data.
        seed : int
            Decides all randomness.
        """


class IndicatorUtilityModel(Described):
    """A regression of the worth on the membership of each player, 0 or 1.

    It takes no notice of who the players are. With linear regression the learned utility is
    additive, and each semivalue of a player is its coefficient.

    Parameters
    ----------
    regressor : object
        Any scikit-learn regressor, or object with ``fit(x, y)`` and ``predict(x)``. It is copied,
        and a ``random_state`` of None is set from the seed.

    Raises
    ------
    InvalidOptionError
        If the regressor has no ``fit`` or no ``predict``.

    Examples
    --------
    >>> from sklearn.linear_model import LinearRegression
    >>> coalitions = np.array([[0, 0], [1, 0], [0, 1]], dtype=bool)
    >>> model = IndicatorUtilityModel(LinearRegression())
    >>> predict = model.learn(coalitions, np.array([1.0, 3.0, 4.0]), train=None, seed=0)
    >>> predict(np.array([[True, True]])).round(6)
    array([6.])
    """

    def __init__(self, regressor: Any) -> None:
        if isinstance(regressor, type):
            raise InvalidOptionError(
                f"the regressor must be an object, {regressor.__name__} is a class: call it"
            )
        for method in ("fit", "predict"):
            if not callable(getattr(regressor, method, None)):
                raise InvalidOptionError(
                    f"the regressor of a utility must have fit(x, y) and predict(x); "
                    f"{regressor!r} has no {method}"
                )
        self.regressor = regressor

    def learn(
        self,
        coalitions: BoolArray,
        utilities: FloatArray,
        *,
        train: Dataset | None,
        seed: int,
    ) -> Predictor:
        """Fit a copy of the regressor and return its predictions."""
        regressor = seeded(self.regressor, seed)
        regressor.fit(coalitions.astype(np.float64), utilities)
        return _IndicatorPredictor(regressor)


@dataclass(frozen=True)
class _IndicatorPredictor:
    """Predictions of a fitted regressor."""

    regressor: Any

    def __call__(self, coalitions: BoolArray) -> FloatArray:
        """Return the predicted worth [b] of `coalitions` [b, n]."""
        return np.asarray(self.regressor.predict(coalitions.astype(np.float64)), dtype=np.float64)


def as_utility_model(model: Any) -> UtilityModel:
    """Return a model of a utility: as it is, or a regressor on membership.

    Raises
    ------
    InvalidOptionError
        If it is neither.
    """
    if isinstance(model, UtilityModel) and not isinstance(model, type):
        return model
    return IndicatorUtilityModel(model)
