"""On a real server: what others wrote there, many clients at once, and whole runs."""

from __future__ import annotations

import multiprocessing
import pickle
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from dvl_core.backends import JoblibBackend
from dvl_core.games import FunctionGame
from dvl_core.stopping import MaxUpdates
from dvl_core.stores import DiskStore
from dvl_memcached.records import names_of, packed
from dvl_shapley import DataShapleyValuation

VALUES = np.arange(300.0) / 7.0 - 20.0
TOUCHED = []


def touch() -> str:
    TOUCHED.append("unpickled")
    return "x"


class Bomb:
    """Shows when it is unpickled."""

    def __reduce__(self):
        return touch, ()


def squares(coalitions: np.ndarray) -> np.ndarray:
    return (coalitions @ np.arange(1.0, coalitions.shape[1] + 1.0)) ** 2


def test_poisoned_entries_are_neither_found_nor_kept(server, keys) -> None:
    """B17: what a shared server holds is never unpickled, and garbage is no value."""
    rng = np.random.default_rng(0)
    poison = {
        "random bytes": rng.bytes(13),
        "more random bytes": rng.bytes(5_000),
        "nothing": b"",
        "pickle": pickle.dumps(Bomb()),
        "truncated": packed(keys[4:5], VALUES[4:5])[0][:7],
        "of another key": packed(keys[0:1], VALUES[0:1])[0],
        "not a number": packed(keys[6:7], np.array([np.nan]))[0],
        "another version": b"\2" + packed(keys[7:8], VALUES[7:8])[0][1:],
        "protocol": b"VALUE x 0 1\r\nEND\r\nSTORED\r\n",
        "end": b"END\r\n",
    }
    names, other = names_of(keys, "dvl"), server.client()
    for name, content in zip(names, poison.values(), strict=False):
        other.set(name, content, flags=3)
    store = server.store()
    store.put(keys[10:12], VALUES[10:12])
    values, found = store.get(keys)
    assert np.flatnonzero(found).tolist() == [10, 11]
    assert not values[~found].any()
    store.put(keys, VALUES)
    values, found = store.get(keys)
    assert found.all()
    assert values.tobytes() == VALUES.tobytes()
    assert not TOUCHED
    # The bomb is one: unpickling is noticed.
    pickle.loads(poison["pickle"])  # noqa: S301
    assert TOUCHED.pop()


def test_of_two_that_replace_garbage_one_does(server, keys) -> None:
    """Between looking and replacing another client may have put things right."""
    store, other = server.store(), server.client()
    name = names_of(keys[:1], "dvl")[0]
    other.set(name, b"garbage")
    from dvl_memcached.client import BatchClient

    class Overtaken(BatchClient):
        def replace(self, entries, expire):
            other.set(name, packed(keys[:1], np.array([1.0]))[0])
            return super().replace(entries, expire)

    client = Overtaken(("127.0.0.1", server.port), timeout=5)
    assert store._record(client, keys[:1], np.array([2.0])) is None
    client.close()
    assert store.get(keys[:1])[0].tolist() == [1.0]


def test_length_is_that_of_this_prefix(server, keys) -> None:
    mine = server.store(prefix="a:b%")
    theirs = server.store(prefix="a:b")
    server.client().set("a:b%", b"another program's")
    assert len(mine) == 0
    mine.put(keys, VALUES)
    theirs.put(keys[:7], VALUES[:7])
    assert (len(mine), len(theirs)) == (300, 7)
    assert not server.store(prefix="a").get(keys)[1].any()


def test_a_server_that_cannot_list_counts_all(start_server, keys) -> None:
    store = start_server("-o", "no_lru_crawler").store()
    store.put(keys, VALUES)
    assert len(store) == 300


@pytest.mark.parametrize("expire", [0, 60, 31 * 24 * 3_600])
def test_records_expire(server, keys, expire) -> None:
    """More than a month is a point in time for memcached."""
    store = server.store(expire=expire, prefix=f"expire-{expire}")
    store.put(keys, VALUES)
    name = names_of(keys[:1], store.prefix)[0]
    answer = server.client().raw_command(b"mg %b t" % name)
    left = int(answer.removeprefix(b"HD t"))
    assert left == -1 if expire == 0 else expire - 10 < left <= expire + 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_connects_for_itself(server, keys) -> None:
    store = server.store()
    store.put(keys[:100], VALUES[:100])
    context = multiprocessing.get_context("fork")
    child = context.Process(target=put_and_get, args=(store, keys[100:], VALUES[100:]))
    child.start()
    put_and_get(store, keys[:100], VALUES[:100])
    child.join()
    assert child.exitcode == 0
    put_and_get(store, keys, VALUES)


def put_and_get(store, keys, values) -> None:
    for _ in range(20):
        store.put(keys, values)
        got, found = store.get(keys)
        assert found.all()
        assert got.tobytes() == values.tobytes()


def test_threads_have_connections_of_their_own(server, keys) -> None:
    store = server.store()
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(put_and_get, store, keys, VALUES) for _ in range(8)]:
            done.result()
    other = server.client()
    open_ones = other.stats()[b"curr_connections"]
    store.close()
    deadline = time.monotonic() + 10
    while other.stats()[b"curr_connections"] >= open_ones and time.monotonic() < deadline:
        time.sleep(0.01)
    assert other.stats()[b"curr_connections"] < open_ones


def contend(server, number: int, ready, answers) -> None:
    """Offer another value for every key than the other clients do, in another order."""
    store = server.store(prefix="crowd")
    keys = np.random.default_rng(0).integers(0, 256, (4_000, 16), dtype=np.uint8)
    ready.wait(timeout=60)
    for part in np.array_split(np.random.default_rng(number).permutation(4_000), 40):
        store.put(keys[part], part + number / 10.0)
        values, found = store.get(keys[part])
        assert found.all()
        assert np.array_equal(np.floor(values), part)
    ready.wait(timeout=60)
    answers.put(store.get(keys)[0].tobytes())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_eight_clients_at_once(server) -> None:
    """All end up with the same record of each key, whoever was first."""
    context = multiprocessing.get_context("fork")
    ready, answers = context.Barrier(8), context.Queue()
    clients = [
        context.Process(target=contend, args=(server, number, ready, answers), daemon=True)
        for number in range(8)
    ]
    for client in clients:
        client.start()
    outputs = [answers.get(timeout=60) for _ in clients]
    for client in clients:
        client.join()
    assert [client.exitcode for client in clients] == [0] * 8
    assert len(outputs[0]) == 8 * 4_000
    assert set(outputs) == {outputs[0]}
    winners = np.unique(np.round(np.frombuffer(outputs[0]) % 1.0, 1))
    assert len(winners) > 1
    assert len(server.store(prefix="crowd")) == 4_000


def run(store, backend=None):
    game = FunctionGame(9, squares)
    valuation = DataShapleyValuation(
        game, stopping=MaxUpdates(60), seed=3, store=store, backend=backend
    )
    return valuation.fit().result


def same_bits(one, other) -> bool:
    return all(
        getattr(one, field).tobytes() == getattr(other, field).tobytes()
        for field in ("values", "stderr", "counts")
    )


def test_a_run_is_that_with_a_disk_store_and_is_paid_once(server, tmp_path) -> None:
    disk = run(DiskStore(tmp_path / "ledger"))
    store = server.store(prefix="run")
    first, again = run(store), run(store)
    threads = run(server.store(prefix="run"), JoblibBackend(2, "threading"))
    assert first.n_computed == disk.n_computed > 0
    assert again.n_computed == threads.n_computed == 0
    assert same_bits(first, disk)
    assert same_bits(again, disk)
    assert same_bits(threads, disk)


@pytest.mark.slow
def test_a_run_on_processes_finds_what_another_recorded(server) -> None:
    plain = run(None)
    processes = JoblibBackend(2, "loky")
    first = run(server.store(prefix="loky"), processes)
    again = run(server.store(prefix="loky"), processes)
    assert first.n_computed == plain.n_computed
    assert again.n_computed == 0
    assert same_bits(first, plain)
    assert same_bits(again, plain)
