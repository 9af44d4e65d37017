"""The component of dvl-nystroem passes the conformance kit."""

from __future__ import annotations

from dvl_core.testing import conformance_test
from dvl_nystroem import NystroemApproximator

test_nystroem_conforms = conformance_test("inverse-hessian", NystroemApproximator)
