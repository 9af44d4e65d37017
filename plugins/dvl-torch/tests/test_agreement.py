"""Stacked training against training one coalition after the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import nn

from dvl_core import Dataset, ModelUtility, SupervisedScorer
from dvl_torch import StackedTorchUtility, TorchClassifier, TorchRegressor, stacked
from dvl_torch.takeover import take_over

LABELS = ("accuracy", "balanced_accuracy")
CLASSIFICATION = (*LABELS, "neg_log_loss", "neg_brier_score", "roc_auc")
REGRESSION = ("r2", "neg_mean_squared_error", "neg_mean_absolute_error")
D = 4


class Residual(nn.Module):
    """Shares a layer, and has a buffer and a frozen parameter."""

    def __init__(self, outputs):
        super().__init__()
        self.inner, self.outer = nn.Linear(D, D), nn.Linear(D, outputs)
        self.scale = nn.Parameter(torch.tensor(0.5), requires_grad=False)
        self.register_buffer("shift", torch.tensor(0.1))

    def forward(self, x):
        x = x + self.scale * torch.relu(self.inner(x))
        return self.outer(self.inner(x) + self.shift)


def linear(outputs):
    return nn.Linear(D, outputs)


def mlp(outputs):
    return nn.Sequential(nn.Linear(D, 6), nn.ReLU(), nn.LayerNorm(6), nn.Linear(6, outputs))


def conv(outputs):
    return nn.Sequential(
        nn.Unflatten(1, (1, 2, 2)),
        nn.Conv2d(1, 3, 2, padding=1),
        nn.GroupNorm(3, 3),
        nn.ReLU(),
        nn.MaxPool2d(2, stride=1),
        nn.Flatten(),
        nn.Linear(12, outputs),
    )


NETS = [linear, mlp, conv, Residual]
TRAININGS = [
    {"optimizer": "sgd", "learning_rate": 0.3, "epochs": 8},
    {"optimizer": "sgd", "learning_rate": 0.1, "momentum": 0.9, "nesterov": True, "epochs": 4,
     "weight_decay": 0.01, "n_batches": 4, "random_state": 1},
    {"optimizer": "adam", "learning_rate": 0.05, "epochs": 8, "weight_decay": 0.01},
    {"optimizer": "adamw", "learning_rate": 0.05, "epochs": 3, "n_batches": 3, "random_state": 2,
     "weight_decay": 0.1},
]  # fmt: skip


def made(net, outputs, seed=0):
    torch.manual_seed(seed)
    return net(outputs)


def arrays(seed, n, k):
    """Return features, labels and numbers; some rows are equal, one feature is constant."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, D))
    x[:, 3] = 1.0
    x[-3:] = x[:3]
    labels = np.argmax(x @ rng.normal(size=(D, k)) + rng.gumbel(size=(n, k)), axis=1)
    labels[:k] = labels[-k:] = np.arange(k)
    return x, labels, x @ rng.normal(size=D) + rng.normal(size=n)


def coalitions_of(seed, b, n):
    """Return coalitions of all sizes: empty, full, a single player, and others."""
    rng = np.random.default_rng(seed + 1)
    coalitions = rng.random((b, n)) < rng.random((b, 1))
    coalitions[0], coalitions[1], coalitions[2] = False, True, np.arange(n) == 3
    return coalitions


def utility(model, scoring, train, test, **options):
    scorer = SupervisedScorer(scoring, test)
    return ModelUtility(model, scorer, on_error="score", **options).with_data(train)


def compare(model, scoring, train, test, coalitions):
    """Assert equal values; return which coalitions were trained in a stack."""
    plain = utility(model, scoring, train, test)
    expected = plain.evaluate(coalitions)
    values, good = take_over(plain, None).scores(coalitions)
    assert not (good & expected.failed).any()
    np.testing.assert_allclose(values[good], expected.values[good], rtol=1e-7, atol=1e-7)
    return good


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("training", TRAININGS, ids=lambda t: f"{t['optimizer']}-{t['epochs']}")
@settings(max_examples=2, deadline=None, derandomize=True, phases=[Phase.generate])
@given(seed=st.integers(0, 10**6), k=st.sampled_from([2, 3]), named=st.booleans())
def test_classifiers_score_as_if_trained_one_by_one(net, training, seed, k, named):
    n = 20
    x, labels, _ = arrays(seed, 2 * n, k)
    train, test = Dataset(x[:n], labels[:n]), Dataset(x[n:], labels[n:])
    classes = np.arange(k) if named else None
    model = TorchClassifier(made(net, k, seed), classes=classes, **training)
    coalitions = coalitions_of(seed, 6, n)
    scoring = CLASSIFICATION[seed % (5 if k == 2 else 4)]
    good = compare(model, scoring, train, test, coalitions)
    assert not good[0]
    assert good[1] or scoring in LABELS
    assert good[2] <= named


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("training", TRAININGS, ids=lambda t: f"{t['optimizer']}-{t['epochs']}")
@settings(max_examples=1, deadline=None, derandomize=True, phases=[Phase.generate])
@given(seed=st.integers(0, 10**6))
def test_regressors_score_as_if_trained_one_by_one(net, training, seed):
    n = 20
    x, _, y = arrays(seed, 2 * n, 2)
    train, test = Dataset(x[:n], y[:n]), Dataset(x[n:], y[n:])
    rate = training["learning_rate"] / 10
    model = TorchRegressor(made(net, 1, seed), **training | {"learning_rate": rate})
    good = compare(model, REGRESSION[seed % 3], train, test, coalitions_of(seed, 6, n))
    assert good.tolist() == [False] + 5 * [True]


@pytest.mark.parametrize("scoring", ["accuracy", "roc_auc"])
def test_nearly_all_coalitions_of_ordinary_data_are_taken_over(scoring):
    n, b = 30, 150
    x, labels, _ = arrays(3, 2 * n, 2)
    train, test = Dataset(x[:n], labels[:n]), Dataset(x[n:], labels[n:])
    torch.manual_seed(0)
    smooth = nn.Sequential(nn.Linear(D, 6), nn.Tanh(), nn.Linear(6, 2))
    model = TorchClassifier(smooth, classes=[0, 1], epochs=6, learning_rate=0.05)
    coalitions = np.random.default_rng(0).random((b, n)) < 0.5
    assert compare(model, scoring, train, test, coalitions).mean() > 0.99


def one_against_the_rest(output, target):
    signs = 2 * nn.functional.one_hot(target, output.shape[-1]) - 1
    return nn.functional.softplus(-signs * output).mean()


@pytest.mark.parametrize(
    "loss",
    [nn.CrossEntropyLoss(label_smoothing=0.1), one_against_the_rest],
    ids=["smoothed", "own"],
)
def test_losses_of_ones_own(loss):
    x, labels, _ = arrays(4, 40, 3)
    train, test = Dataset(x[:20], labels[:20]), Dataset(x[20:], labels[20:])
    model = TorchClassifier(made(mlp, 3), classes=[0, 1, 2], loss=loss, epochs=10)
    assert compare(model, "neg_log_loss", train, test, coalitions_of(4, 12, 20)).sum() >= 10


def test_losses_of_ones_own_for_regression():
    x, _, y = arrays(5, 40, 2)
    train, test = Dataset(x[:20], y[:20]), Dataset(x[20:], y[20:])
    for loss in (nn.HuberLoss(), lambda output, target: ((output - target) ** 4).mean()):
        model = TorchRegressor(made(mlp, 1), loss=loss, epochs=10)
        assert compare(model, "r2", train, test, coalitions_of(5, 12, 20)).sum() >= 10


def test_images_are_rows():
    x, labels, _ = arrays(6, 40, 2)
    x = x.reshape(-1, 1, 2, 2)
    train, test = Dataset(x[:20], labels[:20]), Dataset(x[20:], labels[20:])
    model = TorchClassifier(made(conv, 2)[1:], classes=[0, 1], epochs=5)
    assert compare(model, "roc_auc", train, test, coalitions_of(6, 12, 20)).sum() > 5


def test_groups_bring_all_their_rows():
    x, labels, _ = arrays(7, 60, 2)
    groups = np.random.default_rng(0).integers(0, 12, 30)
    names = np.array(["no", "yes"])[labels]
    train, test = Dataset(x[:30], names[:30], groups=groups), Dataset(x[30:], names[30:])
    model = TorchClassifier(made(mlp, 2), classes=["no", "yes"], epochs=5)
    coalitions = coalitions_of(7, 20, len(train))
    assert compare(model, "neg_log_loss", train, test, coalitions).sum() > 15


def test_test_labels_that_the_net_does_not_know():
    x, labels, _ = arrays(8, 60, 3)
    labels[30:33] = [7, -1, 7]
    train, test = Dataset(x[:30], labels[:30]), Dataset(x[30:], labels[30:])
    model = TorchClassifier(made(mlp, 3), classes=[0, 1, 2], epochs=5)
    for scoring in LABELS:
        assert compare(model, scoring, train, test, coalitions_of(8, 12, 30)).sum() > 5


def test_equal_outputs_are_left_alone():
    """A net of zeros that learns nothing gives every class the same output: rounding decides."""
    x, labels, _ = arrays(9, 40, 2)
    train, test = Dataset(x[:20], labels[:20]), Dataset(0 * x[20:], labels[20:])
    flat = nn.Linear(D, 2, bias=False)
    nn.init.zeros_(flat.weight)
    model = TorchClassifier(flat, classes=[0, 1], epochs=3)
    coalitions = coalitions_of(9, 8, 20)
    assert not compare(model, "accuracy", train, test, coalitions).any()


def test_single_precision_agrees_to_single_precision():
    x, labels, _ = arrays(10, 80, 2)
    train, test = Dataset(x[:40], labels[:40]), Dataset(x[40:], labels[40:])
    model = TorchClassifier(made(mlp, 2), classes=[0, 1], epochs=20, dtype="float32")
    coalitions = coalitions_of(10, 20, 40)
    for scoring in ("accuracy", "neg_log_loss"):
        plain = utility(model, scoring, train, test)
        found = StackedTorchUtility(plain)(coalitions)
        np.testing.assert_allclose(found, plain(coalitions), atol=1e-4)


class Tied(nn.Module):
    """Has one parameter under two names."""

    def __init__(self):
        super().__init__()
        self.inner, self.middle, self.outer = nn.Linear(D, D), nn.Linear(D, D), nn.Linear(D, 2)
        self.middle.weight = self.inner.weight

    def forward(self, x):
        return self.outer(torch.tanh(self.middle(torch.tanh(self.inner(x)))))


def test_parameters_that_are_shared_stay_so():
    x, labels, _ = arrays(13, 40, 2)
    train, test = Dataset(x[:20], labels[:20]), Dataset(x[20:], labels[20:])
    model = TorchClassifier(Tied(), classes=[0, 1], epochs=10, weight_decay=0.1)
    assert compare(model, "neg_log_loss", train, test, coalitions_of(13, 12, 20)).sum() >= 10


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_on_another_device():
    x, labels, _ = arrays(11, 80, 2)
    train, test = Dataset(x[:40], labels[:40]), Dataset(x[40:], labels[40:])
    plain = utility(TorchClassifier(made(mlp, 2), classes=[0, 1]), "neg_log_loss", train, test)
    coalitions = coalitions_of(11, 20, 40)
    found = StackedTorchUtility(plain, device="cuda")(coalitions)
    np.testing.assert_allclose(found, plain(coalitions), atol=1e-6)


def test_a_training_that_explodes_is_left_alone():
    x, _, y = arrays(12, 40, 2)
    train, test = Dataset(x[:20], y[:20]), Dataset(x[20:], y[20:])
    wild = {"optimizer": "sgd", "learning_rate": 3.0}
    model = TorchRegressor(made(mlp, 1), epochs=30, **wild)
    coalitions = coalitions_of(12, 8, 20)
    compare(model, "r2", train, test, coalitions)
    plain = utility(model, "r2", train, test)
    assert stacked(plain) is plain
