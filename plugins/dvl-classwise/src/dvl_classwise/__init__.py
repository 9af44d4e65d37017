"""Class-wise Shapley: what a point does for its own class, and for the others."""

from __future__ import annotations

from dvl_classwise.valuation import ClasswiseShapleyValuation

__all__ = ["ClasswiseShapleyValuation"]
