"""The component of dvl-classwise passes the conformance kit."""

from __future__ import annotations

from dvl_classwise import ClasswiseShapleyValuation
from dvl_core.testing import conformance_test

test_classwise_shapley_conforms = conformance_test("valuation", ClasswiseShapleyValuation)
