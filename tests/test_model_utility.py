from __future__ import annotations

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from dvl_core import Dataset, MemoryStore, ModelUtility, SupervisedScorer
from dvl_core.errors import DataError, InvalidOptionError, UtilityError
from dvl_core.protocols import Fingerprinted, ReportsFailures, Seedable, Utility

RNG = np.random.default_rng(5)
N = 24
X = RNG.normal(size=(N, 3))
Y = (X[:, 0] + 0.3 * RNG.normal(size=N) > 0).astype(int)
TRAIN = Dataset(X, Y)
X_TEST = RNG.normal(size=(40, 3))
TEST = Dataset(X_TEST, (X_TEST[:, 0] > 0).astype(int))
ACCURACY = SupervisedScorer("accuracy", TEST)
BAYES = ModelUtility(GaussianNB(), ACCURACY).with_data(TRAIN)
TREE = ModelUtility(DecisionTreeClassifier(random_state=0), ACCURACY).with_data(TRAIN)


def everyone(data: Dataset) -> np.ndarray:
    return np.ones((1, len(data)), dtype=bool)


def coalition(n: int, members: object) -> np.ndarray:
    mask = np.zeros((1, n), dtype=bool)
    mask[0, members] = True
    return mask


def two_of_each() -> list[int]:
    return [*np.flatnonzero(Y == 0)[:2], *np.flatnonzero(Y == 1)[:2]]


class Mean:
    """A model of no library; refuses a row with 99 in it."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def fit(self, x: np.ndarray, y: np.ndarray) -> None:
        if (x == 99).any():
            raise ValueError("99 is not a number I like\nat all")
        self.seen.append(len(x))
        self.mean = y.mean()

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.full(len(x), self.mean)


class Fails(ClassifierMixin, BaseEstimator):
    """Raises what it is told where it is told."""

    def __init__(self, error: BaseException | None = None, least: int = 0, odd: bool = False):
        self.error = error
        self.least = least
        self.odd = odd

    def fit(self, x: np.ndarray, y: np.ndarray) -> Fails:
        if len(x) < self.least or (self.odd and x[0, 0] == X[5, 0]):
            raise self.error
        self.classes_ = np.unique(y)
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.repeat(self.classes_[-1], len(x))


def test_iris_in_three_steps() -> None:
    train, test = Dataset.from_sklearn(load_iris(), train_size=0.6)
    utility = ModelUtility(LogisticRegression(max_iter=500), SupervisedScorer("accuracy", test))
    assert utility.n_players is None
    bound = utility.with_data(train)
    values = bound(np.ones((1, len(train)), bool))
    assert values.shape == (1,)
    assert values[0] > 0.8
    assert (utility.n_players, bound.n_players) == (None, 90)


def test_has_the_capabilities_of_a_utility() -> None:
    for protocol in (Utility, Fingerprinted, Seedable, ReportsFailures):
        assert isinstance(BAYES, protocol)
    assert BAYES.batch_invariant is True


def test_equals_a_plain_loop_bit_for_bit() -> None:
    masks = RNG.random((20, N)) < 0.6
    model = LogisticRegression()
    utility = ModelUtility(model, SupervisedScorer("neg_log_loss", TEST)).with_data(TRAIN)
    score = get_scorer("neg_log_loss")
    expected = [score(clone(model).fit(X[m], Y[m]), *TEST) for m in masks]
    np.testing.assert_array_equal(utility(masks), expected)
    np.testing.assert_array_equal(utility(masks[::-1])[::-1], expected)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=N, max_size=N), min_size=1, max_size=5))
def test_value_does_not_depend_on_the_batch(rows: list[list[bool]]) -> None:
    masks = np.array(rows, dtype=bool)
    together = TREE.evaluate(masks)
    alone = [TREE.evaluate(mask[None]) for mask in masks]
    np.testing.assert_array_equal(together.values, [e.values[0] for e in alone])
    np.testing.assert_array_equal(together.failed, [e.failed[0] for e in alone])
    assert np.isfinite(together.values).all()


@pytest.mark.parametrize("on_error", ["default", "raise", "score"])
def test_empty_coalition_scores_the_default_and_counts(on_error: str) -> None:
    scorer = SupervisedScorer("accuracy", TEST, default=0.125)
    utility = ModelUtility(GaussianNB(), scorer, on_error=on_error).with_data(TRAIN)
    evaluation = utility.evaluate(np.zeros((2, N), dtype=bool))
    assert evaluation.values.tolist() == [0.125, 0.125]
    assert evaluation.failed.tolist() == [True, True]


def test_empty_batch() -> None:
    assert BAYES(np.zeros((0, N), dtype=bool)).shape == (0,)


@pytest.mark.parametrize(
    "coalitions",
    [
        np.ones(N, dtype=bool),
        np.ones((1, N - 1), dtype=bool),
        np.ones((1, N)),
        np.array([[0, 1]]),
    ],
)
def test_bad_coalitions(coalitions: np.ndarray) -> None:
    with pytest.raises(DataError, match=rf"bool array of shape \[b, {N}\]"):
        BAYES(coalitions)


def test_unbound() -> None:
    utility = ModelUtility(GaussianNB(), ACCURACY)
    with pytest.raises(DataError, match="no players yet"):
        utility(np.ones((1, N), dtype=bool))
    assert utility.fingerprint is None
    with pytest.raises(DataError, match=r"dvl_core\.Dataset, got ndarray"):
        utility.with_data(X)


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ((GaussianNB, ACCURACY), {}, "create one: call the class"),
        ((3, ACCURACY), {}, r"object with fit\(x, y\), got 3"),
        ((GaussianNB(), "accuracy"), {}, "SupervisedScorer"),
        ((GaussianNB(), lambda model: 1.0), {}, "SupervisedScorer"),
        ((GaussianNB(), ACCURACY), {"on_error": "defualt"}, "did you mean 'default'"),
    ],
)
def test_bad_options(arguments: tuple[object, ...], options: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidOptionError, match=words):
        ModelUtility(*arguments, **options)


def test_a_scorer_of_ones_own() -> None:
    class Half:
        default = 0.5

        def __call__(self, model: GaussianNB) -> float:
            return float(model.class_count_.sum())

    utility = ModelUtility(GaussianNB(), Half()).with_data(TRAIN)
    assert utility(np.vstack([everyone(TRAIN), ~everyone(TRAIN)])).tolist() == [N, 0.5]
    assert utility.fingerprint is not None


def test_models_of_no_library_are_copied_deeply() -> None:
    model = Mean()
    utility = ModelUtility(model, SupervisedScorer("neg_mean_squared_error", TEST)).with_data(TRAIN)
    masks = np.vstack([coalition(N, [0, 1, 2]), everyone(TRAIN)])
    expected = [-np.mean((TEST.y - Y[m].mean()) ** 2) for m in masks]
    np.testing.assert_allclose(utility(masks), expected)
    assert model.seen == []
    assert not hasattr(model, "mean")


# Degenerate coalitions


def test_one_class() -> None:
    utility = ModelUtility(LogisticRegression(), ACCURACY).with_data(TRAIN)
    evaluation = utility.evaluate(coalition(N, np.flatnonzero(Y == 1)))
    assert evaluation.failed.tolist() == [True]
    assert evaluation.values[0] == ACCURACY.default


def test_models_that_learn_from_one_class_are_not_second_guessed() -> None:
    utility = ModelUtility(DecisionTreeClassifier(random_state=0), ACCURACY).with_data(TRAIN)
    evaluation = utility.evaluate(coalition(N, np.flatnonzero(Y == 1)))
    assert evaluation.failed.tolist() == [False]
    assert evaluation.values[0] == TEST.y.mean()


@pytest.mark.parametrize("as_words", [False, True])
def test_fewer_rows_than_neighbours(as_words: bool) -> None:
    def words(y: np.ndarray) -> np.ndarray:
        return np.where(y, "yes", "no") if as_words else y

    train, test = Dataset(X, words(Y)), Dataset(TEST.x, words(TEST.y))
    model = KNeighborsClassifier(n_neighbors=6)
    utility = ModelUtility(model, SupervisedScorer("accuracy", test)).with_data(train)
    few, enough = coalition(N, two_of_each()), coalition(N, range(10))
    evaluation = utility.evaluate(np.vstack([few, enough]))
    assert evaluation.failed.tolist() == [True, False]


def test_fewer_rows_than_neighbours_in_regression() -> None:
    train, test = Dataset(X, X[:, 0]), Dataset(TEST.x, TEST.x[:, 0])
    utility = ModelUtility(KNeighborsRegressor(5), SupervisedScorer("r2", test)).with_data(train)
    masks = np.array([np.arange(N) < k for k in range(1, 8)])
    assert utility.evaluate(masks).failed.tolist() == [True] * 4 + [False] * 3


def test_too_few_rows_is_asked_once_for_each_number() -> None:
    fits = []

    class Counting(KNeighborsRegressor):
        def fit(self, x: np.ndarray, y: np.ndarray) -> Counting:
            fits.append(len(x))
            return super().fit(x, y)

    train, test = Dataset(X, X[:, 0]), Dataset(TEST.x, TEST.x[:, 0])
    utility = ModelUtility(Counting(5), SupervisedScorer("r2", test)).with_data(train)
    utility(np.vstack([coalition(N, [i, i + 1, i + 2]) for i in range(10)]))
    assert sorted(fits) == [3] * 11 + [N]


def test_a_single_row_of_a_class_in_cross_validation() -> None:
    model = GridSearchCV(GaussianNB(), {"var_smoothing": [1e-9, 1e-3]}, cv=2, error_score="raise")
    utility = ModelUtility(model, ACCURACY).with_data(TRAIN)
    ones, zeros = np.flatnonzero(Y == 1), np.flatnonzero(Y == 0)
    evaluation = utility.evaluate(
        np.vstack([coalition(N, [zeros[0], ones[0]]), coalition(N, [*zeros[:5], *ones[:5]])])
    )
    assert evaluation.failed.tolist() == [True, False]


def test_only_one_class_in_all_the_data() -> None:
    train = Dataset(X, np.ones(N, dtype=int))
    utility = ModelUtility(LogisticRegression(), ACCURACY).with_data(train)
    with pytest.raises(UtilityError, match=r"2 classes.*fails on all the training data too"):
        utility(everyone(train))


# Errors


def test_an_error_names_the_coalition() -> None:
    x = X.copy()
    x[7, 1] = 99
    train = Dataset(x, Y, names=[f"row-{i}" for i in range(N)])
    scorer = SupervisedScorer("neg_mean_squared_error", TEST)
    utility = ModelUtility(Mean(), scorer).with_data(train)
    assert utility.evaluate(coalition(N, [1, 2, 3])).failed.tolist() == [False]
    with pytest.raises(UtilityError) as caught:
        utility(coalition(N, [2, 7]))
    message = str(caught.value)
    assert message == (
        f"Mean failed on the coalition of 2 of {N} players [row-2, row-7]: ValueError: 99 is not "
        "a number I like; it fails on all the training data too"
    )
    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(UtilityError, match=r"24 of 24 players \[row-0, .*row-9, \.\.\.\]"):
        utility(everyone(train))


def test_an_error_on_some_rows_only_stops_the_run() -> None:
    utility = ModelUtility(Fails(RuntimeError("odd"), odd=True), ACCURACY).with_data(TRAIN)
    members = [5, *np.flatnonzero(Y == 0)[-3:], *np.flatnonzero(Y == 1)[-3:]]
    with pytest.raises(UtilityError, match=r"RuntimeError: odd$"):
        utility(coalition(N, members))


@pytest.mark.parametrize(
    "error", [np.linalg.LinAlgError("singular"), ZeroDivisionError(), KeyError("q")]
)
def test_errors_of_every_kind_on_too_few_rows_are_excused(error: Exception) -> None:
    utility = ModelUtility(Fails(error, least=8), ACCURACY).with_data(TRAIN)
    members = [*np.flatnonzero(Y == 0)[:3], *np.flatnonzero(Y == 1)[:3]]
    evaluation = utility.evaluate(np.vstack([coalition(N, members), everyone(TRAIN)]))
    assert evaluation.failed.tolist() == [True, False]


@pytest.mark.parametrize("on_error", ["default", "raise", "score"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError()])
def test_what_is_never_caught(on_error: str, error: BaseException) -> None:
    model = Mean()
    model.fit = _raising(error)  # type: ignore[method-assign]
    utility = ModelUtility(model, ACCURACY, on_error=on_error).with_data(TRAIN)
    with pytest.raises(type(error)):
        utility(everyone(TRAIN))


def _raising(error: BaseException) -> object:
    def fit(*data: object) -> None:
        raise error

    return fit


def test_on_error_raise() -> None:
    utility = ModelUtility(LogisticRegression(), ACCURACY, on_error="raise").with_data(TRAIN)
    with pytest.raises(UtilityError, match="LogisticRegression failed on the coalition of 2"):
        utility(coalition(N, np.flatnonzero(Y == 1)[:2]))


def test_on_error_score() -> None:
    x = X.copy()
    x[3, 0] = np.nan
    train = Dataset(x, Y)
    utility = ModelUtility(LogisticRegression(), ACCURACY, on_error="score").with_data(train)
    rest = ~coalition(N, [3])
    evaluation = utility.evaluate(np.vstack([everyone(train), rest]))
    assert evaluation.failed.tolist() == [True, False]
    assert evaluation.values[0] == ACCURACY.default


def test_missing_values_that_the_model_cannot_take() -> None:
    x = X.copy()
    x[3, 0] = np.nan
    train = Dataset(x, Y)
    utility = ModelUtility(LogisticRegression(), ACCURACY).with_data(train)
    with pytest.raises(UtilityError, match=r"contains NaN.*all the training data.*SimpleImputer"):
        utility(coalition(N, [3, *two_of_each()]))
    filled = make_pipeline(SimpleImputer(), LogisticRegression())
    assert np.isfinite(ModelUtility(filled, ACCURACY).with_data(train)(everyone(train))).all()


def test_a_score_that_is_not_finite_is_an_error() -> None:
    def score(model: GaussianNB, x: np.ndarray, y: np.ndarray) -> float:
        return np.nan if model.class_count_.sum() < 10 else 1.0

    utility = ModelUtility(GaussianNB(), SupervisedScorer(score, TEST, 0.0)).with_data(TRAIN)
    members = [*np.flatnonzero(Y == 0)[:3], *np.flatnonzero(Y == 1)[:3]]
    evaluation = utility.evaluate(np.vstack([coalition(N, members), everyone(TRAIN)]))
    assert evaluation.failed.tolist() == [True, False]
    always = SupervisedScorer(lambda model, x, y: np.inf, TEST, 0.0)
    with pytest.raises(UtilityError, match="ArithmeticError: the scorer returned inf"):
        ModelUtility(GaussianNB(), always).with_data(TRAIN)(everyone(TRAIN))


def test_errors_travel_between_processes() -> None:
    utility = ModelUtility(LogisticRegression(), ACCURACY, on_error="raise").with_data(TRAIN)
    with pytest.raises(UtilityError) as caught:
        utility(coalition(N, [0]))
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301


# Data of every kind


def test_groups() -> None:
    groups = np.array(["c", "a", "b", "a"])[np.arange(N) % 4]
    train = Dataset(X, Y, groups=groups)
    utility = ModelUtility(LogisticRegression(), SupervisedScorer("neg_log_loss", TEST))
    bound = utility.with_data(train)
    assert bound.n_players == 3
    rows = np.isin(groups, ["c", "b"])
    reference = utility.with_data(TRAIN)
    np.testing.assert_array_equal(
        bound(np.array([[True, True, True], [True, False, True]])),
        reference(np.vstack([np.ones(N, bool), rows])),
    )


def test_frame_with_a_column_transformer() -> None:
    colours = np.array(["red", "green", "blue"])[np.arange(N) % 3]
    table = pd.DataFrame({"size": X[:, 0], "colour": colours, "gap": X[:, 1]})
    table.loc[2, "gap"] = np.nan
    table["label"] = np.where(Y, "yes", "no")
    train = Dataset.from_frame(table, "label")
    numeric = make_pipeline(SimpleImputer(), StandardScaler())
    model = make_pipeline(
        ColumnTransformer(
            [
                ("numbers", numeric, ["size", "gap"]),
                ("words", OneHotEncoder(handle_unknown="ignore"), ["colour"]),
            ]
        ),
        LogisticRegression(),
    )
    before = table.copy(deep=True)
    utility = ModelUtility(model, SupervisedScorer("accuracy", train)).with_data(train)
    masks = np.vstack([everyone(train), coalition(N, range(12)), ~everyone(train)])
    evaluation = utility.evaluate(masks)
    x, y = table.drop(columns="label"), table["label"].to_numpy()
    expected = [clone(model).fit(x[m], y[m]).score(x, y) for m in masks[:2]]
    np.testing.assert_array_equal(evaluation.values[:2], expected)
    assert evaluation.failed.tolist() == [False, False, True]
    pd.testing.assert_frame_equal(table, before)
    assert utility.with_seed(0).fingerprint is not None


def test_sparse_matrices_and_layouts_give_the_same() -> None:
    masks = RNG.random((4, N)) < 0.7
    scorer = SupervisedScorer("neg_log_loss", TEST)
    dense = ModelUtility(LogisticRegression(), scorer)
    expected = dense.with_data(TRAIN)(masks)
    fortran = Dataset(np.asfortranarray(X), Y)
    np.testing.assert_array_equal(dense.with_data(fortran)(masks), expected)
    sparse_scorer = SupervisedScorer("neg_log_loss", Dataset(sparse.csr_matrix(TEST.x), TEST.y))
    utility = ModelUtility(LogisticRegression(), sparse_scorer)
    values = utility.with_data(Dataset(sparse.csr_matrix(X), Y))(masks)
    np.testing.assert_allclose(values, expected, rtol=1e-3)


def test_several_targets() -> None:
    targets = np.column_stack([X[:, 0], X[:, 1]])
    test = Dataset(TEST.x, TEST.x[:, :2])
    utility = ModelUtility(LinearRegression(), SupervisedScorer("r2", test))
    assert utility.with_data(Dataset(X, targets))(np.ones((1, N), bool))[0] == pytest.approx(1)


def test_memory_mapped_features(tmp_path: object) -> None:
    np.save(f"{tmp_path}/x.npy", X)
    mapped = np.load(f"{tmp_path}/x.npy", mmap_mode="r")
    utility = ModelUtility(GaussianNB(), ACCURACY).with_data(Dataset(mapped, Y))
    masks = RNG.random((3, N)) < 0.8
    np.testing.assert_array_equal(utility(masks), BAYES(masks))
    assert utility.fingerprint == BAYES.fingerprint


def test_models_that_change_their_input_do_not_leak() -> None:
    train = Dataset(X.copy() * 3 + 1, Y)
    model = make_pipeline(StandardScaler(copy=False), LogisticRegression())
    scorer = SupervisedScorer("neg_log_loss", TEST)
    utility = ModelUtility(model, scorer).with_data(train)
    masks = np.vstack([everyone(train), everyone(train)])
    first, second = utility(masks)
    assert first == second
    np.testing.assert_array_equal(train.x, X * 3 + 1)
    masks_before = masks.copy()
    utility(masks)
    np.testing.assert_array_equal(masks, masks_before)


# Seeds and fingerprints


def test_seeds_make_a_forest_deterministic() -> None:
    utility = ModelUtility(RandomForestClassifier(5), SupervisedScorer("neg_brier_score", TEST))
    bound = utility.with_data(TRAIN)
    assert bound.fingerprint is None
    masks = np.vstack([everyone(TRAIN), coalition(N, range(15))])
    seeded = bound.with_seed(11)
    assert seeded.fingerprint is not None
    np.testing.assert_array_equal(seeded(masks), bound.with_seed(11)(masks[::-1])[::-1])
    assert not np.array_equal(seeded(masks), bound.with_seed(12)(masks))
    assert seeded.fingerprint == bound.with_seed(11).fingerprint
    assert seeded.fingerprint != bound.with_seed(12).fingerprint
    assert bound.model.random_state is None


def test_a_given_random_state_stays() -> None:
    utility = ModelUtility(RandomForestClassifier(5, random_state=3), ACCURACY).with_data(TRAIN)
    assert utility.with_seed(1).model.random_state == 3
    assert utility.with_seed(1).fingerprint == utility.fingerprint


def test_nested_random_states() -> None:
    search = GridSearchCV(
        BaggingClassifier(DecisionTreeClassifier()),
        {"n_estimators": [2]},
        cv=KFold(2, shuffle=True),
    )
    utility = ModelUtility(make_pipeline(StandardScaler(), search), ACCURACY).with_data(TRAIN)
    model = utility.with_seed(2**80).model[-1]
    states = [
        model.estimator.random_state,
        model.estimator.estimator.random_state,
        model.cv.random_state,
    ]
    assert all(isinstance(state, int) for state in states)
    assert len(set(states)) == 3
    assert search.cv.random_state is None
    assert utility.fingerprint is None
    assert utility.with_seed(2**80).fingerprint is not None


def test_random_state_as_an_attribute() -> None:
    class Draws(Mean):
        def __init__(self) -> None:
            super().__init__()
            self.random_state: int | None = None
            self.inner = RandomForestClassifier(2)

    utility = ModelUtility(Draws(), ACCURACY).with_data(TRAIN)
    seeded = utility.with_seed(4)
    assert isinstance(seeded.model.random_state, int)
    assert isinstance(seeded.model.inner.random_state, int)
    assert utility.model.random_state is None
    assert utility.fingerprint is None
    assert seeded.fingerprint is not None


def test_fingerprint_follows_what_decides_the_values() -> None:
    base = ModelUtility(GaussianNB(), ACCURACY)
    different = [
        base.with_data(TRAIN),
        base.with_data(Dataset(X + 1, Y)),
        base.with_data(Dataset(X, Y, groups=np.arange(N) % 3)),
        ModelUtility(GaussianNB(var_smoothing=0.1), ACCURACY).with_data(TRAIN),
        ModelUtility(KNeighborsClassifier(), ACCURACY).with_data(TRAIN),
        ModelUtility(GaussianNB(), SupervisedScorer("f1", TEST)).with_data(TRAIN),
    ]
    assert len({utility.fingerprint for utility in different}) == len(different)
    assert None not in {utility.fingerprint for utility in different}
    fitted = ModelUtility(GaussianNB().fit(X, Y), ACCURACY).with_data(TRAIN)
    assert fitted.fingerprint == different[0].fingerprint
    other = different[0].with_data(Dataset(X * 2, Y))
    assert other.fingerprint not in {utility.fingerprint for utility in different}


def test_pickle_leaves_caches_behind() -> None:
    utility = ModelUtility(KNeighborsClassifier(6), ACCURACY).with_data(TRAIN)
    masks = np.vstack([everyone(TRAIN), coalition(N, two_of_each())])
    expected = utility(masks)
    fingerprint = utility.fingerprint
    assert {"_x", "_diagnosis"} <= set(vars(utility))
    clone_ = pickle.loads(pickle.dumps(utility))  # noqa: S301
    assert not {"_x", "_diagnosis"} & set(vars(clone_))
    np.testing.assert_array_equal(clone_(masks), expected)
    assert clone_.fingerprint == fingerprint


def test_deep_copies_work() -> None:
    masks = everyone(TRAIN)
    np.testing.assert_array_equal(copy.deepcopy(BAYES)(masks), BAYES(masks))


def test_direct_calls_use_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    utility = ModelUtility(GaussianNB(), ACCURACY, store=MemoryStore()).with_data(TRAIN)
    masks = np.vstack([everyone(TRAIN), coalition(N, range(12))])
    first = utility(masks)
    assert len(utility.store) == 2
    monkeypatch.setattr(GaussianNB, "fit", _raising(AssertionError("fitted again")))
    np.testing.assert_array_equal(utility(masks[::-1])[::-1], first)
    with pytest.raises(UtilityError, match="fitted again"):
        utility(coalition(N, range(11)))


def test_an_unseeded_model_does_not_use_the_store() -> None:
    store = MemoryStore()
    forest = ModelUtility(RandomForestClassifier(2), ACCURACY, store=store).with_data(TRAIN)
    forest(everyone(TRAIN))
    assert len(store) == 0
    forest.with_seed(0)(everyone(TRAIN))
    assert len(store) == 1


def test_regressors_are_not_judged_by_classes() -> None:
    whole = Dataset(X, np.arange(N) % 4)
    test = Dataset(TEST.x, np.arange(40) % 4)
    scorer = SupervisedScorer("neg_mean_absolute_error", test)
    utility = ModelUtility(_Picky(), scorer).with_data(whole)
    with pytest.raises(UtilityError, match="player nobody expected"):
        utility(coalition(N, [0, 1, 2]))


class _Picky(LinearRegression):
    def fit(self, x: np.ndarray, y: np.ndarray) -> _Picky:
        if len(x) < N and x[0, 0] == X[0, 0]:
            raise ValueError("player nobody expected")
        return super().fit(x, y)
