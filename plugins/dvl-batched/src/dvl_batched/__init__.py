"""Batched utilities: many coalitions are trained and scored at once, with scikit-learn's answer."""

from __future__ import annotations

from dvl_batched.utility import BatchedModelUtility, batched
from dvl_batched.warm_start import WarmStartUtility

__all__ = ["BatchedModelUtility", "WarmStartUtility", "batched"]
