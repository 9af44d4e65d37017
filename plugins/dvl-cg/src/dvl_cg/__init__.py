"""Influence by block conjugate gradients, for any number of right-hand sides."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_EXPORTS = {
    "CgApproximator": "dvl_cg.approximator",
    "CgInfluence": "dvl_cg.influence",
    "JacobiPreconditioner": "dvl_cg.preconditioners",
    "NystroemPreconditioner": "dvl_cg.preconditioners",
    "Preconditioner": "dvl_cg.preconditioners",
}

__all__ = sorted(_EXPORTS)

if TYPE_CHECKING:
    from dvl_cg.approximator import CgApproximator as CgApproximator
    from dvl_cg.influence import CgInfluence as CgInfluence
    from dvl_cg.preconditioners import JacobiPreconditioner as JacobiPreconditioner
    from dvl_cg.preconditioners import NystroemPreconditioner as NystroemPreconditioner
    from dvl_cg.preconditioners import Preconditioner as Preconditioner


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
