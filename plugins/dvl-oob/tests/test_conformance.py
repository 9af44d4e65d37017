"""The component of dvl-oob passes the conformance kit."""

from __future__ import annotations

from dvl_core.testing import conformance_test
from dvl_oob import DataOOBValuation

test_data_oob_conforms = conformance_test("valuation", DataOOBValuation)
