"""Stacked utilities pass the conformance kit."""

from __future__ import annotations

from torch import nn

from dvl_core import ModelUtility, SupervisedScorer
from dvl_core.testing import conformance_test
from dvl_core.testing.samples import held_out_data
from dvl_torch import StackedTorchUtility, TorchClassifier, TorchRegressor

LAYERS = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))


def utility(model, scoring):
    scorer = SupervisedScorer(scoring, held_out_data())
    return lambda: StackedTorchUtility(ModelUtility(model, scorer))


test_a_classifier_conforms = conformance_test(
    "utility",
    utility(
        TorchClassifier(
            LAYERS, classes=[0, 1], optimizer="sgd", n_batches=3, epochs=4, random_state=0
        ),
        "neg_log_loss",
    ),
)
test_a_regressor_conforms = conformance_test(
    "utility", utility(TorchRegressor(nn.Linear(2, 1), epochs=10), "r2")
)
