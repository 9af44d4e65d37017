"""The component of dvl-knn passes the conformance kit."""

from __future__ import annotations

from functools import partial

from dvl_core.testing import conformance_test
from dvl_knn import KNNShapleyValuation

test_knn_shapley_conforms = conformance_test("valuation", KNNShapleyValuation)
test_knn_banzhaf_conforms = conformance_test(
    "valuation", partial(KNNShapleyValuation, semivalue="banzhaf")
)
test_soft_label_knn_shapley_conforms = conformance_test(
    "valuation", partial(KNNShapleyValuation, game="soft-label")
)
test_threshold_knn_shapley_conforms = conformance_test(
    "valuation", partial(KNNShapleyValuation, game="threshold", radius=1.0)
)
test_weighted_knn_shapley_conforms = conformance_test(
    "valuation", partial(KNNShapleyValuation, game="weighted")
)
