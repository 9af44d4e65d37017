"""Influence functions with Kronecker-factored curvature, its eigenvalues corrected (EK-FAC).

Names are imported when first used: importing this package does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_EXPORTS = {
    "EkfacApproximator": "dvl_ekfac.approximator",
    "EkfacInfluence": "dvl_ekfac.influence",
}

__all__ = sorted(_EXPORTS)

if TYPE_CHECKING:
    from dvl_ekfac.approximator import EkfacApproximator as EkfacApproximator
    from dvl_ekfac.influence import EkfacInfluence as EkfacInfluence


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
