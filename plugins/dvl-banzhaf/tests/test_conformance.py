"""The components of dvl-banzhaf pass the conformance kit."""

from __future__ import annotations

from functools import partial

from dvl_banzhaf import DataBanzhafValuation, KernelBanzhafSampler, MSRSampler
from dvl_core.testing import conformance_test

test_data_banzhaf_conforms = conformance_test("valuation", DataBanzhafValuation)
test_weighted_banzhaf_conforms = conformance_test("valuation", partial(DataBanzhafValuation, p=0.2))
test_kernel_banzhaf_conforms = conformance_test("sampler", KernelBanzhafSampler)
test_msr_conforms = conformance_test("sampler", MSRSampler)
test_msr_of_small_coalitions_conforms = conformance_test("sampler", partial(MSRSampler, p=0.2))
test_msr_without_size_conforms = conformance_test("sampler", partial(MSRSampler, subtract="size"))
test_msr_without_linear_conforms = conformance_test(
    "sampler", partial(MSRSampler, p=0.3, subtract="linear")
)
