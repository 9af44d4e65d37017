"""The component of dvl-direct passes the conformance kit."""

from __future__ import annotations

from functools import partial

from dvl_core.testing import conformance_test
from dvl_direct import DirectApproximator

test_direct_conforms = conformance_test("inverse-hessian", DirectApproximator)
test_direct_by_eigenvalues_conforms = conformance_test(
    "inverse-hessian", partial(DirectApproximator, indefinite="clip")
)
