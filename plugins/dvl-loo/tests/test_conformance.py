"""The component of dvl-loo passes the conformance kit."""

from __future__ import annotations

from dvl_core.testing import conformance_test
from dvl_loo import LOOValuation

test_loo_conforms = conformance_test("valuation", LOOValuation)
