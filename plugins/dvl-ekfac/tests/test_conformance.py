"""EK-FAC and K-FAC pass the conformance kit, on a curvature that they bring along."""

from __future__ import annotations

from dvl_core.testing import conformance_test
from dvl_ekfac import EkfacApproximator

test_ekfac_conforms = conformance_test("inverse-hessian", EkfacApproximator)
test_kfac_conforms = conformance_test(
    "inverse-hessian", lambda: EkfacApproximator(factors="kfac", fisher="sampled", n_samples=2)
)
