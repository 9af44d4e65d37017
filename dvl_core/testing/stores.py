"""What every store must do.

Each check takes a factory that needs no arguments. A store is persistent if a second store from the
same factory finds what the first one recorded; what only persistent stores can do is asked of those
alone. Keys are fresh in every check, so the factory may return a store that already holds records.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from dvl_core.errors import ConformanceError, StoreError
from dvl_core.protocols import Store
from dvl_core.testing.requirements import pickled_copy, require
from dvl_core.testing.writers import writers

if TYPE_CHECKING:
    from dvl_core.protocols import ByteArray, FloatArray

__all__ = [
    "MakeStore",
    "check_store_closes_twice",
    "check_store_counts_records",
    "check_store_empty_batch",
    "check_store_extreme_values",
    "check_store_first_record_stays",
    "check_store_large_batch",
    "check_store_leaves_arguments_alone",
    "check_store_pickled_copy",
    "check_store_processes",
    "check_store_refuses_mismatched_batches",
    "check_store_refuses_nan",
    "check_store_reopens",
    "check_store_round_trip",
    "check_store_shared_by_instances",
    "check_store_survives_kill",
    "check_store_threads",
    "check_store_types",
    "check_store_unknown_keys",
]

MakeStore = Callable[[], Store]


def _fresh_keys(count: int) -> ByteArray:
    """Return keys [count, 16] that no store has seen."""
    return np.frombuffer(os.urandom(16 * count), dtype=np.uint8).reshape(count, 16)


def _values_of(keys: ByteArray) -> FloatArray:
    """Return the value [b] that the checks record under each of `keys` [b, 16]."""
    leading = np.ascontiguousarray(keys).view("<u8")[:, 0]
    return leading / 2.0**64 - 0.5


def _require_records(store: Store, keys: ByteArray, values: FloatArray, when: str) -> None:
    """Require that `store` has `values` [b] under `keys` [b, 16], to the bit."""
    got, found = store.get(keys)
    require(bool(np.all(found)), f"{when}, {np.sum(~found)} of {len(keys)} records are not found")
    same = np.asarray(got, dtype=np.float64).view(np.int64) == values.view(np.int64)
    require(
        bool(np.all(same)),
        f"{when}, {np.sum(~same)} of {len(keys)} values are not those that were put",
    )


def _is_persistent(make: MakeStore) -> bool:
    """Whether a second store of the factory finds what the first recorded."""
    keys = _fresh_keys(3)
    first = make()
    first.put(keys, _values_of(keys))
    first.close()
    second = make()
    found = second.get(keys)[1]
    second.close()
    return bool(found.any())


def check_store_round_trip(make: MakeStore) -> None:
    """Give back what was put, in whatever order it is asked for."""
    store = make()
    keys = _fresh_keys(50)
    store.put(keys, _values_of(keys))
    _require_records(store, keys, _values_of(keys), "after a put")
    _require_records(store, keys[::-1], _values_of(keys)[::-1], "asked for in reverse order")
    twice = np.concatenate([keys[:5], keys[:5]])
    _require_records(store, twice, _values_of(twice), "asked for twice in a batch")
    store.close()


def check_store_extreme_values(make: MakeStore) -> None:
    """Give back infinities, negative zero and the smallest numbers to the bit."""
    store = make()
    values = np.array([np.inf, -np.inf, -0.0, 0.0, 5e-324, -1.7976931348623157e308, 0.1])
    keys = _fresh_keys(len(values))
    store.put(keys, values)
    _require_records(store, keys, values, "after putting extreme values")
    store.close()


def check_store_unknown_keys(make: MakeStore) -> None:
    """Find nothing under keys without a record, and give 0.0 for them."""
    store = make()
    known, unknown = _fresh_keys(5), _fresh_keys(5)
    store.put(known, _values_of(known))
    values, found = store.get(unknown)
    require(not np.any(found), "keys that were never put are found")
    require(bool(np.all(values == 0.0)), "the value of a key that is not found is not 0.0")
    mixed = np.concatenate([unknown, known])
    values, found = store.get(mixed)
    expected = np.concatenate([np.zeros(5), _values_of(known)])
    require(
        found.tolist() == [False] * 5 + [True] * 5 and np.array_equal(values, expected),
        "a batch of known and unknown keys is not answered key by key",
    )
    store.close()


def check_store_first_record_stays(make: MakeStore) -> None:
    """Keep the first record of a key."""
    store = make()
    keys = _fresh_keys(6)
    values = _values_of(keys)
    store.put(keys[:4], values[:4])
    store.put(keys, values + 1.0)
    _require_records(store, keys[:4], values[:4], "after putting other values under the same keys")
    _require_records(store, keys[4:], values[4:] + 1.0, "after a batch that was known in part")
    again = _fresh_keys(1)
    store.put(np.concatenate([again, again]), np.array([1.0, 2.0]))
    _require_records(store, again, np.array([1.0]), "after a batch that has a key twice")
    store.close()


def check_store_empty_batch(make: MakeStore) -> None:
    """Take batches of size zero."""
    store = make()
    none = np.empty((0, 16), dtype=np.uint8)
    store.put(none, np.empty(0))
    values, found = store.get(none)
    require(
        values.shape == (0,) and found.shape == (0,),
        f"an empty batch has values {values.shape} and found {found.shape}, expected (0,)",
    )
    store.close()


def check_store_types(make: MakeStore) -> None:
    """Return values as float64 [b], and what was found as bool [b]."""
    store = make()
    keys = _fresh_keys(3)
    store.put(keys[:2], _values_of(keys[:2]))
    values, found = store.get(keys)
    for name, array, dtype in (("values", values, np.float64), ("found", found, np.bool_)):
        require(
            isinstance(array, np.ndarray) and array.dtype == dtype and array.shape == (3,),
            f"{name} of a batch of 3 should be a {np.dtype(dtype)} array of shape (3,), "
            f"got {getattr(array, 'dtype', type(array))} of shape {np.shape(array)}",
        )
    store.close()


def check_store_large_batch(make: MakeStore) -> None:
    """Take a batch of 20,000 records, and give it back in pieces as well."""
    store = make()
    keys = _fresh_keys(20_000)
    store.put(keys, _values_of(keys))
    _require_records(store, keys, _values_of(keys), "after a batch of 20,000")
    _require_records(store, keys[7::13], _values_of(keys[7::13]), "asked for every 13th record")
    store.close()


def check_store_counts_records(make: MakeStore) -> None:
    """Count the different keys recorded."""
    store = make()
    before = len(store)
    keys = _fresh_keys(30)
    store.put(keys[:20], _values_of(keys[:20]))
    store.put(keys[10:], _values_of(keys[10:]))
    grown = len(store) - before
    require(grown == 30, f"30 different keys made the store longer by {grown}")
    store.close()


def check_store_refuses_nan(make: MakeStore) -> None:
    """Refuse NaN with StoreError."""
    store = make()
    keys = _fresh_keys(3)
    try:
        store.put(keys, np.array([1.0, np.nan, 2.0]))
    except StoreError:
        require(not store.get(keys)[1][1], "a NaN that was refused has been recorded")
        store.close()
        return
    raise ConformanceError("a NaN was put without StoreError")


def check_store_refuses_mismatched_batches(make: MakeStore) -> None:
    """Refuse keys and values of different lengths, and keys that are not 16 bytes."""
    store = make()
    keys = _fresh_keys(3)
    short = np.ascontiguousarray(keys[:, :15])
    for what, batch, values in (
        ("3 keys and 2 values", keys, np.zeros(2)),
        ("keys of 15 bytes", short, np.zeros(3)),
    ):
        try:
            store.put(batch, values)
        except StoreError:
            continue
        raise ConformanceError(f"{what} were put without StoreError")
    store.close()


def check_store_leaves_arguments_alone(make: MakeStore) -> None:
    """Leave the arrays passed in as they are, and keep nothing of them but their content."""
    store = make()
    keys = _fresh_keys(4).copy()
    values = _values_of(keys)
    passed_keys, passed_values = keys.copy(), values.copy()
    store.put(passed_keys, passed_values)
    store.get(passed_keys)
    require(
        np.array_equal(passed_keys, keys) and np.array_equal(passed_values, values),
        "the store changed the arrays that were passed to it",
    )
    passed_keys[:], passed_values[:] = 0, 0.0
    _require_records(store, keys, values, "after the caller reused the arrays that were put")
    store.get(keys)[0][:] = -1.0
    _require_records(store, keys, values, "after the caller changed the values that were got")
    store.close()


def check_store_threads(make: MakeStore) -> None:
    """Lose nothing when threads put and get at once."""
    store = make()
    keys = _fresh_keys(4_000)

    def work(worker: int) -> None:
        # The shares overlap by half: every record has two writers.
        for start in range(worker * 1_000, worker * 1_000 + 2_000, 100):
            batch = keys[np.arange(start, start + 100) % len(keys)]
            store.put(batch, _values_of(batch))
            _require_records(store, batch, _values_of(batch), "with four threads at work")

    with ThreadPoolExecutor(max_workers=4) as pool:
        for _ in pool.map(work, range(4)):
            pass
    _require_records(store, keys, _values_of(keys), "after four threads")
    store.close()


def check_store_pickled_copy(make: MakeStore) -> None:
    """Look up what the store has in a pickled copy, as workers do."""
    store = make()
    keys = _fresh_keys(10)
    store.put(keys, _values_of(keys))
    copy = pickled_copy(store)
    _require_records(copy, keys, _values_of(keys), "in a pickled copy")
    copy.close()
    _require_records(store, keys, _values_of(keys), "after a pickled copy was closed")
    store.close()


def check_store_closes_twice(make: MakeStore) -> None:
    """Close twice, or without having been used, without harm."""
    make().close()
    store = make()
    keys = _fresh_keys(2)
    store.put(keys, _values_of(keys))
    store.close()
    store.close()


def check_store_reopens(make: MakeStore) -> None:
    """Hold all that was put before closing, if persistent."""
    if not _is_persistent(make):
        return
    keys = _fresh_keys(500)
    for part in np.split(keys, 5):
        store = make()
        store.put(part, _values_of(part))
        store.close()
    store = make()
    _require_records(store, keys, _values_of(keys), "after closing and opening")
    store.put(keys, _values_of(keys) + 1.0)
    _require_records(store, keys, _values_of(keys), "after putting other values once reopened")
    store.close()


def check_store_shared_by_instances(make: MakeStore) -> None:
    """See the records of another open instance, if persistent."""
    if not _is_persistent(make):
        return
    one, other = make(), make()
    keys = _fresh_keys(40)
    for start in range(0, 40, 10):
        writer, reader = (one, other) if start % 20 == 0 else (other, one)
        batch = keys[start : start + 10]
        writer.put(batch, _values_of(batch))
        _require_records(reader, batch, _values_of(batch), "through another open instance")
        reader.put(batch, _values_of(batch) + 1.0)
        _require_records(writer, batch, _values_of(batch), "after another instance put again")
    one.close()
    _require_records(other, keys, _values_of(keys), "after another instance was closed")
    other.close()


def check_store_processes(make: MakeStore) -> None:
    """Lose nothing when processes write at once, if persistent."""
    if not _is_persistent(make):
        return
    store = make()
    keys = _fresh_keys(3_000)
    shares = [keys[:2_000], keys[1_000:], np.concatenate([keys[2_000:], keys[:1_000]])]
    with writers(store, [(share, _values_of(share)) for share in shares], batch=50) as processes:
        for process in processes:
            _, errors = process.communicate()
            require(process.returncode == 0, f"closing failed: {errors.decode(errors='replace')}")
    _require_records(store, keys, _values_of(keys), "after three processes")
    store.close()


def check_store_survives_kill(make: MakeStore) -> None:
    """Hold all that was put before the process was killed, if persistent."""
    if not _is_persistent(make):
        return
    store = make()
    keys = _fresh_keys(300)
    with writers(store, [(keys, _values_of(keys))], batch=30) as processes:
        processes[0].kill()
        processes[0].wait()
    _require_records(store, keys, _values_of(keys), "after the writer was killed")
    more = _fresh_keys(10)
    store.put(more, _values_of(more))
    _require_records(store, more, _values_of(more), "after a put that followed a killed writer")
    store.close()
