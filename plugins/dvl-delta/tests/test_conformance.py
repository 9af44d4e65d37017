"""The component of dvl-delta passes the conformance kit."""

from __future__ import annotations

from functools import partial

from dvl_core.testing import conformance_test
from dvl_delta import DeltaShapleyValuation

test_delta_conforms = conformance_test("valuation", DeltaShapleyValuation)
test_middle_layers_conform = conformance_test(
    "valuation", partial(DeltaShapleyValuation, lower=0, upper=0)
)
