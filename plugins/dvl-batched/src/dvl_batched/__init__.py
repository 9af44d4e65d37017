"""Batched utilities: many coalitions are trained and scored at once, with scikit-learn's answer."""

from __future__ import annotations

from dvl_batched.utility import BatchedModelUtility, batched

__all__ = ["BatchedModelUtility", "batched"]
