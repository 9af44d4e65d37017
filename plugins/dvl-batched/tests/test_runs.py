"""Runs of the engine with the hook."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from dvl_batched import BatchedModelUtility, hook
from dvl_core import (
    Dataset,
    JoblibBackend,
    MaxEvaluations,
    MemoryStore,
    ModelUtility,
    SerialBackend,
    SupervisedScorer,
)
from dvl_core.hooks import hook_manager, wrap_utility
from dvl_shapley import DataShapleyValuation

N = 12
RNG = np.random.default_rng(1)
X = RNG.normal(size=(50, 3))
Y = np.array(["no", "yes"])[(X[:, 0] + RNG.normal(size=50) > 0).astype(int)]
TRAIN, TEST = Dataset(X[:N], Y[:N]), Dataset(X[N:], Y[N:])


@pytest.fixture
def hooked(monkeypatch):
    """Have the hook active, installed or not; return the batches that were evaluated."""
    batches = []
    original = BatchedModelUtility.evaluate

    def spy(self, coalitions):
        batches.append(coalitions)
        return original(self, coalitions)

    monkeypatch.setattr(BatchedModelUtility, "evaluate", spy)
    manager = hook_manager()
    installed = manager.is_registered(hook)
    if not installed:
        manager.register(hook, "batched for a test")
    yield batches
    if not installed:
        hook_manager().unregister(hook)


def value(model=None, backend=None, train=TRAIN, **options):
    utility = ModelUtility(model or LogisticRegression(), SupervisedScorer("accuracy", TEST))
    valuation = DataShapleyValuation(
        utility, stopping=MaxEvaluations(150), seed=3, backend=backend, **options
    )
    return valuation.fit(train).result


def test_a_valuation_uses_the_batched_utility(hooked):
    result = value()
    assert sum(map(len, hooked)) >= 50
    plain = ModelUtility(LogisticRegression(), SupervisedScorer("accuracy", TEST)).with_data(TRAIN)
    for batch in (hooked[0], hooked[-1][:12]):
        np.testing.assert_array_equal(BatchedModelUtility(plain)(batch), plain(batch), strict=True)
    assert result.values.shape == (N,)


def test_values_are_those_of_the_model_utility(hooked, monkeypatch):
    found = value(GaussianNB())
    monkeypatch.setattr(BatchedModelUtility, "evaluate", lambda self, c: self.utility.evaluate(c))
    np.testing.assert_allclose(found.values, value(GaussianNB()).values, atol=1e-12)


def test_values_do_not_depend_on_the_backend(hooked):
    serial = value(backend=SerialBackend()).values
    threads = value(backend=JoblibBackend(n_jobs=2, backend="threading")).values
    processes = value(backend=JoblibBackend(n_jobs=2, backend="loky")).values
    assert serial.tobytes() == threads.tobytes() == processes.tobytes()


def test_a_store_answers_a_second_run(hooked):
    store = MemoryStore()
    first = value(store=store)
    computed = sum(map(len, hooked))
    hooked.clear()
    again = value(store=store)
    assert sum(map(len, hooked)) < computed / 2
    assert first.values.tobytes() == again.values.tobytes()


def test_groups_are_players(hooked):
    groups = np.arange(N) // 2
    result = value(GaussianNB(), train=Dataset(X[:N], Y[:N], groups=groups))
    assert result.values.shape == (N // 2,)
    assert hooked[0].shape[1] == N // 2


def test_it_can_be_switched_off(monkeypatch):
    monkeypatch.setenv("DVL_DISABLE_PLUGINS", "dvl-batched")
    utility = ModelUtility(GaussianNB(), SupervisedScorer("accuracy", TEST)).with_data(TRAIN)
    assert wrap_utility(utility) is utility


def test_a_utility_that_is_batched_already_stays(hooked):
    utility = ModelUtility(GaussianNB(), SupervisedScorer("accuracy", TEST)).with_data(TRAIN)
    by_hand = BatchedModelUtility(utility, memory=10.0)
    assert wrap_utility(by_hand) is by_hand
    assert isinstance(wrap_utility(utility), BatchedModelUtility)


def test_it_has_a_fingerprint_of_its_own():
    utility = ModelUtility(GaussianNB(), SupervisedScorer("accuracy", TEST)).with_data(TRAIN)
    own = BatchedModelUtility(utility)
    assert own.fingerprint is not None
    assert own.fingerprint != utility.fingerprint
    assert own.with_data(TRAIN.select(range(10))).fingerprint != own.fingerprint


def test_only_smooth_scores_depend_on_the_batch():
    for scoring, expected in (("balanced_accuracy", True), ("roc_auc", False)):
        utility = ModelUtility(GaussianNB(), SupervisedScorer(scoring, TEST)).with_data(TRAIN)
        assert BatchedModelUtility(utility).batch_invariant is expected
