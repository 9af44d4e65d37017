"""The components of dvl-shapley pass the conformance kit."""

from __future__ import annotations

from functools import partial

from dvl_core.testing import conformance_test
from dvl_shapley import (
    AntitheticOwenSampler,
    AntitheticPermutationSampler,
    ComplementarySampler,
    DataShapleyValuation,
    GroupTestingSampler,
    GroupTestingShapleyValuation,
    LeastSquaresSampler,
    OwenSampler,
    PermutationSampler,
    QuasiPermutationSampler,
    StratifiedSampler,
    TruncatedPermutationSampler,
    VRDSSampler,
)

test_data_shapley_conforms = conformance_test("valuation", DataShapleyValuation)
test_permutation_conforms = conformance_test("sampler", PermutationSampler)
test_antithetic_permutation_conforms = conformance_test("sampler", AntitheticPermutationSampler)
test_truncated_permutation_conforms = conformance_test("sampler", TruncatedPermutationSampler)
test_least_squares_conforms = conformance_test("sampler", LeastSquaresSampler)
test_owen_conforms = conformance_test("sampler", OwenSampler)
test_owen_on_a_grid_conforms = conformance_test(
    "sampler", partial(OwenSampler, strategy="grid", n_outer=5, n_inner=2)
)
test_antithetic_owen_conforms = conformance_test("sampler", AntitheticOwenSampler)
test_antithetic_owen_on_a_grid_conforms = conformance_test(
    "sampler", partial(AntitheticOwenSampler, strategy="grid")
)
test_stratified_conforms = conformance_test("sampler", StratifiedSampler)
test_neyman_conforms = conformance_test("sampler", partial(StratifiedSampler, sizes="neyman"))
test_delta_shapley_sizes_conform = conformance_test(
    "sampler", partial(StratifiedSampler, sizes="delta-shapley")
)
test_truncation_by_deviation_conforms = conformance_test(
    "sampler", partial(TruncatedPermutationSampler, rule="deviation", burn_in=0.0)
)
test_vrds_conforms = conformance_test("sampler", VRDSSampler)
test_group_testing_conforms = conformance_test("sampler", GroupTestingSampler)
test_group_testing_shapley_conforms = conformance_test("valuation", GroupTestingShapleyValuation)
test_complementary_conforms = conformance_test("sampler", ComplementarySampler)
test_sobol_permutations_conform = conformance_test("sampler", QuasiPermutationSampler)
test_orthogonal_permutations_conform = conformance_test(
    "sampler", partial(QuasiPermutationSampler, kind="orthogonal", n_permutations=6)
)
