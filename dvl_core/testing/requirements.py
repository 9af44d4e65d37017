"""What checks share: how they say that something does not hold, and how much noise they allow."""

from __future__ import annotations

import pickle
from typing import TypeVar

from dvl_core.errors import ConformanceError

__all__ = ["ERRORS_ALLOWED", "NotApplicable", "pickled_copy", "require"]

T = TypeVar("T")

ERRORS_ALLOWED = 5.5
"""Standard errors that an estimate may be off: a false alarm once in 20 million comparisons."""


class NotApplicable(Exception):  # noqa: N818 it ends a check, but nothing is wrong
    """A check has nothing to ask of this component; the message says why."""


def require(condition: bool, sentence: str) -> None:
    """Raise `ConformanceError` with `sentence` unless `condition`."""
    if not condition:
        raise ConformanceError(sentence)


def pickled_copy(component: T) -> T:
    """Return the copy of a component that a worker process would get."""
    copy: T = pickle.loads(pickle.dumps(component))  # noqa: S301 made on this very line
    return copy
