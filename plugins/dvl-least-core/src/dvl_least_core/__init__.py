"""The least core: values that no coalition has a reason to refuse."""

from __future__ import annotations

from dvl_least_core.record import least_core_of
from dvl_least_core.valuation import LeastCoreValuation

__all__ = ["LeastCoreValuation", "least_core_of"]
