"""Torch tensors as data, and models that learn with torch: skorch nets and plain objects."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dvl_core import Dataset, MaxEvaluations, MemoryStore, ModelUtility, SupervisedScorer
from dvl_core.backends import JoblibBackend, SerialBackend
from dvl_core.digests import digest
from dvl_core.errors import DataError, InvalidOptionError, UtilityError
from dvl_core.games import FunctionGame
from dvl_core.protocols import Backend
from dvl_core.result import ValuationResult
from dvl_core.tabular import own_copy, take_rows
from dvl_core.utilities.fingerprint import fingerprint_object
from dvl_core.utilities.torch_models import takes_columns, torch_seeded, uses_torch
from dvl_knn import KNNShapleyValuation
from dvl_oob import DataOOBValuation
from dvl_shapley import DataShapleyValuation, PermutationSampler

torch = pytest.importorskip("torch")
skorch = pytest.importorskip("skorch")
nn = torch.nn

RNG = np.random.default_rng(11)
N = 14
X = RNG.normal(size=(N, 3)).astype(np.float32)
Y = (X[:, 0] + 0.2 * RNG.normal(size=N) > 0).astype(np.int64)
X_TEST = RNG.normal(size=(30, 3)).astype(np.float32)
Y_TEST = (X_TEST[:, 0] > 0).astype(np.int64)
TX, TY = torch.from_numpy(X), torch.from_numpy(Y)
TRAIN, TEST = Dataset(TX, TY), Dataset(torch.from_numpy(X_TEST), torch.from_numpy(Y_TEST))
EVERYONE = np.ones((1, N), dtype=bool)


class MLP(nn.Module):
    def __init__(self, outputs: int = 2) -> None:
        super().__init__()
        hidden = [nn.Linear(3, 6), nn.ReLU(), nn.Dropout(0.3)]
        self.layers = nn.Sequential(*hidden, nn.Linear(6, outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class TorchStyle:
    """A plain object: takes tensors, gives tensors."""

    def __init__(self, net: nn.Module | None = None) -> None:
        self.net = net

    def fit(self, x: torch.Tensor, y: torch.Tensor) -> None:
        assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
        self.net = self.net or MLP()
        optimizer = torch.optim.Adam(self.net.parameters(), 0.05)
        for _ in range(4):
            optimizer.zero_grad()
            nn.functional.cross_entropy(self.net(x), y).backward()
            optimizer.step()
        self.net.eval()

    def predict_proba(self, x: torch.Tensor) -> torch.Tensor:
        assert isinstance(x, torch.Tensor)
        return self.net(x).softmax(1)

    def predict(self, x: torch.Tensor) -> torch.Tensor:
        return self.predict_proba(x).argmax(1)


def net(module: object = MLP, **options: object) -> skorch.NeuralNetClassifier:
    options = {"train_split": None, "max_epochs": 2} | options
    return skorch.NeuralNetClassifier(
        module,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=0.05,
        verbose=0,
        **options,
    )


def utility_of(
    model: object, train: Dataset = TRAIN, test: Dataset = TEST, scoring: object = "neg_log_loss"
) -> ModelUtility:
    return ModelUtility(model, SupervisedScorer(scoring, test)).with_data(train)


def shapley(model: object, backend: Backend | None = None, **options: object) -> ValuationResult:
    options = {"seed": 0} | options
    valuation = DataShapleyValuation(
        utility_of(model), PermutationSampler(), MaxEvaluations(28), backend=backend, **options
    )
    return valuation.fit().result


# Tensors as data


def test_tensors_stay_and_labels_are_arrays_for_the_book_keeping() -> None:
    leaf = TX.clone().requires_grad_()
    data = Dataset(leaf, TY, names=torch.arange(N) * 2, groups=None)
    assert isinstance(data.x, torch.Tensor)
    assert data.x.dtype is torch.float32
    assert not data.x.requires_grad
    assert data.x.data_ptr() == leaf.data_ptr()
    assert isinstance(data.y, np.ndarray)
    assert data.y.dtype == np.int64
    assert data.feature_names == ("x0", "x1", "x2")
    assert data.names.tolist() == list(range(0, 2 * N, 2))
    assert repr(data) == "Dataset(14 rows, 3 features (Tensor), y int64)"
    x, y = data
    assert x is data.x
    assert torch.equal(y, TY)
    x, y = Dataset(TX, Y)
    assert isinstance(y, np.ndarray)


def test_select_drop_and_split_keep_tensors() -> None:
    part = TRAIN.select([4, 1])
    assert torch.equal(part.x, TX[[4, 1]])
    assert torch.equal(part.target_for(None), TY[[4, 1]])
    rest = TRAIN.drop_indices(torch.tensor([0, 2]))
    assert rest.names.tolist() == [1, *range(3, N)]
    train, test = Dataset.from_arrays(TX, TY, 10, random_state=0, stratify=True)
    for data in (train, test):
        assert isinstance(data.x, torch.Tensor)
        np.testing.assert_array_equal(data.x.numpy(), X[data.names])
        np.testing.assert_array_equal(data.y, Y[data.names])
    grouped = Dataset(TX, TY, groups=torch.arange(N) % 3)
    assert len(grouped) == 3
    assert grouped.select([2]).n_rows == 4


@pytest.mark.parametrize(
    "x", [TX, TX.T.contiguous().T, TX[:, ::2], TX.double(), TX.bfloat16(), TX.to(torch.complex64)]
)
def test_tensors_travel_and_are_recognised(x: torch.Tensor) -> None:
    data = Dataset(x, TY)
    for other in (pickle.loads(pickle.dumps(data)), copy.deepcopy(data), copy.copy(data)):  # noqa: S301
        assert torch.equal(other.x, x)
        assert other.x.dtype is x.dtype
        assert other.digest == data.digest
        assert torch.equal(other.target_for(None), TY)
    assert Dataset(x.clone(), TY.clone()).digest == data.digest


def test_digest_follows_content_and_kind() -> None:
    changed = TX.clone()
    changed[3, 1] += 1e-3
    others = [
        Dataset(changed, TY),
        Dataset(TX, 1 - TY),
        Dataset(TX.double(), TY),
        Dataset(TX.bfloat16(), TY),
        Dataset(X, Y),
        Dataset(TX, Y),
        Dataset(TX.reshape(N, 3, 1), TY),
    ]
    digests = {TRAIN.digest, *(other.digest for other in others)}
    assert len(digests) == len(others) + 1
    same_bytes = [torch.zeros(4, dtype=kind) for kind in (torch.bfloat16, torch.float16)]
    assert digest(same_bytes[0]) != digest(same_bytes[1])
    assert digest(torch.tensor(1.0, dtype=torch.bfloat16)) is not None
    assert fingerprint_object(torch.eye(2).to_sparse()) is None


def test_rows_are_copies_one_after_the_other() -> None:
    by_column = TX.T.contiguous().T
    rows = take_rows(by_column, np.array([3, 0]))
    assert rows.is_contiguous()
    rows[:] = 0
    own_copy(by_column)[:] = 0
    assert torch.equal(by_column, TX)


def test_labels_of_types_that_numpy_lacks() -> None:
    data = Dataset(TX, TX[:, 0].bfloat16())
    assert data.y.dtype == np.float32
    assert data.target_for(None).dtype is torch.bfloat16


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (TX.to("meta"), TY, r"x is a tensor on meta; .* pass x\.cpu\(\)"),
        (TX, TY.to("meta"), r"y is a tensor on meta; .* pass y\.cpu\(\)"),
        (TX.to_sparse(), TY, r"x\.to_dense\(\)"),
        (TX[:, 0], TY, "reshape"),
        (TX[:0], TY[:0], "no rows"),
        (TX, TY[:3], "x has 14 rows but y has 3"),
        (list(TX), TY, r"torch\.stack\(x\)"),
        (TX, torch.full((N,), torch.nan), "missing or infinite in 14 of 14"),
    ],
)
def test_bad_tensors(x: torch.Tensor, y: torch.Tensor, words: str) -> None:
    with pytest.raises(DataError, match=words):
        Dataset(x, y)


def test_scikit_learn_takes_tensors() -> None:
    tensors = utility_of(LogisticRegression())
    arrays = utility_of(LogisticRegression(), Dataset(X, Y), Dataset(X_TEST, Y_TEST))
    masks = np.vstack([EVERYONE, np.arange(N) < 9])
    np.testing.assert_allclose(tensors(masks), arrays(masks), rtol=1e-6)
    knn = KNNShapleyValuation(3, TEST).fit(TRAIN).result.values
    expected = KNNShapleyValuation(3, Dataset(X_TEST, Y_TEST)).fit(Dataset(X, Y)).result.values
    np.testing.assert_array_equal(knn, expected)
    forest = RandomForestClassifier(10, random_state=0)
    oob = DataOOBValuation(forest).fit(TRAIN).result.values
    np.testing.assert_array_equal(oob, DataOOBValuation(forest).fit(Dataset(X, Y)).result.values)


# Scoring


def test_scores_of_models_that_give_tensors() -> None:
    model = TRAIN.fit(TorchStyle())
    chances = model.predict_proba(TEST.x).detach().numpy()
    accuracy = SupervisedScorer("accuracy", TEST)
    assert accuracy(model) == np.mean(chances.argmax(1) == Y_TEST)
    loss = SupervisedScorer("neg_log_loss", TEST)(model)
    assert loss == pytest.approx(-log_loss(Y_TEST, chances), rel=1e-6)
    assert accuracy.default == max(np.mean(Y_TEST), 1 - np.mean(Y_TEST))
    model.classes_ = torch.tensor([0, 1])
    assert 0 <= SupervisedScorer("roc_auc", TEST)(model) <= 1


def test_functions_that_score_get_what_was_given() -> None:
    def score(model: TorchStyle, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (model.predict(x) == y).float().mean()

    model = TRAIN.fit(TorchStyle())
    by_name = SupervisedScorer("accuracy", TEST)(model)
    assert SupervisedScorer(score, TEST, default=0.5)(model) == pytest.approx(by_name)


def test_a_scorer_leaves_its_test_data_alone() -> None:
    class Clears(TorchStyle):
        def predict(self, x: torch.Tensor) -> torch.Tensor:
            return super().predict(x.zero_())

    before = TEST.x.clone()
    SupervisedScorer("accuracy", TEST)(TRAIN.fit(Clears()))
    assert torch.equal(TEST.x, before)


# Models


@pytest.mark.parametrize("scoring", ["accuracy", "neg_log_loss"])
@pytest.mark.parametrize("model", [net(), TorchStyle()], ids=lambda m: type(m).__name__)
def test_a_coalition_is_worth_what_a_model_of_its_own_scores(model: object, scoring: str) -> None:
    utility = utility_of(model, scoring=scoring).with_seed(5)
    masks = np.vstack([EVERYONE, np.arange(N) < 9, EVERYONE])
    values = utility(masks)
    assert np.isfinite(values).all()
    assert values[0] == values[2]
    expected = []
    for mask in masks:
        with torch_seeded(utility._torch_seed):
            fresh = copy.deepcopy(model)
            fresh.fit(TX[mask], TY[mask])
            expected.append(SupervisedScorer(scoring, TEST)(fresh))
    np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("data", [(X, Y), (TX, TY), (TX, Y)], ids=["arrays", "tensors", "both"])
def test_skorch_nets_learn_from_arrays_and_tensors(data: tuple[object, object]) -> None:
    train = Dataset(*data)
    utility = utility_of(net(), train, Dataset(X_TEST, Y_TEST)).with_seed(0)
    assert utility(EVERYONE) == utility_of(net()).with_seed(0)(EVERYONE)
    assert train.fit(net()).predict(X_TEST).shape == (30,)
    assert net().fit(*train).predict_proba(X_TEST).shape == (30, 2)


def test_skorch_nets_inside_a_pipeline() -> None:
    model = make_pipeline(StandardScaler(), net())
    utility = utility_of(model, Dataset(X, Y), Dataset(X_TEST, Y_TEST)).with_seed(3)
    again = utility_of(model, Dataset(X, Y), Dataset(X_TEST, Y_TEST)).with_seed(3)
    assert utility.fingerprint == again.fingerprint is not None
    assert utility(EVERYONE) == again(EVERYONE)


@pytest.mark.parametrize("model", [net(MLP()), TorchStyle(MLP())], ids=["skorch", "plain"])
def test_a_module_that_is_given_is_not_shared_between_coalitions(model: object) -> None:
    module = model.module if isinstance(model, skorch.NeuralNet) else model.net
    before = copy.deepcopy(module.state_dict())
    utility = utility_of(model).with_seed(1)
    first, other, again = utility(np.vstack([EVERYONE, np.arange(N) < 8, EVERYONE]))
    assert first == again != other
    assert all(torch.equal(before[name], part) for name, part in module.state_dict().items())


def test_regressors_get_the_column_that_they_ask_for() -> None:
    regressor = skorch.NeuralNetRegressor(
        MLP, module__outputs=1, max_epochs=2, train_split=None, verbose=0
    )
    column = X[:, :1] * 2
    for y in (column, torch.from_numpy(column)):
        data = Dataset(X, y)
        assert data.y.shape == (N,)
        assert data.fit(regressor).predict(X).shape == (N, 1)
        assert np.isfinite(utility_of(regressor, data, data, "r2").with_seed(0)(EVERYONE)).all()
        assert data.select([1, 2]).target_for(regressor).shape == (2, 1)
    assert data.digest != Dataset(X, torch.from_numpy(column[:, 0])).digest
    assert takes_columns(TorchStyle())
    assert not takes_columns(net())
    assert not takes_columns(LogisticRegression())
    binary = skorch.NeuralNetBinaryClassifier(MLP, module__outputs=1, verbose=0, train_split=None)
    labels = Y.astype(np.float32)[:, None]
    utility = utility_of(binary, Dataset(X, labels), Dataset(X_TEST, Y_TEST), "accuracy")
    assert 0 <= utility.with_seed(0)(EVERYONE)[0] <= 1


def test_the_wrong_precision_is_explained() -> None:
    train = Dataset(X.astype(float), Y)
    with pytest.raises(UtilityError, match=r"all the training data.*x\.astype\('float32'\)"):
        utility_of(net(), train, Dataset(X_TEST.astype(float), Y_TEST)).with_seed(0)(EVERYONE)


def test_too_few_rows_for_the_default_split_of_skorch_count_as_failures() -> None:
    model = net(train_split=skorch.dataset.ValidSplit(5, stratified=True))
    zeros, ones = np.flatnonzero(Y == 0), np.flatnonzero(Y == 1)
    few = np.isin(np.arange(N), [*zeros[:3], *ones[:3]])
    evaluation = utility_of(model).with_seed(0).evaluate(np.vstack([few, EVERYONE]))
    assert evaluation.failed.tolist() == [True, False]


# Seeds and fingerprints


@pytest.mark.parametrize("model", [net(), TorchStyle()], ids=lambda m: type(m).__name__)
def test_values_follow_the_seed_alone(model: object) -> None:
    base = utility_of(model)
    masks = np.vstack([EVERYONE, np.arange(N) < 9])
    torch.manual_seed(1)
    one = base.with_seed(1)(masks)
    torch.manual_seed(2)
    torch.rand(3)
    np.testing.assert_array_equal(base.with_seed(1)(masks), one)
    np.testing.assert_array_equal(base.with_seed(1)(masks[::-1])[::-1], one)
    assert not np.array_equal(base.with_seed(2)(masks), one)
    assert base.fingerprint is None
    fingerprints = [base.with_seed(seed).fingerprint for seed in (1, 1, 2)]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]
    assert fingerprints[0] is not None


def test_the_generator_and_the_threads_of_the_user_are_put_back() -> None:
    def fails() -> None:
        with torch_seeded(1):
            assert torch.get_num_threads() == 1
            raise ZeroDivisionError(torch.rand(5))

    torch.manual_seed(7)
    expected = torch.rand(2)
    torch.manual_seed(7)
    with _threads(3):
        with pytest.raises(ZeroDivisionError):
            fails()
        assert torch.get_num_threads() == 3
    assert torch.equal(torch.rand(2), expected)


def test_fits_in_threads_wait_for_each_other() -> None:
    drawn: dict[int, list[float]] = {}

    def draw(seed: int) -> None:
        with torch_seeded(seed):
            drawn[seed] = [torch.rand(1).item() for _ in range(200)]

    threads = [Thread(target=draw, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, numbers in drawn.items():
        generator = torch.Generator().manual_seed(seed)
        assert numbers == [torch.rand(1, generator=generator).item() for _ in range(200)]


def test_generators_of_devices_are_seeded_and_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    state, seeds = [5], []
    cuda = types.SimpleNamespace(
        is_available=lambda: True,
        is_initialized=lambda: True,
        get_rng_state_all=lambda: list(state),
        set_rng_state_all=lambda states: state.__setitem__(slice(None), states),
        manual_seed_all=lambda seed: (seeds.append(seed), state.__setitem__(0, -1)),
    )
    monkeypatch.setattr(torch, "cuda", cuda)
    with torch_seeded(9):
        assert state == [-1]
    assert (seeds, state) == ([9], [5])


@pytest.mark.parametrize(
    "backend", [JoblibBackend(2, "loky"), JoblibBackend(2, "threading")], ids=repr
)
def test_workers_give_the_same_bits(backend: Backend) -> None:
    serial = shapley(net(), SerialBackend())
    assert np.ptp(serial.values) > 0
    np.testing.assert_array_equal(shapley(net(), backend).values, serial.values)
    assert not np.array_equal(shapley(net(), SerialBackend(), seed=1).values, serial.values)


def test_the_ledger_of_a_net_is_read_again(tmp_path: Path) -> None:
    store = MemoryStore()
    first = shapley(net(), store=store, checkpoint=tmp_path / "run.npz")
    again = shapley(net(), store=store)
    assert first.n_computed > again.n_computed == again.n_failures
    np.testing.assert_array_equal(first.values, again.values)


def test_fingerprints_hold_in_another_process(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch, skorch, dvl_core as d\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.layer = torch.nn.Linear(2, 2)\n"
        "    def forward(self, x):\n"
        "        return self.layer(x)\n"
        "data = d.Dataset(torch.eye(2), torch.tensor([0, 1]))\n"
        "net = skorch.NeuralNetClassifier(Net, verbose=0)\n"
        "u = d.ModelUtility(net, d.SupervisedScorer('accuracy', data)).with_data(data)\n"
        "print(u.with_seed(0).fingerprint)\n"
    )
    code = "from mine import u; print(u.with_seed(1).fingerprint)"
    first, again = (
        subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout.split()
        for arguments in (["-c", code], ["-c", "import mine"])
    )
    assert [len(part) for part in first] == [32, 32]
    assert again == first[:1] != first[1:]


# What uses torch


def _trains() -> object:
    return nn.Linear(1, 1)


class _ByHelper:
    def fit(self, x: object, y: object) -> None:
        _trains()


class _ByLazyImport:
    def fit(self, x: object, y: object) -> None:
        import torch.nn.functional as functional

        functional.relu(torch.ones(1))


class _ByPart(BaseEstimator):
    def __init__(self, part: object = None) -> None:
        self.part = part

    def fit(self, x: object, y: object) -> None: ...


class _Inherits(ClassifierMixin, _ByHelper):
    pass


class _WithoutTorch:
    def fit(self, x: object, y: object) -> None:
        np.mean(x)


@pytest.mark.parametrize(
    "model",
    [
        net(),
        MLP(),
        TorchStyle(),
        _ByHelper(),
        _ByLazyImport(),
        _ByPart(MLP),
        _ByPart(_trains),
        _ByPart({"inner": [_ByHelper()]}),
        _Inherits(),
        make_pipeline(StandardScaler(), net()),
    ],
    ids=lambda model: type(model).__name__,
)
def test_models_that_use_torch(model: object) -> None:
    assert uses_torch(model)


@pytest.mark.parametrize(
    "model",
    [
        _WithoutTorch(),
        _ByPart(),
        _ByPart(np.mean),
        _ByPart(csr_array(np.eye(2))),
        _ByPart(pd.DataFrame),
        LogisticRegression(),
        RandomForestClassifier(),
    ],
    ids=lambda model: type(model).__name__,
)
def test_models_that_do_not(model: object) -> None:
    assert not uses_torch(model)


# Threads and workers


def threads_of_torch(coalitions: np.ndarray) -> np.ndarray:
    return np.full(len(coalitions), float(torch.get_num_threads()))


@pytest.mark.parametrize("backend", [SerialBackend(), JoblibBackend(2, "loky")], ids=repr)
def test_torch_has_one_thread_during_a_run(backend: Backend) -> None:
    game = FunctionGame(3, lambda z: threads_of_torch(z) * z.sum(axis=1))
    with _threads(2):
        valuation = DataShapleyValuation(
            game, PermutationSampler(), MaxEvaluations(12), seed=0, backend=backend
        )
        np.testing.assert_allclose(valuation.fit().result.values, 1)
        assert torch.get_num_threads() == 2


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def test_tensors_travel_as_arrays_that_joblib_knows_again() -> None:
    """It maps large arrays once into memory that workers share; tensors it would send each time."""
    sent = [TRAIN.__getstate__()["x"].content for _ in range(2)]
    assert isinstance(sent[0], np.ndarray)
    assert sent[0] is sent[1]
    assert np.shares_memory(sent[0], X)


def test_a_dummy_that_a_function_cannot_score() -> None:
    def score(model: object, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return model.predict(x).argmax(dim=1)

    with pytest.raises(InvalidOptionError, match="pass the score of the empty coalition"):
        _ = SupervisedScorer(score, TEST).default
