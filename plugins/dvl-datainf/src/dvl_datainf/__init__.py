"""DataInf: the mean of inverses in place of the inverse of the mean, without any linear solve.

Names are imported when first used: the approximator works without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_EXPORTS = {
    "DataInfApproximator": "dvl_datainf.approximator",
    "DataInfInfluence": "dvl_datainf.influence",
    "EmpiricalFisher": "dvl_datainf.fisher",
}

__all__ = sorted(_EXPORTS)

if TYPE_CHECKING:
    from dvl_datainf.approximator import DataInfApproximator as DataInfApproximator
    from dvl_datainf.fisher import EmpiricalFisher as EmpiricalFisher
    from dvl_datainf.influence import DataInfInfluence as DataInfInfluence


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
