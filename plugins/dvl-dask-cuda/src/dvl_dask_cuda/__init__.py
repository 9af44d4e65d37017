"""Valuations and influence functions on the GPUs of a machine, one Dask worker for each.

Everything in ``__all__`` is public. Names are imported when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["DaskCudaBackend"]

if TYPE_CHECKING:
    from dvl_dask_cuda.backend import DaskCudaBackend as DaskCudaBackend


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dvl_dask_cuda.backend import DaskCudaBackend

    globals()[name] = DaskCudaBackend
    return DaskCudaBackend


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
