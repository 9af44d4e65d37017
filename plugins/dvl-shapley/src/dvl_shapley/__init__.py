"""Data Shapley: the valuation, and the permutation, Owen and stratified samplers."""

from __future__ import annotations

from dvl_shapley.complementary import ComplementarySampler
from dvl_shapley.group_testing import GroupTestingSampler, GroupTestingShapleyValuation
from dvl_shapley.least_squares import LeastSquaresSampler
from dvl_shapley.owen import AntitheticOwenSampler, OwenSampler
from dvl_shapley.quasi import QuasiPermutationSampler
from dvl_shapley.samplers import (
    AntitheticPermutationSampler,
    PermutationSampler,
    TruncatedPermutationSampler,
)
from dvl_shapley.sizes import SGDConstants
from dvl_shapley.stratified import StratifiedSampler, VRDSSampler
from dvl_shapley.valuation import DataShapleyValuation

__all__ = [
    "AntitheticOwenSampler",
    "AntitheticPermutationSampler",
    "ComplementarySampler",
    "DataShapleyValuation",
    "GroupTestingSampler",
    "GroupTestingShapleyValuation",
    "LeastSquaresSampler",
    "OwenSampler",
    "PermutationSampler",
    "QuasiPermutationSampler",
    "SGDConstants",
    "StratifiedSampler",
    "TruncatedPermutationSampler",
    "VRDSSampler",
]
