"""How a check says that something does not hold, or that there is nothing to check."""

from __future__ import annotations

from dvl_core.errors import ConformanceError

__all__ = ["NotApplicable", "require"]


class NotApplicable(Exception):  # noqa: N818 it ends a check, but nothing is wrong
    """A check has nothing to ask of this component; the message says why."""


def require(condition: bool, sentence: str) -> None:
    """Raise `ConformanceError` with `sentence` unless `condition`."""
    if not condition:
        raise ConformanceError(sentence)
