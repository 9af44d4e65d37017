"""Chains of stores: what is asked of whom, what is copied where, and what may fail."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from dvl_core import ChainStore, DiskStore, MemoryStore, create
from dvl_core.errors import DvlWarning, InvalidOptionError, StoreError, UnknownComponentError
from dvl_core.protocols import Store
from dvl_core.testing import conformance_test


def keys_of(numbers):
    numbers = np.asarray(numbers, dtype="<u8").reshape(-1)
    return np.stack([numbers, numbers * np.uint64(0x9E3779B97F4A7C15)], axis=1).view(np.uint8)


def put(store, numbers, shift=0.0):
    store.put(keys_of(numbers), np.asarray(numbers, dtype=float) + shift)


def found(store, numbers):
    """What is found, by number."""
    values, known = store.get(keys_of(numbers))
    assert not values[~known].any()
    return {n: v for n, v, k in zip(numbers, values.tolist(), known, strict=True) if k}


class Recording(MemoryStore):
    """Notes which batches come, and fails when it is told to."""

    def __init__(self):
        super().__init__()
        self.calls = []
        self.failing = set()
        self.closed = 0

    def _note(self, what, size):
        self.calls.append((what, size))
        if what in self.failing:
            raise StoreError(f"the store is gone ({what})")

    def get(self, keys):
        self._note("get", len(keys))
        return super().get(keys)

    def put(self, keys, values):
        self._note("put", len(keys))
        super().put(keys, values)

    def close(self):
        self.closed += 1
        if "close" in self.failing:
            raise StoreError("the store cannot be closed")


@pytest.fixture
def three():
    return [Recording(), Recording(), Recording()]


def make_nested(path):
    return ChainStore([MemoryStore(), ChainStore([MemoryStore(), DiskStore(path)])])


test_nested_chain_conforms = conformance_test("store", make_nested)


# -- look-ups ------------------------------------------------------------------------------------


def test_each_store_is_asked_for_what_those_above_lack(three):
    for number, store in enumerate(three):
        put(store, range(number * 10, number * 10 + 10))
        store.calls.clear()
    chain = ChainStore(three)
    assert found(chain, range(40)) == {n: float(n) for n in range(30)}
    gets = [[size for what, size in store.calls if what == "get"] for store in three]
    assert gets == [[40], [30], [20]]


def test_what_is_found_below_is_copied_above(three):
    put(three[2], range(5))
    put(three[1], [7])
    chain = ChainStore(three)
    assert found(chain, [0, 1, 7, 9]) == {0: 0.0, 1: 1.0, 7: 7.0}
    assert [len(store) for store in three] == [3, 3, 5]
    assert found(three[1], [0, 1, 7]) == {0: 0.0, 1: 1.0, 7: 7.0}
    for store in three:
        store.calls.clear()
    assert found(chain, [0, 1, 7]) == {0: 0.0, 1: 1.0, 7: 7.0}
    assert [store.calls for store in three] == [[("get", 3)], [], []]


def test_nothing_is_asked_for_an_empty_batch(three):
    values, known = ChainStore(three).get(keys_of([]))
    assert values.shape == known.shape == (0,)
    assert [store.calls for store in three] == [[], [], []]


def test_a_failing_cache_is_passed_over_with_one_warning(three):
    put(three[2], range(5))
    three[1].failing = {"get", "put"}
    chain = ChainStore(three)
    with pytest.warns(DvlWarning, match=r"store 2 of 3 .* is passed over.*is gone \(get\)") as told:
        assert found(chain, [0, 1]) == {0: 0.0, 1: 1.0}
    assert len(told) == 1
    assert found(chain, [2, 9]) == {2: 2.0}
    put(chain, [9])
    assert found(three[0], [0, 1, 2, 9]) == {0: 0.0, 1: 1.0, 2: 2.0, 9: 9.0}
    three[1].failing = set()
    assert found(chain, [3]) == {3: 3.0}
    assert found(three[1], [3]) == {3: 3.0}


def test_a_store_that_could_not_be_read_is_not_written_in_the_same_look_up(three):
    put(three[2], [1])
    three[0].failing = {"get"}
    with pytest.warns(DvlWarning, match="store 1 of 3"):
        assert found(ChainStore(three), [1]) == {1: 1.0}
    assert three[0].calls == [("get", 1)]


def test_a_cache_that_cannot_be_written_does_not_spoil_a_look_up(three):
    put(three[2], [1])
    three[0].failing = {"put"}
    with pytest.warns(DvlWarning, match="store 1 of 3"):
        assert found(ChainStore(three), [1]) == {1: 1.0}


def test_without_the_ledger_caches_still_answer(three):
    put(three[0], [1])
    three[2].failing = {"get"}
    with pytest.warns(DvlWarning, match="store 3 of 3"):
        assert found(ChainStore(three), [1, 2]) == {1: 1.0}


def test_a_look_up_fails_if_no_store_answers(three):
    for store in three:
        store.failing = {"get"}
    with pytest.warns(DvlWarning), pytest.raises(StoreError, match="is gone"):
        ChainStore(three).get(keys_of([1]))


# -- records -------------------------------------------------------------------------------------


def test_records_go_to_all(three):
    chain = ChainStore(three)
    put(chain, range(5))
    assert [len(store) for store in three] == [5, 5, 5]
    assert len(chain) == 5
    put(three[2], [10])
    assert len(chain) == 6


def test_caches_hold_what_the_ledger_holds(three):
    put(three[2], [1, 2], shift=0.5)
    chain = ChainStore(three)
    put(chain, [2, 3])
    for store in (chain, *three):
        assert found(store, [2, 3]) == {2: 2.5, 3: 3.0}


def test_a_ledger_that_refuses_is_an_error_and_leaves_no_trace(three):
    three[2].failing = {"put"}
    chain = ChainStore(three)
    with pytest.raises(StoreError, match="is gone"):
        put(chain, [1])
    assert [len(store) for store in three] == [0, 0, 0]


def test_a_cache_that_refuses_is_passed_over(three):
    three[0].failing = {"put"}
    chain = ChainStore(three)
    with pytest.warns(DvlWarning, match="store 1 of 3"):
        put(chain, [1])
    put(chain, [2])
    assert [len(store) for store in three] == [0, 2, 2]


def test_a_ledger_that_can_only_be_written(three):
    three[2].failing = {"get"}
    chain = ChainStore(three)
    with pytest.warns(DvlWarning, match="store 3 of 3"):
        put(chain, [1])
    assert [len(store) for store in three] == [0, 0, 1]


def test_nan_reaches_nobody(three):
    with pytest.raises(StoreError, match="is NaN"):
        ChainStore(three).put(keys_of([1, 2]), np.array([0.0, np.nan]))
    assert [store.calls for store in three] == [[], [], []]


# -- made of what, closed how --------------------------------------------------------------------


def test_all_are_closed_also_when_one_fails(three):
    three[0].failing = three[1].failing = {"close"}
    with pytest.raises(StoreError, match="cannot be closed"):
        ChainStore(three).close()
    assert [store.closed for store in three] == [1, 1, 1]


def test_a_chain_by_name_and_options(tmp_path):
    path = str(tmp_path / "s.dvl")
    spec = {"name": "chain", "stores": ["memory", {"name": "disk", "path": path}]}
    with create("store", spec) as chain:
        assert isinstance(chain, ChainStore)
        assert isinstance(chain, Store)
        assert [type(store) for store in chain.stores] == [MemoryStore, DiskStore]
        put(chain, [1])
    assert found(DiskStore(path), [1]) == {1: 1.0}
    nested = ChainStore([MemoryStore(), spec])
    assert found(nested, [1]) == {1: 1.0}
    assert [len(store) for store in nested.stores[1].stores] == [1, 1]
    assert repr(nested).startswith("ChainStore([MemoryStore(<1 records>), ChainStore([Mem")


@pytest.mark.parametrize(
    ("stores", "error", "message"),
    [
        ([], InvalidOptionError, "at least one"),
        ("memory", InvalidOptionError, "'memory': it must be a list"),
        ({"name": "memory"}, InvalidOptionError, "it must be a list"),
        (None, InvalidOptionError, "it must be a list"),
        ([MemoryStore], InvalidOptionError, "pass an instance"),
        ([3], InvalidOptionError, "a int in the chain is no store"),
        (["memroy"], UnknownComponentError, "did you mean 'memory'"),
        ([{"name": "disk", "paht": "x"}], InvalidOptionError, "did you mean 'path'"),
    ],
)
def test_what_is_no_chain(stores, error, message):
    with pytest.raises(error, match=message):
        ChainStore(stores)


def test_a_pickled_chain_answers_and_writes(tmp_path):
    chain = ChainStore([MemoryStore(), DiskStore(tmp_path / "s.dvl")])
    put(chain, [1, 2])
    copy = pickle.loads(pickle.dumps(chain))  # noqa: S301
    put(copy, [3])
    assert found(copy, [1, 2, 3]) == {1: 1.0, 2: 2.0, 3: 3.0}
    assert found(chain, [1, 2, 3]) == {1: 1.0, 2: 2.0, 3: 3.0}
    copy.close()
    chain.close()
