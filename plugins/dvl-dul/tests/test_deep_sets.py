"""Networks over sets: what they learn, and that absent rows and batches do not matter."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from dvl_core import Dataset, FunctionGame
from dvl_core.errors import DataError, InvalidOptionError, MissingDependencyError
from dvl_core.testing.requirements import pickled_copy
from dvl_dul import DataUtilityLearning, DeepSetUtilityModel
from dvl_dul.networks import SetNetwork, SetPredictor, initial_layers
from dvl_dul.rows import described_rows

torch = pytest.importorskip("torch")

N = 16


def players(seed: int = 0, **options: object) -> Dataset:
    rng = np.random.default_rng(seed)
    return Dataset(rng.normal(size=(N, 3)), np.arange(N) % 2, **options)


def random_coalitions(count: int, seed: int = 1, n: int = N) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.random((count, n)) < rng.random((count, 1))


def learned(game: FunctionGame, train: Dataset, **options: object) -> DataUtilityLearning:
    model = DeepSetUtilityModel(**{"n_epochs": 120} | options)
    return DataUtilityLearning(game, model, n_training=200, seed=0).with_data(train)


def test_the_size_of_a_coalition_is_learned() -> None:
    utility = learned(FunctionGame(N, lambda c: c.sum(axis=1) ** 2.0), players())
    # A straight line explains 15/16 of the square of a uniform variable.
    assert utility.training.r2 > 0.97
    coalitions = random_coalitions(200)
    error = utility(coalitions) - coalitions.sum(axis=1) ** 2
    assert np.abs(error).mean() < 0.05 * N**2


def test_the_mean_of_a_feature_is_learned() -> None:
    train = players()
    feature = train.x[:, 0]
    game = FunctionGame(N, lambda c: (c @ feature) / np.maximum(c.sum(axis=1), 1))
    # A ratio of two sums is no linear function of membership.
    linear = DataUtilityLearning(game, n_training=200, seed=0).training.r2
    assert learned(game, train).training.r2 > max(0.85, linear + 0.05)


def test_labels_are_learned_from() -> None:
    """pyDVL's network never sees them: with equal features all rows would be the same."""
    train = Dataset(np.ones((N, 2)), np.array(["cat", "dog"])[np.arange(N) % 2])
    game = FunctionGame(N, lambda c: c[:, ::2].sum(axis=1) - 2.0 * c[:, 1::2].sum(axis=1))
    assert learned(game, train).training.r2 > 0.99


def network(n_features: int, seed: int = 0) -> SetNetwork:
    """Return a network whose phi and rho have biases that are not zero."""
    rng = np.random.default_rng(seed)
    phi, rho = initial_layers([n_features, 8, 4], rng), initial_layers([4, 8, 1], rng)
    phi, rho = (
        [(weights, rng.normal(size=len(biases))) for weights, biases in layers]
        for layers in (phi, rho)
    )
    return SetNetwork(phi, rho, scale=0.1, centre=0.5, spread=2.0)


def test_r_padding_absent_rows_contribute_nothing() -> None:
    """pyDVL [R]: rows of zeros go through phi, whose biases add up: padding changes predictions."""
    net, rows = network(3), players().x
    alone = SetPredictor(net, net.embed(rows))
    padded = SetPredictor(net, net.embed(np.vstack([rows, np.zeros((50, 3))])))
    other = SetPredictor(net, net.embed(np.vstack([rows, 1e3 * np.ones((50, 3))])))
    coalitions = random_coalitions(40)
    wide = np.hstack([coalitions, np.zeros((40, 50), dtype=bool)])
    assert padded(wide) == pytest.approx(alone(coalitions), rel=1e-12)
    assert other(wide) == pytest.approx(alone(coalitions), rel=1e-12)
    # The row of zeros itself is no neutral element, which is why masking comes after phi.
    wide[:, N] = True
    assert np.abs(padded(wide) - alone(coalitions)).min() > 1e-6


def test_predictions_are_those_of_each_set_alone() -> None:
    """Against phi and rho written out, row by row: order and batch do not matter."""
    net, rows = network(3), players().x
    predict = SetPredictor(net, net.embed(rows))
    coalitions = random_coalitions(20)
    (w1, b1), (w2, b2) = net.phi
    (v1, c1), (v2, c2) = net.rho
    for coalition, predicted in zip(coalitions, predict(coalitions), strict=True):
        total = np.zeros(4)
        for row in rows[coalition][::-1]:
            total += np.maximum(row @ w1 + b1, 0.0) @ w2 + b2
        worth = np.maximum(0.1 * total @ v1 + c1, 0.0) @ v2 + c2
        assert predicted == pytest.approx(0.5 + 2.0 * worth[0], rel=1e-10)
    order = np.random.default_rng(0).permutation(N)
    shuffled = SetPredictor(net, net.embed(rows[order]))
    assert shuffled(coalitions[:, order]) == pytest.approx(predict(coalitions), rel=1e-12)


def test_torch_and_numpy_compute_the_same_network() -> None:
    """A step of length zero leaves the network as it was: training and prediction agree."""
    game = FunctionGame(N, lambda c: c.sum(axis=1).astype(float))
    coalitions = random_coalitions(64)
    model = DeepSetUtilityModel(learning_rate=1e-300, n_epochs=1, precision="float64")
    predict = model.learn(coalitions, game(coalitions), train=players(), seed=0)
    from dvl_dul.networks import _forward

    net, rows = predict.network, described_rows(players())

    def tensors(layers: object) -> object:
        return [tuple(map(torch.tensor, layer)) for layer in layers]

    embedded = _forward(torch, tensors(net.phi), torch.tensor(rows))
    sums = torch.tensor(coalitions, dtype=torch.float64) @ embedded
    by_torch = _forward(torch, tensors(net.rho), net.scale * sums)[:, 0].numpy()
    assert predict(coalitions) == pytest.approx(net.centre + net.spread * by_torch, rel=1e-10)


def test_a_player_of_several_rows_counts_each_of_them() -> None:
    groups = np.arange(N) // 2
    sizes = np.array([3.0] * 4 + [-1.0] * 4)
    train = players(groups=groups)
    game = FunctionGame(8, lambda c: c @ sizes)
    model = DeepSetUtilityModel(n_epochs=5)
    coalitions = random_coalitions(50, n=8)
    predict = model.learn(coalitions, game(coalitions), train=train, seed=0)
    by_row = predict.network.embed(described_rows(train))
    expected = SetPredictor(predict.network, by_row)(coalitions[:, groups])
    assert predict(coalitions) == pytest.approx(expected, rel=1e-10)


def test_the_seed_decides_and_global_generators_do_not_matter() -> None:
    game = FunctionGame(N, lambda c: c.sum(axis=1).astype(float))
    coalitions = random_coalitions(70)
    model = DeepSetUtilityModel(n_epochs=3)

    def values(seed: int) -> bytes:
        predict = model.learn(coalitions, game(coalitions), train=players(), seed=seed)
        return predict(coalitions).tobytes()

    torch.manual_seed(1)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    first = values(0)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    torch.manual_seed(2)
    assert values(0) == first
    assert values(1) != first


def test_predictions_need_no_torch_and_travel() -> None:
    game = FunctionGame(N, lambda c: c.sum(axis=1).astype(float))
    utility = learned(game, players(), n_epochs=3, precision="float64").with_seed(0)
    coalitions = random_coalitions(9)
    predict = utility._lesson.learned.predict
    # The game of this test is a lambda, which pickle refuses: only what was learned travels.
    assert b"torch" not in pickle.dumps(predict)
    assert pickled_copy(predict)(coalitions).tobytes() == predict(coalitions).tobytes()


def test_a_regression_target_is_standardised_and_missing_numbers_are_the_mean() -> None:
    rows = described_rows(Dataset([[1.0, 5.0], [np.nan, 5.0], [3.0, 5.0]], [0.5, 1.0, 1.5]))
    deviation = np.sqrt(1.5)
    assert rows == pytest.approx(
        np.array([[-1, 0, -deviation], [0, 0, 0], [1, 0, deviation]], dtype=float)
    )


def test_tables_of_every_kind_are_described() -> None:
    x = np.array([[0.0, 2.0], [1.0, 0.0], [2.0, 1.0]])
    y = np.array([True, False, True])
    plain = described_rows(Dataset(x, y))
    assert described_rows(Dataset(sparse.csr_matrix(x), y)) == pytest.approx(plain)
    assert described_rows(Dataset(x.reshape(3, 2, 1), y)) == pytest.approx(plain)
    assert described_rows(Dataset(torch.tensor(x), torch.tensor(y))) == pytest.approx(plain)
    frame = pd.DataFrame({"a": pd.array([0, 1, 2], dtype="Int64"), "b": x[:, 1]})
    assert described_rows(Dataset(frame, y)) == pytest.approx(plain)
    coloured = described_rows(Dataset(frame.assign(c=["red", None, "red"]), y))
    assert coloured.shape == (3, 6)
    assert coloured[:, 2:4].sum(axis=1).tolist() == [1.0, 1.0, 1.0]
    assert described_rows(Dataset(x, np.array([[0, 0.5], [1, 1.5], [2, 2.5]]))).shape == (3, 6)


def test_data_that_no_network_takes() -> None:
    coalitions, utilities = random_coalitions(20), np.arange(20.0)
    model = DeepSetUtilityModel()
    with pytest.raises(DataError, match=r"there are none: bind the utility with with_data"):
        model.learn(coalitions, utilities, train=None, seed=0)
    with pytest.raises(DataError, match="rows of numbers, the features are object"):
        described_rows(Dataset(["one", "two"], [0, 1]))
    with pytest.raises(DataError, match="a feature is infinite"):
        described_rows(Dataset([[np.inf], [0.0]], [0, 1]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"phi_hidden": 0}, "phi_hidden must be an integer of at least 1"),
        ({"n_epochs": 1.5}, "n_epochs must be an integer"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"precision": "float16"}, "precision must be one of float32, float64"),
    ],
)
def test_bad_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        DeepSetUtilityModel(**options)


def test_without_torch_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    utility = DataUtilityLearning(FunctionGame(N, lambda c: c.sum(axis=1)), DeepSetUtilityModel())
    with pytest.raises(MissingDependencyError, match=r"pip install 'dvl-dul\[torch\]'"):
        utility.with_data(players()).with_seed(0)
