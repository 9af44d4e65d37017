"""The exact inverse of the curvature, from its dense matrix.

Names are imported when first used: the approximator works without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_EXPORTS = {
    "DirectApproximator": "dvl_direct.approximator",
    "DirectInfluence": "dvl_direct.influence",
}

__all__ = sorted(_EXPORTS)

if TYPE_CHECKING:
    from dvl_direct.approximator import DirectApproximator as DirectApproximator
    from dvl_direct.influence import DirectInfluence as DirectInfluence


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
