"""The component of dvl-beta passes the conformance kit."""

from __future__ import annotations

from functools import partial

from dvl_beta import BetaShapleyValuation
from dvl_core.testing import conformance_test

test_beta_conforms = conformance_test("valuation", BetaShapleyValuation)
test_beta_1_4_conforms = conformance_test(
    "valuation", partial(BetaShapleyValuation, alpha=1, beta=4)
)
