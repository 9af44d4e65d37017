"""The component of dvl-arnoldi passes the conformance kit."""

from __future__ import annotations

from functools import partial

from dvl_arnoldi import ArnoldiApproximator
from dvl_core.testing import conformance_test

test_arnoldi_conforms = conformance_test("inverse-hessian", ArnoldiApproximator)
test_embedding_conforms = conformance_test(
    "inverse-hessian", partial(ArnoldiApproximator, rank=3, complement=False)
)
