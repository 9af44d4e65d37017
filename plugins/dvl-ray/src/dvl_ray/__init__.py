"""Valuations on Ray clusters.

Everything in ``__all__`` is public. Names are imported when first used, and Ray when a backend
first needs it. Importing this package makes ``joblib.parallel_config("ray")`` known.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from joblib import parallel, register_parallel_backend

from dvl_ray.joblib_backend import RayJoblibBackend

_EXPORTS = {"RayBackend": "dvl_ray.backend"}

__all__ = sorted(_EXPORTS)

if TYPE_CHECKING:
    from dvl_ray.backend import RayBackend as RayBackend

# Who has registered Ray's own adapter keeps it.
if "ray" not in parallel.BACKENDS:
    register_parallel_backend("ray", RayJoblibBackend)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
