"""Which options of a model are reproduced: those that a trainer names; all others at defaults."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np

from dvl_batched.problem import NotReproducedError

__all__ = ["anything", "check_options", "count", "number", "one_of", "positive"]

Accepts = Callable[[Any], bool]


def anything(value: Any) -> bool:
    """Accept any value, of an option that does not touch the answer."""
    return True


def number(value: Any) -> bool:
    """Accept a finite number."""
    plain = isinstance(value, Real) and not isinstance(value, bool | np.bool_)
    return plain and bool(np.isfinite(float(value)))


def count(value: Any) -> bool:
    """Accept a whole number above zero."""
    return isinstance(value, Integral) and not isinstance(value, bool) and value > 0


def positive(value: Any) -> bool:
    """Accept a finite number above zero."""
    return number(value) and float(value) > 0


def one_of(*choices: Any) -> Accepts:
    """Return a test that accepts these values."""

    def accepts(value: Any) -> bool:
        return any(type(value) is type(choice) and value == choice for choice in choices)

    return accepts


def check_options(model: Any, accepted: Mapping[str, Accepts]) -> None:
    """Refuse a model with an option that is neither accepted nor at its default.

    Parameters
    ----------
    model : estimator
        Its parameters are looked at, those of newer versions of scikit-learn included.
    accepted : mapping
        Test of the value by the name of the parameter.

    Raises
    ------
    NotReproducedError
        Names the parameter.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> check_options(Ridge(alpha=2.0), {"alpha": positive})
    >>> check_options(Ridge(positive=True), {"alpha": positive})
    Traceback (most recent call last):
        ...
    dvl_batched.problem.NotReproducedError: Ridge(positive=True) is not reproduced
    """
    defaults = inspect.signature(type(model)).parameters
    for name, value in model.get_params(deep=False).items():
        if name in accepted:
            fine = accepted[name](value)
        else:
            default = defaults[name].default
            fine = value is default or (type(value) is type(default) and value == default)
        if not fine:
            raise NotReproducedError(f"{type(model).__name__}({name}={value!r}) is not reproduced")
