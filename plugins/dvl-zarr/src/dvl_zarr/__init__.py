"""Ledgers in zarr: in a local folder or an object store, for many writers without locks.

Everything in ``__all__`` is public. Names are imported when first used, and zarr itself when a
store is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["ZarrStore"]

if TYPE_CHECKING:
    from dvl_zarr.store import ZarrStore as ZarrStore


def __getattr__(name: str) -> Any:
    if name != "ZarrStore":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dvl_zarr.store import ZarrStore

    globals()[name] = ZarrStore
    return ZarrStore


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
