"""Models as recipes: unfitted copies, with their randomness fixed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sklearn.base import clone

from dvl_core.seeds import derived_seed

__all__ = ["copier_of", "is_seeded", "parts_of", "seeded"]


def copier_of(model: Any) -> Callable[[Any], Any]:
    """Return what makes an independent copy of `model`: scikit-learn's clone, or a deep copy."""
    if not hasattr(model, "get_params") or isinstance(model, type):
        return copy.deepcopy
    try:
        clone(model)
    except (TypeError, RuntimeError):
        # It has get_params but not scikit-learn's rules for constructors.
        return copy.deepcopy
    return _clone


def _clone(model: Any) -> Any:
    return clone(model)


def is_seeded(model: Any) -> bool:
    """Return whether no ``random_state`` in `model` is left None."""
    return next(_unseeded(model), None) is None


def seeded(model: Any, seed: int) -> Any:
    """Return a copy of `model` in which every ``random_state`` of None became an integer.

    Parameters
    ----------
    model : object
        Its nested estimators, splitters and, if it is not an estimator, attributes are searched.
    seed : int
        Each gets an integer of its own that follows from it.

    Examples
    --------
    >>> from sklearn.svm import SVC
    >>> seeded(SVC(), 7).random_state == seeded(SVC(), 7).random_state
    True
    >>> seeded(SVC(random_state=3), 7).random_state
    3
    """
    result = copier_of(model)(model)
    for position, owner in enumerate(list(_unseeded(result))):
        # Purpose 0 of the seed is the caller's.
        state = derived_seed(seed, 1 + position)
        if "random_state" in _parameters(owner):
            owner.set_params(random_state=state)
        else:
            owner.random_state = state
    return result


def parts_of(part: Any, seen: set[int] | None = None, is_root: bool = True) -> Iterator[Any]:
    """Yield a model and what it is made of: nested estimators, splitters, classes, attributes.

    Objects without parameters or a ``random_state`` are yielded, but not searched, unless they are
    the model itself.
    """
    seen = set() if seen is None else seen
    if isinstance(part, list | tuple):
        children = list(part)
    elif isinstance(part, Mapping):
        children = list(part.values())
    elif id(part) in seen:
        return
    else:
        seen.add(id(part))
        yield part
        if isinstance(part, type):
            return
        parameters = _parameters(part)
        searched = parameters or is_root or hasattr(part, "random_state")
        attributes = getattr(part, "__dict__", {}) if searched else {}
        children = list((parameters or attributes).values())
    for child in children:
        yield from parts_of(child, seen, is_root=False)


def _unseeded(model: Any) -> Iterator[Any]:
    """Yield the parts of `model`, itself included, whose ``random_state`` is None."""
    for part in parts_of(model):
        if not isinstance(part, type):
            parameters = _parameters(part)
            has_state = "random_state" in parameters or hasattr(part, "random_state")
            if has_state and _random_state(part, parameters) is None:
                yield part


def _parameters(part: Any) -> Mapping[str, Any]:
    """Return the parameters of an estimator, by name; nothing for other objects."""
    if isinstance(part, type) or not hasattr(part, "get_params"):
        return {}
    try:
        parameters = part.get_params(deep=False)
    except (TypeError, AttributeError, RuntimeError):
        return {}
    return dict(sorted(parameters.items())) if isinstance(parameters, Mapping) else {}


def _random_state(part: Any, parameters: Mapping[str, Any]) -> Any:
    return parameters.get("random_state", getattr(part, "random_state", None))
