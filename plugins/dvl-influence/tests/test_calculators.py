"""Influences computed batch by batch are those of the model, whatever batches and budget are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from dvl_core.errors import DataError, InvalidOptionError, NotFittedError
from dvl_influence import (
    GradientCosineInfluence,
    GradientDotInfluence,
    InfluenceModel,
    RelativeInfluence,
    SequentialInfluenceCalculator,
    TracInInfluence,
    TrakInfluence,
)
from dvl_influence.testing import DenseInverse, batches, classes, half_squares, mlp, ridge


class Counting(DenseInverse):
    """Counts how often it solved, and for how many vectors."""

    def __init__(self) -> None:
        self.solves: list[int] = []

    def solve(self, state, rhs):
        self.solves.append(len(rhs))
        return super().solve(state, rhs)


class CountingLoader:
    """A list of batches that counts how often each was read."""

    def __init__(self, pairs) -> None:
        self.pairs = pairs
        self.read = 0

    def __iter__(self):
        for pair in self.pairs:
            self.read += 1
            yield pair


def fitted(inverse=None, n: int = 24, dtype=None, **options) -> InfluenceModel:
    x, y = classes(n)
    options = {"regularization": 0.5, "curvature": "ggn", "dtype": dtype, **options}
    model = InfluenceModel(mlp(), cross_entropy, inverse or DenseInverse(), **options)
    return model.fit(batches(x, y, 10))


def lazy_of(model, test_size: int = 4, train_size: int = 5, mode="up", n_test: int = 9, **options):
    test, train = classes(n_test, seed=3), classes(24)
    calculator = SequentialInfluenceCalculator(model, **options)
    return calculator.influences(batches(*test, test_size), batches(*train, train_size), mode)


def test_ridge() -> None:
    problem = ridge(n=30)
    loader = batches(problem.x, problem.y, 7)
    model = InfluenceModel(problem.model, half_squares, DenseInverse(), regularization=0.1)
    lazy = SequentialInfluenceCalculator(model.fit(loader)).influences(loader[:2], loader)
    scores = lazy.compute()
    assert lazy.shape == scores.shape == (14, 30)
    assert lazy.dtype == scores.dtype == torch.float64
    assert torch.allclose(scores, problem.scores[:14], rtol=1e-9, atol=1e-12)
    assert np.shares_memory(np.asarray(scores), scores.numpy())


@pytest.mark.parametrize("mode", ["up", "perturbation"])
@pytest.mark.parametrize(
    ("test_size", "train_size", "budget"), [(4, 1, 2**30), (1, 5, 3000), (9, 24, 1), (4, 7, 9000)]
)
def test_batches_and_budget_do_not_matter(mode, test_size, train_size, budget) -> None:
    model = fitted()
    expected = model.influences(*classes(9, seed=3), *classes(24), mode=mode)
    lazy = lazy_of(model, test_size, train_size, mode, memory_budget=budget)
    assert torch.allclose(lazy.compute(), expected, rtol=1e-10, atol=1e-12)
    assert lazy.shape == expected.shape


def test_order_of_the_training_data() -> None:
    model = fitted()
    x, y = classes(24)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    calculator = SequentialInfluenceCalculator(model)
    test = [classes(9, seed=3)]
    one = calculator.influences(test, batches(x, y, 5)).compute()
    other = calculator.influences(test, batches(x[order], y[order], 5)).compute()
    assert torch.allclose(one[:, order], other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_precision(dtype) -> None:
    lazy = lazy_of(fitted(dtype=dtype))
    assert lazy.dtype == lazy.compute().dtype == dtype
    assert lazy.top_k(2)[1].dtype == dtype


def test_a_data_loader() -> None:
    model = fitted()
    test = DataLoader(TensorDataset(*classes(9, seed=3)), batch_size=4)
    train = DataLoader(TensorDataset(*classes(24)), batch_size=5)
    scores = SequentialInfluenceCalculator(model).influences(test, train).compute()
    assert torch.equal(scores, lazy_of(model).compute())


def test_batches_of_another_form() -> None:
    pairs = [{"x": x, "y": y} for x, y in batches(*classes(24), 5)]
    model = InfluenceModel(
        mlp(), cross_entropy, DenseInverse(), regularization=0.5, adapter=lambda b: (b["x"], b["y"])
    ).fit(pairs)
    x, y = classes(24)
    scores = SequentialInfluenceCalculator(model).influences(pairs, pairs).compute()
    assert torch.allclose(scores, model.influences(x, y), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("method", ["dot", "cosine", "tracin", "trak", "relative"])
def test_every_method_that_scores(method, tmp_path) -> None:
    net, loader = mlp(), batches(*classes(24), 5)
    model = {
        "dot": lambda: GradientDotInfluence(net, cross_entropy),
        "cosine": lambda: GradientCosineInfluence(net, cross_entropy),
        "tracin": lambda: TracInInfluence(
            net,
            cross_entropy,
            checkpoints=[mlp(1).state_dict(), mlp(2).state_dict()],
            learning_rates=[0.1, 0.2],
        ),
        "trak": lambda: TrakInfluence(net, cross_entropy, dim=8),
        "relative": lambda: RelativeInfluence(fitted()),
    }[method]()
    model.fit(loader)
    lazy = lazy_of(model, memory_budget=9000)
    expected = model.influences(*classes(9, seed=3), *classes(24))
    assert torch.allclose(lazy.compute(), expected, rtol=1e-10, atol=1e-12)
    array = lazy.to_zarr(tmp_path / "scores.zarr")
    assert np.array_equal(array[:], lazy.to_zarr(tmp_path / "scores.zarr")[:])
    assert array.attrs["identity"]["method"] == model.report["method"]


def test_nothing_is_computed_before_it_is_asked_for() -> None:
    inverse = Counting()
    lazy = lazy_of(fitted(inverse))
    assert lazy.shape == (9, 24)
    assert inverse.solves == []


@pytest.mark.parametrize("budget", [2**30, 3000, 1])
def test_each_test_point_is_solved_for_once(budget) -> None:
    """Not once for each pair of chunks."""
    inverse = Counting()
    lazy = lazy_of(fitted(inverse), train_size=8, memory_budget=budget)
    lazy.compute()
    assert sum(inverse.solves) == 9


def test_training_data_are_gone_through_once_for_each_group(monkeypatch) -> None:
    monkeypatch.setattr("dvl_influence.streams.KEPT_BYTES", 0)
    model = fitted()
    train = CountingLoader(batches(*classes(24), 5))
    test = batches(*classes(9, seed=3), 2)
    lazy = SequentialInfluenceCalculator(model).influences(test, train)
    n_batches = len(train.pairs)
    assert lazy.group_size() >= 9
    before = train.read
    lazy.compute()
    assert train.read - before == n_batches
    few = SequentialInfluenceCalculator(model, memory_budget=1).influences(test[:1], train)
    _ = few.shape, few.group_size()
    before = train.read
    few.compute()
    assert train.read - before == 2 * n_batches


def test_data_that_fit_are_read_once() -> None:
    train = CountingLoader(batches(*classes(24), 5))
    test = [classes(2, seed=3)]
    SequentialInfluenceCalculator(fitted(), memory_budget=1).influences(test, train).compute()
    # Everything once, and the first batch again to see whether it is the same.
    assert train.read == len(train.pairs) + 1


def test_chunks() -> None:
    lazy = lazy_of(fitted(), memory_budget=3000)
    whole = lazy.compute()
    seen = torch.zeros(9, 24, dtype=torch.int64)
    for test, train, scores in lazy:
        assert scores.numel() * scores.element_size() <= 3000
        assert torch.equal(scores, whole[test, train])
        seen[test, train] += 1
    assert (seen == 1).all()


@pytest.mark.parametrize("k", [1, 3, 24])
@pytest.mark.parametrize("largest", [True, False])
def test_top_k(k, largest) -> None:
    lazy = lazy_of(fitted(), memory_budget=3000)
    whole = lazy.compute()
    indices, scores = lazy.top_k(k, largest)
    expected, order = whole.sort(dim=1, descending=largest, stable=True)
    assert torch.equal(indices, order[:, :k])
    assert torch.equal(scores, expected[:, :k])


@pytest.mark.parametrize("largest", [True, False])
def test_ties_go_to_the_first_training_point(largest) -> None:
    x, y = classes(6)
    x, y = x[[0, 1, 0, 1, 0, 1]], y[[0, 1, 0, 1, 0, 1]]
    lazy = SequentialInfluenceCalculator(fitted()).influences(
        [classes(4, seed=3)], batches(x, y, 2)
    )
    indices, scores = lazy.top_k(6, largest)
    assert torch.equal(scores[:, 0], scores[:, 2])
    first = torch.tensor([0, 2, 4])
    for row in indices:
        assert any(torch.equal(row[:3], first + shift) for shift in (0, 1))


@pytest.mark.parametrize("k", [0, 25, 1.0, True])
def test_k_that_there_are_not(k) -> None:
    with pytest.raises(InvalidOptionError, match="from 1 to 24"):
        lazy_of(fitted()).top_k(k)


def test_gradients_have_no_order() -> None:
    with pytest.raises(InvalidOptionError, match='mode="up"'):
        lazy_of(fitted(), mode="perturbation").top_k(1)


def test_shuffled_training_data() -> None:
    """Columns would be in no known order."""
    shuffled = DataLoader(TensorDataset(*classes(24)), batch_size=5, shuffle=True)
    lazy = SequentialInfluenceCalculator(fitted()).influences([classes(9)], shuffled)
    with pytest.raises(DataError, match="shuffle=True"):
        lazy.compute()


@pytest.mark.parametrize("change", ["fewer", "more", "others"])
def test_training_data_that_change(monkeypatch, change) -> None:
    monkeypatch.setattr("dvl_influence.streams.KEPT_BYTES", 0)
    pairs = batches(*classes(24), 5)
    loader = CountingLoader(pairs)
    lazy = SequentialInfluenceCalculator(fitted()).influences([classes(9)], loader)
    _ = lazy.shape
    last = classes(5, seed=7)
    loader.pairs = {
        "fewer": pairs[:-1],
        "more": [*pairs, last],
        "others": [*pairs[:-1], last],
    }[change]
    with pytest.raises(DataError, match="another one than before"):
        lazy.compute()


def test_what_is_no_loader() -> None:
    calculator = SequentialInfluenceCalculator(fitted())
    x, y = classes(9)
    with pytest.raises(DataError, match="the test data must come as batches"):
        calculator.influences(x, [(x, y)])
    with pytest.raises(DataError, match="once only"):
        calculator.influences([(x, y)], iter([(x, y)]))
    with pytest.raises(DataError, match="the training data are empty"):
        calculator.influences([(x, y)], []).compute()
    with pytest.raises(InvalidOptionError, match="'up' or 'perturbation'"):
        calculator.influences([(x, y)], [(x, y)], mode="down")


def test_what_is_no_fitted_model() -> None:
    with pytest.raises(InvalidOptionError, match="fitted influence model"):
        SequentialInfluenceCalculator(mlp())
    with pytest.raises(NotFittedError):
        SequentialInfluenceCalculator(InfluenceModel(mlp(), cross_entropy, DenseInverse()))
    with pytest.raises(InvalidOptionError, match="memory_budget"):
        SequentialInfluenceCalculator(fitted(), memory_budget=0)


def test_points_of_different_shapes_cannot_be_perturbed() -> None:
    x, y = classes(8)
    ragged = [(x[:4], y[:4]), (x[4:, :2], y[4:])]
    calculator = SequentialInfluenceCalculator(fitted())
    assert calculator.influences([(x, y)], ragged).shape == (8, 8)
    with pytest.raises(DataError, match="same shape"):
        _ = calculator.influences([(x, y)], ragged, "perturbation").shape


def test_scores_that_overflow() -> None:
    """Infinite scores are refused, not returned."""
    problem = ridge(n=5)
    model = InfluenceModel(problem.model, half_squares, DenseInverse(), dtype=torch.float32)
    model = model.fit(batches(problem.x, problem.y, 5))
    big = [(problem.x * 1e18, problem.y)]
    with pytest.raises(DataError, match="overflow"):
        SequentialInfluenceCalculator(model).influences(big, big).compute()
