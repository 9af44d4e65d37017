"""Conjugate gradients pass the conformance kit, with and without preconditioners."""

from __future__ import annotations

from dvl_cg import CgApproximator
from dvl_core.testing import conformance_test

test_cg_conforms = conformance_test("inverse-hessian", CgApproximator)
test_cg_with_jacobi_conforms = conformance_test(
    "inverse-hessian", lambda: CgApproximator(preconditioner="jacobi")
)
test_cg_with_nystroem_conforms = conformance_test(
    "inverse-hessian", lambda: CgApproximator(preconditioner={"name": "nystroem", "rank": 3})
)
test_cg_in_small_blocks_conforms = conformance_test(
    "inverse-hessian", lambda: CgApproximator(block_size=2)
)
