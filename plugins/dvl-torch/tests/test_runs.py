"""Runs of the engine with the hook."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from dvl_core import (
    Dataset,
    JoblibBackend,
    MaxEvaluations,
    MemoryStore,
    ModelUtility,
    SerialBackend,
    SupervisedScorer,
)
from dvl_core.errors import CheckpointError
from dvl_core.hooks import hook_manager, wrap_utility
from dvl_shapley import DataShapleyValuation, PermutationSampler
from dvl_torch import StackedTorchUtility, TorchClassifier, hook

N = 10
RNG = np.random.default_rng(1)
X = RNG.normal(size=(40, 3))
Y = np.array(["no", "yes"])[(X[:, 0] + RNG.normal(size=40) > 0).astype(int)]
TRAIN, TEST = Dataset(X[:N], Y[:N]), Dataset(X[N:], Y[N:])


def layers(seed=0, width=4):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, 2))


def classifier(module=None, **options):
    options = {"classes": ["no", "yes"], "epochs": 5, "learning_rate": 0.05} | options
    return TorchClassifier(layers() if module is None else module, **options)


def utility(model=None, scoring="neg_log_loss", **options):
    model = classifier() if model is None else model
    return ModelUtility(model, SupervisedScorer(scoring, TEST), **options)


def value(model=None, train=TRAIN, evaluations=60, seed=3, scoring="neg_log_loss", **options):
    valuation = DataShapleyValuation(
        utility(model, scoring),
        PermutationSampler(),
        MaxEvaluations(evaluations),
        seed=seed,
        **options,
    )
    return valuation.fit(train).result


@pytest.fixture
def hooked(monkeypatch):
    """Have the hook active, installed or not; return the batches that were evaluated."""
    batches = []
    original = StackedTorchUtility.evaluate

    def spy(self, coalitions):
        batches.append(coalitions)
        return original(self, coalitions)

    monkeypatch.setattr(StackedTorchUtility, "evaluate", spy)
    manager = hook_manager()
    installed = manager.is_registered(hook)
    if not installed:
        manager.register(hook, "stacked for a test")
    yield batches
    if not installed:
        hook_manager().unregister(hook)


@pytest.mark.parametrize("scoring", ["accuracy", "neg_log_loss"])
@pytest.mark.parametrize(
    "model",
    [classifier(), classifier(partial(nn.Linear, 3, 2), n_batches=2)],
    ids=["module", "function and mini-batches"],
)
def test_values_are_those_without_the_plugin(model, scoring, hooked, monkeypatch):
    found = value(model, scoring=scoring)
    assert sum(map(len, hooked)) >= 40
    hooked.clear()
    monkeypatch.setenv("DVL_DISABLE_PLUGINS", "dvl-torch")
    bound = utility(model).with_data(TRAIN).with_seed(0)
    assert wrap_utility(bound) is bound
    expected = value(model, scoring=scoring)
    assert not hooked
    np.testing.assert_allclose(found.values, expected.values, atol=1e-9)


def test_values_do_not_depend_on_the_backend(hooked):
    serial = value(backend=SerialBackend()).values
    threads = value(backend=JoblibBackend(n_jobs=2, backend="threading")).values
    processes = value(backend=JoblibBackend(n_jobs=2, backend="loky")).values
    assert serial.tobytes() == threads.tobytes() == processes.tobytes()


def test_a_run_goes_on_from_its_checkpoint(hooked, tmp_path):
    path = tmp_path / "state.npz"
    whole = value(evaluations=120)
    value(checkpoint=path)
    resumed = value(evaluations=120, checkpoint=path)
    assert resumed.values.tobytes() == whole.values.tobytes()
    with pytest.raises(CheckpointError):
        value(classifier(layers(seed=1)), evaluations=120, checkpoint=path)


def test_a_store_answers_a_second_run(hooked):
    store = MemoryStore()
    first = value(store=store)
    hooked.clear()
    again = value(store=store)
    # The empty coalition cannot be trained, which is not recorded.
    assert sum(map(len, hooked)) <= 2
    assert first.values.tobytes() == again.values.tobytes()


def test_groups_are_players(hooked):
    groups = np.arange(N) // 2
    result = value(train=Dataset(X[:N], Y[:N], groups=groups))
    assert result.values.shape == (N // 2,)
    assert hooked[0].shape[1] == N // 2


def test_a_utility_that_is_stacked_already_stays(hooked):
    bound = utility().with_data(TRAIN).with_seed(0)
    by_hand = StackedTorchUtility(bound, memory=10.0)
    assert wrap_utility(by_hand) is by_hand
    assert isinstance(wrap_utility(bound), StackedTorchUtility)


def fingerprint(model=None, **options):
    bound = StackedTorchUtility(utility(model).with_data(TRAIN), **options)
    return bound.with_seed(0).fingerprint


def test_fingerprints_cover_architecture_parameters_and_options():
    plain = utility().with_data(TRAIN)
    assert StackedTorchUtility(plain).fingerprint is None
    found = [
        fingerprint(),
        plain.with_seed(0).fingerprint,
        fingerprint(memory=1.0),
        fingerprint(classifier(layers(seed=1))),
        fingerprint(classifier(layers(width=5))),
        fingerprint(classifier(nn.Sequential(*list(layers())[::2][:1], nn.Tanh(), layers()[2]))),
        fingerprint(classifier(epochs=6)),
        fingerprint(classifier(layers)),
        fingerprint(classifier(partial(layers, 0))),
        fingerprint(classifier(loss=nn.CrossEntropyLoss(label_smoothing=0.1))),
    ]
    assert None not in found
    assert len(set(found)) == len(found)
    assert fingerprint() == found[0]


SCRIPT = """
import numpy as np, torch
from dvl_core import Dataset, ModelUtility, SupervisedScorer
from dvl_torch import TorchClassifier
torch.manual_seed(0)
data = Dataset(np.arange(24.0).reshape(12, 2) / 24, np.arange(12) % 2)
model = TorchClassifier(torch.nn.Linear(2, 2), classes=[0, 1], epochs=2)
utility = ModelUtility(model, SupervisedScorer("neg_log_loss", data)).with_data(data).with_seed(0)
print(utility.fingerprint)
"""


def test_another_process_has_the_same_fingerprint(capsys):
    exec(SCRIPT, {})
    here = capsys.readouterr().out
    there = subprocess.run(
        [sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True
    ).stdout
    assert there == here
    assert len(here.strip()) == 32
