"""Batched utilities pass the conformance kit."""

from __future__ import annotations

from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier

from dvl_batched import BatchedModelUtility
from dvl_core import ModelUtility, SupervisedScorer
from dvl_core.testing import conformance_test
from dvl_core.testing.samples import held_out_data


def utility(model, scoring):
    scorer = SupervisedScorer(scoring, held_out_data())
    return lambda: BatchedModelUtility(ModelUtility(model, scorer))


test_logistic_regression_conforms = conformance_test(
    "utility", utility(LogisticRegression(), "accuracy")
)
test_naive_bayes_conforms = conformance_test("utility", utility(GaussianNB(), "neg_brier_score"))
test_neighbours_conform = conformance_test(
    "utility", utility(KNeighborsClassifier(3, weights="distance"), "roc_auc")
)
test_ridge_conforms = conformance_test("utility", utility(Ridge(), "r2"))
