"""The components of dvl-influence pass the conformance kit."""

from __future__ import annotations

from dvl_core.testing import conformance_test
from dvl_influence.identity import IdentityApproximator

test_identity_conforms = conformance_test("inverse-hessian", IdentityApproximator)
