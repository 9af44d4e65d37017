"""The components of dvl-shapley pass the conformance kit."""

from __future__ import annotations

from dvl_core.testing import conformance_test
from dvl_shapley import (
    AntitheticPermutationSampler,
    DataShapleyValuation,
    PermutationSampler,
    TruncatedPermutationSampler,
)

test_data_shapley_conforms = conformance_test("valuation", DataShapleyValuation)
test_permutation_conforms = conformance_test("sampler", PermutationSampler)
test_antithetic_permutation_conforms = conformance_test("sampler", AntitheticPermutationSampler)
test_truncated_permutation_conforms = conformance_test("sampler", TruncatedPermutationSampler)
