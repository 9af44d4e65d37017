"""Exact semivalues of k-nearest-neighbour classifiers."""

from __future__ import annotations

from dvl_knn.valuation import KNNShapleyValuation

__all__ = ["KNNShapleyValuation"]
