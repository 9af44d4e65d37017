"""Fingerprints: by which stores and checkpoints recognise a model, a function, a utility."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dvl_core.digests import UndigestibleError, digest
from dvl_core.utilities.seeding import is_seeded

__all__ = [
    "fingerprint_function",
    "fingerprint_model",
    "fingerprint_object",
    "fingerprint_of",
]


def fingerprint_of(*parts: str | None) -> str | None:
    """Return the digest of several fingerprints; None if one of them is not known.

    Examples
    --------
    >>> fingerprint_of("model", None) is None
    True
    """
    return None if None in parts else digest(*parts)


def fingerprint_object(thing: object) -> str | None:
    """Return the digest of an object's class and content; None if that cannot be told."""
    try:
        return digest(thing)
    except UndigestibleError:
        return None


def fingerprint_model(model: Any) -> str | None:
    """Return the digest of all that decides what `model` learns from given data.

    Parameters
    ----------
    model : object
        Anything with ``fit``. Estimators count by class and parameters, fitted or not; other
        objects by class and state. Classes that are not of an installed distribution count by
        their code, the others by name and version.

    Returns
    -------
    str or None
        None if the content cannot be told, or if a ``random_state`` is None, so that two fits
        would differ.

    Examples
    --------
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> fingerprint_model(RandomForestClassifier()) is None
    True
    >>> fingerprint_model(RandomForestClassifier(random_state=0)) is None
    False
    """
    return fingerprint_object(model) if is_seeded(model) else None


def fingerprint_function(function: Callable[..., Any]) -> str | None:
    """Return the digest of a function: its code and the values that the code refers to.

    Parameters
    ----------
    function : callable
        Its bytecode, constants, defaults, closure and the globals that it reads count, and those
        of the functions among them; of a function in an installed distribution, name and version.
        A module that is not installed counts by its source.

    Returns
    -------
    str or None
        None if something that it refers to cannot be told, such as a lock or an open file.

    Examples
    --------
    >>> def plus(step):
    ...     return lambda x: x + step
    >>> fingerprint_function(plus(1)) == fingerprint_function(plus(1))
    True
    >>> fingerprint_function(plus(1)) == fingerprint_function(plus(2))
    False
    """
    return fingerprint_object(function)
