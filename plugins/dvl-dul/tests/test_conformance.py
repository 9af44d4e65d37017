"""The component of dvl-dul passes the conformance kit."""

from __future__ import annotations

from functools import partial

from dvl_core.testing import conformance_test
from dvl_dul import DataUtilityLearning, DeepSetUtilityModel

test_data_utility_learning_conforms = conformance_test(
    "utility", partial(DataUtilityLearning, n_training=30)
)
test_deep_sets_conform = conformance_test(
    "utility",
    partial(DataUtilityLearning, model=DeepSetUtilityModel(n_epochs=3), n_training=10),
)
