"""The component of dvl-least-core passes the conformance kit."""

from __future__ import annotations

from dvl_core.testing import conformance_test
from dvl_least_core import LeastCoreValuation

test_least_core_conforms = conformance_test("valuation", LeastCoreValuation)
