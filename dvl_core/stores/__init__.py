"""Ledgers of utility values: what was computed once is never computed again."""

from __future__ import annotations

from dvl_core.stores.chain import ChainStore
from dvl_core.stores.disk import DiskStore
from dvl_core.stores.memory import MemoryStore

__all__ = ["ChainStore", "DiskStore", "MemoryStore"]
