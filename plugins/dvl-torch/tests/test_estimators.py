"""The estimators by themselves: as scikit-learn's, and well-defined on every part of the data."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from dvl_core.errors import InvalidOptionError
from dvl_torch import TorchClassifier, TorchRegressor
from dvl_torch.minibatches import minibatch_numbers

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3))
NAMES = np.array(["b", "c", "a"])[np.argmax(X, axis=1)]
NUMBERS = X @ [1.0, -2.0, 0.5] + 1.0


def net(outputs=3, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, outputs))


def classifier(**options):
    return TorchClassifier(net(), **{"learning_rate": 0.05, "epochs": 60} | options)


def test_texts_are_classes():
    model = classifier().fit(X, NAMES)
    assert model.classes_.tolist() == ["a", "b", "c"]
    assert model.score(X, NAMES) > 0.9
    probabilities = model.predict_proba(X)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
    np.testing.assert_array_equal(model.classes_[probabilities.argmax(axis=1)], model.predict(X))


def test_it_trains_as_a_plain_loop_does():
    module = net()
    expected = nn.Sequential(*[nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 3)])
    expected.load_state_dict(module.state_dict())
    expected.double()
    optimizer = torch.optim.SGD(expected.parameters(), lr=0.1, momentum=0.9)
    x, y = torch.from_numpy(X), torch.from_numpy(np.unique(NAMES, return_inverse=True)[1])
    for _ in range(20):
        optimizer.zero_grad()
        nn.functional.cross_entropy(expected(x), y).backward()
        optimizer.step()
    model = TorchClassifier(module, optimizer="sgd", learning_rate=0.1, momentum=0.9, epochs=20)
    found = model.fit(X, NAMES).predict_proba(X)
    np.testing.assert_allclose(found, expected(x).softmax(1).detach().numpy(), rtol=1e-12)


def test_regression():
    model = TorchRegressor(net(1), learning_rate=0.05, epochs=300).fit(X, NUMBERS)
    assert model.score(X, NUMBERS) > 0.95
    column = clone(model).fit(X, NUMBERS[:, None]).predict(X)
    np.testing.assert_array_equal(column, model.predict(X))
    two = TorchRegressor(net(2), epochs=3).fit(X, np.stack([NUMBERS, -NUMBERS], axis=1))
    assert two.predict(X).shape == (60, 2)
    with pytest.raises(InvalidOptionError, match="2 numbers a row for 1 targets"):
        TorchRegressor(net(2)).fit(X, NUMBERS)


def test_scikit_learn_recognises_them():
    assert is_classifier(classifier())
    assert is_regressor(TorchRegressor(net(1)))
    search = GridSearchCV(
        make_pipeline(StandardScaler(), classifier(epochs=5)),
        {"torchclassifier__learning_rate": [1e-9, 0.3]},
        cv=2,
    )
    assert search.fit(X, NAMES).best_params_ == {"torchclassifier__learning_rate": 0.3}


def test_fitting_leaves_the_module_alone():
    module = net()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    model = TorchClassifier(module, epochs=3)
    first = model.fit(X, NAMES).predict_proba(X)
    assert model.module is module
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    np.testing.assert_array_equal(model.fit(X, NAMES).predict_proba(X), first)


@pytest.mark.parametrize(
    "factory", [net, partial(net, 3), lambda: net(3)], ids=["function", "partial", "lambda"]
)
def test_functions_make_nets(factory):
    model = TorchClassifier(factory, epochs=2, random_state=0)
    np.testing.assert_array_equal(
        model.fit(X, NAMES).predict_proba(X), clone(model).fit(X, NAMES).predict_proba(X)
    )


def test_the_random_state_decides_what_a_function_makes():
    make = partial(nn.Linear, 3, 3)
    before = torch.get_rng_state()
    found = [
        TorchClassifier(make, epochs=1, random_state=seed).fit(X, NAMES).predict_proba(X)
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.allclose(found[0], found[2])
    assert torch.equal(torch.get_rng_state(), before)


def test_frozen_parameters_stay():
    module = net()
    module[0].requires_grad_(False)
    fitted = TorchClassifier(module, epochs=3, weight_decay=0.1).fit(X, NAMES).module_
    torch.testing.assert_close(fitted[0].weight, module[0].weight.double())
    assert not torch.allclose(fitted[2].weight, module[2].weight.double())


def test_double_precision_unless_told_otherwise():
    double = classifier(epochs=5).fit(X, NAMES)
    single = classifier(epochs=5, dtype="float32").fit(X, NAMES)
    assert double.module_[0].weight.dtype == torch.float64
    assert single.module_[0].weight.dtype == torch.float32
    np.testing.assert_allclose(single.predict_proba(X), double.predict_proba(X), atol=1e-5)


def test_frames_tensors_and_whole_numbers_are_rows():
    expected = classifier(epochs=3).fit(np.round(X), NAMES).predict_proba(np.round(X))
    for x in (pd.DataFrame(np.round(X)), torch.from_numpy(np.round(X)), np.round(X).astype(int)):
        np.testing.assert_array_equal(classifier(epochs=3).fit(x, NAMES).predict_proba(x), expected)


def test_classes_that_are_named_may_be_absent():
    model = classifier(classes=["c", "a", "b"])
    assert model.fit(X[:5], np.full(5, "b")).classes_.tolist() == ["a", "b", "c"]
    assert set(model.predict(X)) == {"b"}
    assert model.predict_proba(X).shape == (60, 3)
    with pytest.raises(ValueError, match=r"the label .*'z'.* is none of classes"):
        model.fit(X[:2], ["a", "z"])


def test_classes_that_are_not_named_must_be_there():
    with pytest.raises(ValueError, match="3 outputs for 2 classes; name all classes in classes="):
        classifier().fit(X[NAMES != "a"], NAMES[NAMES != "a"])


def test_one_row_is_enough():
    model = classifier(classes=np.unique(NAMES)).fit(X[:1], NAMES[:1])
    assert model.predict(X[:1]) == NAMES[:1]
    one = TorchRegressor(net(1), learning_rate=0.1).fit(X[:1], NUMBERS[:1])
    np.testing.assert_allclose(one.predict(X[:1]), NUMBERS[:1], atol=0.1)


@pytest.mark.parametrize(
    ("layer", "way_out"),
    [
        (nn.BatchNorm1d(6), "'1', a BatchNorm1d, mixes the rows of a batch: use GroupNorm"),
        (nn.Dropout(0.5), "'1', a Dropout, is random in training: set p=0"),
        (nn.AlphaDropout(0.1), "set p=0"),
        (nn.RReLU(), "use LeakyReLU"),
        (nn.LSTM(6, 6, 2, dropout=0.5), "set dropout=0"),
        (nn.MultiheadAttention(6, 1, dropout=0.5), "set dropout=0"),
        (nn.LazyLinear(6), "give the sizes"),
        (nn.InstanceNorm1d(6, track_running_stats=True), "track_running_stats=False"),
    ],
    ids=lambda part: type(part).__name__,
)
def test_layers_that_tie_rows_together_are_refused_by_name(layer, way_out):
    module = nn.Sequential(nn.Linear(3, 6), layer, nn.Linear(6, 3))
    with pytest.raises(InvalidOptionError, match=way_out):
        TorchClassifier(module).fit(X, NAMES)


class Own(nn.Module):
    def __init__(self, does):
        super().__init__()
        self.linear, self.does = nn.Linear(3, 3), does
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        output = self.linear(x)
        if self.does == "mixes":
            return output - output.mean(dim=0)
        if self.does == "draws":
            return nn.functional.dropout(output, 0.5, self.training)
        if self.does == "counts":
            self.calls += 1
        return output


@pytest.mark.parametrize(
    ("does", "message"),
    [("mixes", "depends on the other rows"), ("draws", "random numbers"), ("counts", "buffers")],
)
def test_what_a_layer_of_ones_own_does_is_noticed(does, message):
    with pytest.raises(InvalidOptionError, match=message):
        TorchClassifier(Own(does)).fit(X, NAMES)
    TorchClassifier(Own("nothing"), epochs=1).fit(X, NAMES)


def test_layers_that_only_could_be_random_are_fine():
    module = nn.Sequential(nn.Linear(3, 6), nn.Dropout(0.0), nn.GroupNorm(2, 6), nn.Linear(6, 3))
    assert TorchClassifier(module, epochs=50, learning_rate=0.1).fit(X, NAMES).score(X, NAMES) > 0.8


def test_other_things_are_no_modules():
    for thing in ("net", None, lambda: 3):
        with pytest.raises(InvalidOptionError, match=r"must be a torch.nn.Module or a function"):
            TorchClassifier(thing).fit(X, NAMES)
    with pytest.raises(InvalidOptionError, match="loss must be 'cross_entropy' or a function"):
        classifier(loss="hinge").fit(X, NAMES)
    with pytest.raises(InvalidOptionError, match="one number for each row and class"):
        TorchClassifier(nn.Sequential(nn.Linear(3, 3), nn.Unflatten(1, (3, 1)))).fit(X, NAMES)
    with pytest.raises(ValueError, match="expecting 3 features"):
        classifier(epochs=1).fit(X, NAMES).predict(X[:, :2])


def test_training_that_diverges_is_an_error():
    model = TorchRegressor(nn.Linear(3, 1), optimizer="sgd", learning_rate=1e3, epochs=500)
    with pytest.raises(ArithmeticError, match="lower learning_rate"):
        model.fit(X, NUMBERS)


def test_the_order_of_the_rows_does_not_matter():
    order = np.random.default_rng(1).permutation(60)
    for n_batches in (1, 7):
        model = classifier(n_batches=n_batches, epochs=5, random_state=0)
        expected = model.fit(X, NAMES).predict_proba(X)
        found = model.fit(X[order], NAMES[order]).predict_proba(X)
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_row_is_in_the_same_mini_batch_whoever_else_is_there():
    numbers = minibatch_numbers(X, 5, 0)
    chosen = np.random.default_rng(0).random(60) < 0.3
    np.testing.assert_array_equal(minibatch_numbers(X[chosen], 5, 0), numbers[chosen])
    assert set(numbers) == set(range(5))
    assert (minibatch_numbers(X, 5, 1) != numbers).any()
    twice = np.concatenate([X, X, [[0.0, 0.0, 0.0], [-0.0, 0.0, -0.0]]])
    found = minibatch_numbers(twice, 5, 0)
    np.testing.assert_array_equal(found[:60], found[60:120])
    assert found[120] == found[121]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_mini_batches_are_about_equal(dtype):
    n, k = 20_000, 10
    for x in (np.arange(n)[:, None].astype(dtype), RNG.normal(size=(n, 4)).astype(dtype)):
        counts = np.bincount(minibatch_numbers(x, k, 3), minlength=k)
        # Chi-square with 9 degrees of freedom.
        assert ((counts - n / k) ** 2 / (n / k)).sum() < 30


def test_a_mini_batch_is_one_step():
    numbers = minibatch_numbers(X, 2, 4)
    start = nn.Linear(3, 3).double()
    expected = nn.Linear(3, 3).double()
    expected.load_state_dict(start.state_dict())
    optimizer = torch.optim.SGD(expected.parameters(), lr=0.1)
    codes = torch.from_numpy(np.unique(NAMES, return_inverse=True)[1])
    for number in (0, 1):
        optimizer.zero_grad()
        rows = np.flatnonzero(numbers == number)
        nn.functional.cross_entropy(expected(torch.from_numpy(X[rows])), codes[rows]).backward()
        optimizer.step()
    model = TorchClassifier(
        start, optimizer="sgd", learning_rate=0.1, epochs=1, n_batches=2, random_state=4
    )
    torch.testing.assert_close(model.fit(X, NAMES).module_.weight, expected.weight)


def test_importing_loads_no_torch():
    code = (
        "import sys, dvl_torch, dvl_torch.hook\n"
        "from dvl_torch import TorchClassifier\n"
        "TorchClassifier(None).get_params()\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
