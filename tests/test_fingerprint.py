from __future__ import annotations

import dataclasses
import enum
import functools
import importlib.util
import os
import subprocess
import sys
import textwrap
import threading
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from dvl_core.digests import UndigestibleError, digest
from dvl_core.utilities.fingerprint import (
    fingerprint_function,
    fingerprint_model,
    fingerprint_object,
    fingerprint_of,
)

X, Y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1])


def load(path: Path, source: str) -> types.ModuleType:
    """Import a file that is in no installed distribution."""
    path.write_text(textwrap.dedent(source))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def function(tmp_path: Path, source: str, name: str = "score") -> str | None:
    number = len(list(tmp_path.glob("mine_*.py")))
    return fingerprint_function(getattr(load(tmp_path / f"mine_{number}.py", source), name))


def test_combination() -> None:
    assert fingerprint_of("a", "b") == fingerprint_of("a", "b")
    assert fingerprint_of("a", "b") != fingerprint_of("ab")
    assert fingerprint_of("a", "b") != fingerprint_of("b", "a")
    assert fingerprint_of("a", None) is None


# Values


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, True),
        (0, None),
        ("1", 1),
        ("a", b"a"),
        ([1, 2], (1, 2)),
        ([1, [2]], [[1], 2]),
        (["ab", "c"], ["a", "bc"]),
        ({"a": 1}, {"a": 2}),
        ({1, 2}, frozenset({1, 2})),
        (0.0, -0.0),
        (np.float32(1), np.float64(1)),
        (np.zeros(3), np.zeros(3, dtype=np.float32)),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.array(["a"]), np.array(["a"], dtype=object)),
        (np.array(["a", "bc"], dtype=object), np.array(["ab", "c"], dtype=object)),
        (np.array([1, "1"], dtype=object), np.array(["1", 1], dtype=object)),
        (np.zeros(2, dtype="datetime64[D]"), np.zeros(2, dtype="datetime64[s]")),
        (pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]})),
        (pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [1.0]})),
        (pd.DataFrame({"a": ["x", None]}), pd.DataFrame({"a": ["x", ""]})),
        (pd.DataFrame({"a": pd.array([1, None])}), pd.DataFrame({"a": pd.array([1, 0])})),
        (sparse.csr_matrix(np.eye(2)), sparse.csr_array(np.eye(2))),
        (sparse.csr_matrix((2, 3)), sparse.csr_matrix((3, 2))),
        (np.random.default_rng(1), np.random.default_rng(2)),
        (np.random.RandomState(1), np.random.RandomState(2)),
        (np.log, np.log1p),
        (np.mean, np.median),
        (len, max),
        (functools.partial(max, 1), functools.partial(max, 2)),
        (slice(1), slice(2)),
    ],
)
def test_different_content(one: object, other: object) -> None:
    assert digest(one) != digest(other)
    assert digest(one) == digest(one)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    )
)
def test_equal_content_whatever_the_order_and_identity(value: object) -> None:
    def rebuilt(part: object) -> object:
        if isinstance(part, dict):
            return {key: rebuilt(part[key]) for key in reversed(list(part))}
        return [rebuilt(item) for item in part] if isinstance(part, list) else part

    assert digest(value) == digest(rebuilt(value))


@given(hnp.arrays(hnp.scalar_dtypes(), hnp.array_shapes(max_dims=3, min_side=0)))
def test_layout_of_arrays_does_not_count(array: np.ndarray) -> None:
    assert digest(array) == digest(np.asfortranarray(array).copy(order="K"))
    assert digest(np.repeat(array, 2, axis=0)[::2]) == digest(array)


def test_padding_of_records_does_not_count() -> None:
    kind = np.dtype([("a", "i1"), ("b", "f8")], align=True)
    zeros, noise = np.zeros(2, dtype=kind), np.full(2 * kind.itemsize, 7, np.uint8).view(kind)
    noise["a"], noise["b"] = 0, 0
    assert digest(zeros) == digest(noise)


def test_large_arrays_are_read_in_pieces() -> None:
    large = np.arange(5_000_000, dtype=float).reshape(-1, 2)
    before = digest(large)
    large[-1, -1] = 0
    assert digest(large) != before


def test_shared_and_cyclic_parts() -> None:
    part = [1, 2]
    assert digest([part, part]) == digest([[1, 2], [1, 2]])
    cycle: list[object] = [1]
    cycle.append(cycle)
    assert digest(cycle) == digest(cycle)
    assert digest(cycle) != digest([1, [1]])


def test_tensors_count_by_their_numbers() -> None:
    class Tensor:
        def __init__(self, numbers: list[float]) -> None:
            self.numbers = numbers

        def detach(self) -> Tensor:
            return self

        def cpu(self) -> Tensor:
            return self

        def numpy(self) -> np.ndarray:
            return np.array(self.numbers)

        def __reduce_ex__(self, protocol: object) -> tuple[object, ...]:
            raise AssertionError("its pickle holds addresses")

    Tensor.__module__ = "torch"
    assert digest(Tensor([1.0])) == digest(Tensor([1.0]))
    assert digest(Tensor([1.0])) != digest(Tensor([2.0]))


@pytest.mark.parametrize("thing", [threading.Lock(), (i for i in range(3)), sys.stdout])
def test_what_cannot_be_told(thing: object) -> None:
    assert fingerprint_object({"inside": [thing]}) is None
    with pytest.raises(UndigestibleError):
        digest(thing)


def test_nesting_without_end() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert fingerprint_object(deep) is None


# Models


def test_models_count_by_class_and_parameters() -> None:
    models = [
        LogisticRegression(random_state=0),
        LogisticRegression(random_state=1),
        LogisticRegression(random_state=0, C=2),
        KNeighborsClassifier(3),
        KNeighborsClassifier(3, metric=lambda a, b: float(np.abs(a - b).max())),
        KNeighborsClassifier(3, metric=lambda a, b: float(np.abs(a - b).sum())),
        make_pipeline(StandardScaler(), KNeighborsClassifier(3)),
        make_pipeline(FunctionTransformer(np.log1p), KNeighborsClassifier(3)),
        make_pipeline(FunctionTransformer(np.expm1), KNeighborsClassifier(3)),
        make_column_transformer((OneHotEncoder(), ["a"])),
        make_column_transformer((OneHotEncoder(), ["b"])),
    ]
    fingerprints = {fingerprint_model(model) for model in models}
    assert None not in fingerprints
    assert len(fingerprints) == len(models)


def test_fitting_does_not_count_for_estimators() -> None:
    model = LogisticRegression(random_state=0)
    before = fingerprint_model(model)
    assert fingerprint_model(model.fit(X, Y)) == before


def test_fitting_counts_where_a_clone_keeps_it() -> None:
    one = FrozenEstimator(KNeighborsClassifier(1).fit(X, Y))
    same = FrozenEstimator(KNeighborsClassifier(1).fit(X, Y))
    other = FrozenEstimator(KNeighborsClassifier(1).fit(X, 1 - Y))
    assert fingerprint_model(one) == fingerprint_model(same)
    assert fingerprint_model(one) != fingerprint_model(other)


def test_state_counts_for_models_of_no_library() -> None:
    class Threshold:
        def __init__(self, cut: float) -> None:
            self.cut = cut

        def fit(self, x: np.ndarray, y: np.ndarray) -> None:
            self.cut = float(x.mean())

    assert fingerprint_model(Threshold(1.0)) == fingerprint_model(Threshold(1.0))
    assert fingerprint_model(Threshold(1.0)) != fingerprint_model(Threshold(2.0))


def test_unseeded_models_have_none() -> None:
    assert fingerprint_model(RandomForestClassifier()) is None
    assert fingerprint_model(make_pipeline(StandardScaler(), RandomForestClassifier())) is None
    assert fingerprint_model(RandomForestClassifier(random_state=0)) is not None


def test_version_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    import sklearn

    from dvl_core.installed import installed_version

    before = fingerprint_model(KNeighborsClassifier())
    monkeypatch.setattr(sklearn, "__version__", "0.0.1")
    installed_version.cache_clear()
    try:
        assert fingerprint_model(KNeighborsClassifier()) != before
    finally:
        monkeypatch.undo()
        installed_version.cache_clear()
    assert fingerprint_model(KNeighborsClassifier()) == before


MODEL = """
from sklearn.base import BaseEstimator
{header}

class Mine(BaseEstimator):
    {member}

    def __init__(self, scale=1):
        self.scale = scale

    def fit(self, x, y):
        return self

    @property
    def level(self):
        return {level}

    @staticmethod
    def predict(x):
        return helper(x) * {factor}

def helper(x):
    return x + {shift}
"""


def test_code_counts_for_classes_that_are_not_installed(tmp_path: Path) -> None:
    base = {"header": "", "member": "kind = 'a'", "level": 1, "factor": 2, "shift": 3}
    changes = [
        {},
        {"header": "# a comment\n\n"},
        {"member": "kind = 'b'"},
        {"level": 5},
        {"factor": 5},
        {"shift": 5},
    ]
    found = []
    for i, change in enumerate(changes):
        module = load(tmp_path / f"model_{i}.py", MODEL.format(**{**base, **change}))
        found.append(fingerprint_model(module.Mine()))
        assert fingerprint_model(module.Mine(scale=2)) != found[-1]
    assert found[0] is not None
    assert found[0] == found[1]
    assert len(set(found)) == len(changes) - 1


def test_base_classes_count() -> None:
    def make(step: int) -> object:
        class Base(BaseEstimator):
            def fit(self, x: object, y: object) -> int:
                return step

        class Derived(Base):
            pass

        return Derived()

    assert fingerprint_model(make(1)) == fingerprint_model(make(1))
    assert fingerprint_model(make(1)) != fingerprint_model(make(2))


def test_dataclasses_and_enums() -> None:
    class Colour(enum.Enum):
        RED = 1
        BLUE = 2

    @dataclasses.dataclass
    class Model:
        colour: Colour = Colour.RED
        weights: list[int] = dataclasses.field(default_factory=list)

        def fit(self, x: object, y: object) -> None:
            self.weights.append(1)

    assert fingerprint_model(Model()) == fingerprint_model(Model())
    assert fingerprint_model(Model(Colour.BLUE)) != fingerprint_model(Model())


# Functions


def test_functions_count_by_their_code(tmp_path: Path) -> None:
    base = "def score(m, x, y):\n    return m.p(x) + 1"
    before = function(tmp_path, base)
    assert before is not None
    assert function(tmp_path, "# moved\n\n\n" + base) == before
    for other in [
        "def score(m, x, y):\n    return m.p(x) + 2",
        "def score(m, x, y):\n    return m.q(x) + 1",
        "def score(m, x, y):\n    return m.p(x) - 1",
        "def score(m, x, y=1):\n    return m.p(x) + 1",
        "def score(m, x, *, y=1):\n    return m.p(x) + 1",
    ]:
        assert function(tmp_path, other) != before


def test_globals_count_where_they_are_read(tmp_path: Path) -> None:
    source = """
    import numpy as np
    STEP = {step}
    OTHER = {other}
    TABLE = {{"a": np.arange({width})}}
    def inner(x):
        return x + {shift}
    def score(m, x, y):
        return [inner(i) + STEP for i in TABLE["a"]]
    """
    base = {"step": 1, "other": 1, "width": 3, "shift": 1}
    before = function(tmp_path, source.format(**base))
    assert before is not None
    assert function(tmp_path, source.format(**base)) == before
    assert function(tmp_path, source.format(**{**base, "other": 2})) == before
    for name in ("step", "width", "shift"):
        assert function(tmp_path, source.format(**{**base, name: 7})) != before


def test_recursion_decorators_and_methods(tmp_path: Path) -> None:
    source = """
    import functools
    def even(n):
        return n == 0 or odd(n - 1)
    def odd(n):
        return n != 0 and even(n - 1)
    @functools.lru_cache
    def score(m, x, y):
        return even({n})
    class Scorer:
        def __init__(self, n):
            self.n = n
        def __call__(self, m, x, y):
            return self.n
        def score(self, m, x, y):
            return self.n
    bound = Scorer({n}).score
    called = Scorer({n})
    """
    for name in ("score", "bound", "called", "even"):
        one = function(tmp_path, source.format(n=1), name)
        assert one is not None
        assert one == function(tmp_path, source.format(n=1), name)
        if name != "even":
            assert one != function(tmp_path, source.format(n=2), name)


def test_modules_that_are_not_installed_count_by_source(tmp_path: Path) -> None:
    helper = load(tmp_path / "helper_module.py", "def f(x):\n    return x + 1\n")

    def score(m: object, x: object, y: object) -> object:
        return helper.f(x)

    before = fingerprint_function(score)
    assert before is not None
    tmp_path.joinpath("helper_module.py").write_text("def f(x):\n    return x + 2\n")
    assert fingerprint_function(score) != before


def test_functions_that_hold_what_cannot_be_told() -> None:
    lock = threading.Lock()
    assert fingerprint_function(lambda m, x, y: lock.locked()) is None
    nameless = types.ModuleType("made_up_module")
    assert fingerprint_function(lambda m, x, y: nameless) is None


def test_an_empty_closure_cell() -> None:
    def score(m: object, x: object, y: object) -> object:
        return later

    before = fingerprint_function(score)
    later = 1
    assert fingerprint_function(score) not in (before, None)


SCRIPT = """
import sys
import numpy as np, pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder
from dvl_core import Dataset, ModelUtility, SupervisedScorer
from dvl_core.utilities.fingerprint import fingerprint_function, fingerprint_model

WORDS = {"some", "words", "in", "a", "set"}

class Mine(TransformerMixin, BaseEstimator):
    vocabulary = frozenset({"x", "y", "z"})
    def __init__(self, words=WORDS, options={"b": 1, "a": object}):
        self.words = words
        self.options = options
    def fit(self, x, y=None):
        return self
    def transform(self, x):
        return x if "q" in {"p", "q", "r"} else score(self, x, None)

def score(model, x, y):
    return float(len(WORDS & {"a", "b", "c"})) + helper(model)

def helper(model):
    return hash is None or model in WORDS

frame = pd.DataFrame({"a": ["u", None, "w"] * 4, "b": pd.Categorical(list("xyz") * 4),
                      "c": np.arange(12.0), "d": [1, "e", None] * 4})
train = Dataset(frame, list("pq") * 6)
forest = RandomForestClassifier(2, random_state=0)
frozen = FrozenEstimator(RandomForestClassifier(2, random_state=0).fit([[0.0], [1.0]], [0, 1]))
model = make_pipeline(
    make_column_transformer((OneHotEncoder(), ["a"]), (FunctionTransformer(np.log1p), ["c"])),
    Mine(), forest)
print(train.digest)
print(fingerprint_model(model), fingerprint_model(frozen))
print(fingerprint_function(score), fingerprint_function(lambda m, x, y: sorted({"u", "v"})))
print(SupervisedScorer("f1_macro", train).fingerprint)
print(ModelUtility(RandomForestClassifier(), SupervisedScorer(score, train, 0.0))
      .with_data(train).with_seed(5).fingerprint)
"""


def test_stable_across_processes(tmp_path: Path) -> None:
    outputs = []
    for number, hash_seed in enumerate(("0", "4321")):
        # Another folder, too: addresses and paths must not count.
        script = tmp_path / f"run_{number}" / "script.py"
        script.parent.mkdir()
        script.write_text("\n" * number + SCRIPT)
        done = subprocess.run(
            [sys.executable, str(script)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        outputs.append(done.stdout)
    assert "None" not in outputs[0]
    assert len(outputs[0].split()) == 7
    assert outputs[0] == outputs[1]
