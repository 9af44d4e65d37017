"""LiSSA passes the conformance kit."""

from __future__ import annotations

from dvl_core.testing import conformance_test
from dvl_lissa import LissaApproximator

test_lissa_conforms = conformance_test("inverse-hessian", LissaApproximator)
