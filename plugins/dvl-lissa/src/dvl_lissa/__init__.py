"""Influence by the stochastic Neumann recursion LiSSA, with a scale that is measured."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_EXPORTS = {
    "LissaApproximator": "dvl_lissa.approximator",
    "LissaInfluence": "dvl_lissa.influence",
}

__all__ = sorted(_EXPORTS)

if TYPE_CHECKING:
    from dvl_lissa.approximator import LissaApproximator as LissaApproximator
    from dvl_lissa.influence import LissaInfluence as LissaInfluence


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
