"""Utility values kept on memcached servers.

Everything in ``__all__`` is public. It is imported when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_EXPORTS = {"MemcachedStore": "dvl_memcached.store"}

__all__ = sorted(_EXPORTS)

if TYPE_CHECKING:
    from dvl_memcached.store import MemcachedStore as MemcachedStore


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
