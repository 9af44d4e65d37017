"""The inverse of the curvature from its leading eigenvectors.

Names are imported when first used: the approximator works without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_EXPORTS = {
    "ArnoldiApproximator": "dvl_arnoldi.approximator",
    "ArnoldiInfluence": "dvl_arnoldi.influence",
}

__all__ = sorted(_EXPORTS)

if TYPE_CHECKING:
    from dvl_arnoldi.approximator import ArnoldiApproximator as ArnoldiApproximator
    from dvl_arnoldi.influence import ArnoldiInfluence as ArnoldiInfluence


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
