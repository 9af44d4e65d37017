"""Valuations and influence functions on Dask clusters.

Everything in ``__all__`` is public. Names are imported when first used: the backend needs neither
torch nor influence functions.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_EXPORTS = {
    "DaskBackend": "dvl_dask.backend",
    "DaskInfluenceCalculator": "dvl_dask.calculator",
    "in_memory": "dvl_dask.tables",
    "local_client": "dvl_dask.local",
}

__all__ = sorted(_EXPORTS)

if TYPE_CHECKING:
    from dvl_dask.backend import DaskBackend as DaskBackend
    from dvl_dask.calculator import DaskInfluenceCalculator as DaskInfluenceCalculator
    from dvl_dask.local import local_client as local_client
    from dvl_dask.tables import in_memory as in_memory


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
