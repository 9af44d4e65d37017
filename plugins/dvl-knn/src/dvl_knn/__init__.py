"""Exact semivalues of k-nearest-neighbour models."""

from __future__ import annotations

from dvl_knn.valuation import KNNShapleyValuation

__all__ = ["KNNShapleyValuation"]
