"""Data Shapley: the valuation and the permutation samplers."""

from __future__ import annotations

from dvl_shapley.samplers import (
    AntitheticPermutationSampler,
    PermutationSampler,
    TruncatedPermutationSampler,
)
from dvl_shapley.valuation import DataShapleyValuation

__all__ = [
    "AntitheticPermutationSampler",
    "DataShapleyValuation",
    "PermutationSampler",
    "TruncatedPermutationSampler",
]
