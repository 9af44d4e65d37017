"""What is taken over, what is left alone, and that failures are those of the model utility."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from dvl_batched.problem import NotReproducedError
from dvl_core import Dataset, ModelUtility, SupervisedScorer
from dvl_core.errors import DataError, InvalidOptionError, UtilityError
from dvl_torch import StackedTorchUtility, TorchClassifier, TorchRegressor, hook, stacked
from dvl_torch import stack as stack_module
from dvl_torch import takeover as takeover_module

N = 20
RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 2))
Y = (X[:, 0] + RNG.normal(size=50) > 0).astype(int)
Y[:4] = [0, 1, 0, 1]
NUMBERS = X[:, 0] + RNG.normal(size=50)
TRAIN, TEST = Dataset(X[:N], Y[:N]), Dataset(X[N:], Y[N:])


class OwnClassifier(TorchClassifier):
    """May do anything."""


class OwnUtility(ModelUtility):
    """May do anything."""


class Lstm(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.LSTM(1, 3, batch_first=True), nn.Linear(3, 2)

    def forward(self, x):
        return self.outer(self.inner(x[:, :, None])[0][:, -1])


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, x):
        output = self.linear(x)
        return output if output.sum() > -1e9 else -output


def layers(*between, outputs=2):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 4), nn.Tanh(), *between, nn.Linear(4, outputs))


def classifier(module=None, **options):
    options = {"epochs": 5, "learning_rate": 0.05, "classes": [0, 1]} | options
    return TorchClassifier(layers() if module is None else module, **options)


def utility(model, scoring="accuracy", train=TRAIN, test=TEST, **options):
    return ModelUtility(model, SupervisedScorer(scoring, test), **options).with_data(train)


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.outer = nn.Embedding(5, 3), nn.Linear(3, 2)

    def forward(self, x):
        return self.outer(self.table(x.long()).mean(dim=1))


def test_whole_numbers_can_be_tokens():
    tokens = np.random.default_rng(0).integers(0, 5, size=(50, 4))
    train, test = Dataset(tokens[:N], Y[:N]), Dataset(tokens[N:], Y[N:])
    plain = utility(classifier(Tokens()), "neg_log_loss", train, test)
    coalitions = RNG.random((6, N)) < 0.5
    found = StackedTorchUtility(plain)(coalitions)
    np.testing.assert_allclose(found, plain(coalitions), rtol=1e-9)


def test_nets_are_taken_over():
    found = hook.dvl_wrap_utility(utility(classifier()))
    assert isinstance(found, StackedTorchUtility)
    numbers = Dataset(X[:N], NUMBERS[:N]), Dataset(X[N:], NUMBERS[N:])
    plain = utility(TorchRegressor(layers(outputs=1), epochs=5), "r2", *numbers)
    assert isinstance(hook.dvl_wrap_utility(plain), StackedTorchUtility)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (classifier(layers(nn.BatchNorm1d(4))), "BatchNorm1d, mixes the rows"),
        (classifier(layers(nn.Dropout(0.5))), "Dropout, is random"),
        (classifier(optimizer="lbfgs"), "by itself fails.*optimizer must be"),
        (classifier(Lstm()), "torch cannot stack the net"),
        (classifier(Branching()), "torch cannot stack the net"),
        (classifier(loss=nn.CrossEntropyLoss(weight=torch.tensor([1.0, 9.0]))), "by itself scores"),
        (classifier(partial(nn.Linear, 2, 2)), "random_state is None"),
        (classifier(n_batches=2), "random_state is None"),
        (OwnClassifier(layers()), "trained in its own way"),
        (make_pipeline(StandardScaler(), classifier()), "trained in its own way"),
        (classifier(layers(outputs=1), classes=[0]), "is none of classes"),
        (LogisticRegression(), "trained in its own way"),
    ],
    ids=lambda part: str(part)[:60] if isinstance(part, str) else type(part).__name__,
)
def test_other_models_are_left_alone(model, reason):
    plain = utility(model)
    assert stacked(plain) is plain
    with pytest.raises(NotReproducedError, match=reason):
        StackedTorchUtility(plain)(np.ones((1, N), dtype=bool))


@pytest.mark.parametrize(
    ("scoring", "test"),
    [
        ("f1", TEST),
        (lambda model, x, y: model.score(x, y), TEST),
        ("neg_log_loss", Dataset(X[N:], Y[N:] + 1)),
        ("neg_mean_squared_error", TEST),
        ("accuracy", Dataset(X[N:], np.array(["a", "b"])[Y[N:]])),
    ],
    ids=["f1", "function", "other classes", "regression", "texts"],
)
def test_other_scores_are_left_alone(scoring, test):
    scorer = SupervisedScorer(scoring, test, default=0.0)
    plain = ModelUtility(classifier(), scorer, on_error="score").with_data(TRAIN)
    assert stacked(plain) is plain


def test_other_data_are_left_alone():
    gaps = X[:N].copy()
    gaps[0, 0] = np.nan
    for x in (gaps, sparse.csr_array(X[:N])):
        plain = utility(classifier(), train=Dataset(x, Y[:N]))
        assert stacked(plain) is plain
    two = np.stack([NUMBERS, NUMBERS], axis=1)
    model = TorchRegressor(layers(outputs=2))
    plain = utility(model, "r2", Dataset(X[:N], two[:N]), Dataset(X[N:], two[N:]))
    assert stacked(plain) is plain


def test_frames_tensors_and_columns_are_taken_over():
    expected = utility(classifier(), "neg_brier_score")(np.ones((1, N), dtype=bool))
    for kind in (pd.DataFrame, torch.from_numpy):
        train, test = Dataset(kind(X[:N]), Y[:N]), Dataset(kind(X[N:]), Y[N:])
        found = StackedTorchUtility(utility(classifier(), "neg_brier_score", train, test))
        np.testing.assert_allclose(found(np.ones((1, N), dtype=bool)), expected, rtol=1e-12)
    column = torch.from_numpy(NUMBERS[:, None])
    model = TorchRegressor(layers(outputs=1), epochs=5)
    train, test = Dataset(X[:N], column[:N]), Dataset(X[N:], column[N:])
    assert isinstance(stacked(utility(model, "r2", train, test)), StackedTorchUtility)


def test_the_hook_leaves_single_precision_alone():
    plain = utility(classifier(dtype="float32"))
    assert hook.dvl_wrap_utility(plain) is None
    assert isinstance(stacked(plain), StackedTorchUtility)
    assert hook.dvl_wrap_utility(utility(LogisticRegression())) is None


def test_a_subclass_of_the_utility_is_left_alone():
    own = OwnUtility(classifier(), SupervisedScorer("accuracy", TEST)).with_data(TRAIN)
    assert stacked(own) is own
    assert hook.dvl_wrap_utility(own) is None
    with pytest.raises(InvalidOptionError, match="must be a ModelUtility"):
        StackedTorchUtility(own)
    with pytest.raises(InvalidOptionError, match="memory"):
        StackedTorchUtility(utility(classifier()), memory=0)


def test_what_the_model_does_is_checked_by_example(monkeypatch):
    """A version of torch that computes something else is noticed."""
    original = TorchClassifier.predict
    monkeypatch.setattr(TorchClassifier, "predict", lambda self, x: 1 - original(self, x))
    plain = utility(classifier())
    assert stacked(plain) is plain


def test_a_training_that_magnifies_rounding_is_left_alone(monkeypatch):
    monkeypatch.setattr(takeover_module, "MOST_AMPLIFIED", {"float64": 1e-3})
    with pytest.raises(NotReproducedError, match="magnifies rounding"):
        StackedTorchUtility(utility(classifier()))


def test_a_seed_can_come_later():
    model = classifier(partial(layers, nn.Tanh()), n_batches=3)
    plain = ModelUtility(model, SupervisedScorer("neg_log_loss", TEST))
    bound = StackedTorchUtility(plain).with_data(TRAIN)
    coalitions = RNG.random((4, N)) < 0.5
    with pytest.raises(InvalidOptionError, match="random_state is None"):
        bound(coalitions)
    expected = plain.with_data(TRAIN).with_seed(3)(coalitions)
    np.testing.assert_allclose(bound.with_seed(3)(coalitions), expected, rtol=1e-9)
    assert np.abs(bound.with_seed(4)(coalitions) - expected).max() > 1e-3
    with pytest.raises(DataError, match="no players"):
        StackedTorchUtility(plain)(coalitions)
    broken = ModelUtility(
        classifier(layers(nn.BatchNorm1d(4)), n_batches=2), SupervisedScorer("accuracy", TEST)
    )
    with pytest.raises(NotReproducedError, match="BatchNorm1d"):
        StackedTorchUtility(broken).with_data(TRAIN).with_seed(0)


DEGENERATE = np.zeros((5, N), dtype=bool)
DEGENERATE[1, 0] = True
DEGENERATE[2, np.flatnonzero(Y[:N] == 0)] = True
DEGENERATE[3, [0, 1]] = True
DEGENERATE[4] = True


@pytest.mark.parametrize("classes", [None, [0, 1]], ids=str)
@pytest.mark.parametrize("scoring", ["accuracy", "neg_log_loss"])
@pytest.mark.parametrize("on_error", ["default", "score"])
def test_degenerate_coalitions_fail_as_before(classes, scoring, on_error):
    plain = utility(classifier(classes=classes), scoring, on_error=on_error)
    expected = plain.evaluate(DEGENERATE)
    found = StackedTorchUtility(plain).evaluate(DEGENERATE)
    np.testing.assert_array_equal(found.failed, expected.failed)
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-9)
    assert expected.failed.tolist() == [True, classes is None, classes is None, False, False]


def test_errors_name_the_coalition_as_before():
    plain = utility(classifier(classes=None), on_error="raise")
    with pytest.raises(UtilityError, match="name all classes") as expected:
        plain(DEGENERATE[2:])
    with pytest.raises(UtilityError) as found:
        StackedTorchUtility(plain)(DEGENERATE[2:])
    assert str(found.value) == str(expected.value)


def test_memory_bounds_what_is_worked_on_at_once(monkeypatch):
    sizes = []
    original = takeover_module.TakeOver.scores

    def spy(self, coalitions):
        sizes.append(len(coalitions))
        return original(self, coalitions)

    monkeypatch.setattr(takeover_module.TakeOver, "scores", spy)
    coalitions = np.random.default_rng(0).random((50, N)) < 0.5
    whole = StackedTorchUtility(utility(classifier(), "neg_brier_score"))
    small = StackedTorchUtility(whole.utility, memory=0.1)
    sizes.clear()
    values = whole(coalitions)
    assert sizes == [50]
    sizes.clear()
    np.testing.assert_allclose(small(coalitions), values, rtol=1e-12)
    assert sum(sizes) == 50
    assert len(sizes) > 3
    assert small.fingerprint is None or small.fingerprint != whole.fingerprint


def test_coalitions_of_unlike_sizes_are_trained_apart():
    sizes = np.concatenate([np.full(40, 2), np.full(20, 3), np.full(30, 10), [100]])
    pieces = [(piece.start, piece.stop) for piece in stack_module._pieces(sizes)]
    assert pieces == [(0, 40), (40, 72), (72, 91)]
