"""Servers that die, hang, refuse, or are something else: runs go on with the same values."""

from __future__ import annotations

import socket
import threading
import time
import warnings

import numpy as np
import pytest

from dvl_core.errors import DvlWarning
from dvl_core.games import FunctionGame
from dvl_core.stopping import MaxUpdates
from dvl_core.testing.requirements import pickled_copy
from dvl_memcached import MemcachedStore
from dvl_shapley import DataShapleyValuation

VALUES = np.arange(300.0)


def squares(coalitions: np.ndarray) -> np.ndarray:
    return (coalitions @ np.arange(1.0, coalitions.shape[1] + 1.0)) ** 2


def run(store):
    game = FunctionGame(9, squares)
    return DataShapleyValuation(game, stopping=MaxUpdates(60), seed=3, store=store).fit().result


class Eventful:
    """A store that lets something happen before its puts of certain numbers."""

    def __init__(self, store, events) -> None:
        self.store, self.events, self.puts = store, events, 0

    def get(self, keys):
        return self.store.get(keys)

    def put(self, keys, values) -> None:
        self.events.get(self.puts, lambda: None)()
        self.puts += 1
        self.store.put(keys, values)

    def __len__(self) -> int:
        return len(self.store)

    def close(self) -> None:
        self.store.close()


@pytest.fixture
def told():
    """Collect warnings of dvl: none is an error here, and all are counted."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield lambda: [str(w.message) for w in caught if issubclass(w.category, DvlWarning)]


def test_killed_and_restarted_in_the_middle_of_a_run(start_server, told) -> None:
    server, plain = start_server(), run(None)
    store = server.store(pause=0)
    result = run(Eventful(store, {5: server.kill, 15: server.start}))
    assert result.values.tobytes() == plain.values.tobytes()
    assert result.stderr.tobytes() == plain.stderr.tobytes()
    (sentence,) = told()
    assert sentence.startswith(f"memcached server {server.address} failed (Connection refused)")
    again = run(store)
    assert 0 < again.n_computed < plain.n_computed
    assert again.values.tobytes() == plain.values.tobytes()
    assert len(told()) == 1


def test_a_restart_between_two_requests_is_not_worth_a_warning(start_server, keys, told) -> None:
    server = start_server()
    store = server.store()
    store.put(keys, VALUES)
    server.kill()
    server.start()
    assert not store.get(keys)[1].any()
    store.put(keys, VALUES)
    assert store.get(keys)[1].all()
    assert not told()


def test_a_server_that_failed_is_left_alone_for_a_while(start_server, keys, told) -> None:
    server = start_server()
    server.kill()
    store = server.store(pause=1.0)
    before = time.monotonic()
    store.put(keys, VALUES)
    after = time.monotonic()
    server.start()
    copy = pickled_copy(store)
    copy.put(keys, VALUES)
    if time.monotonic() < before + 1.0:
        assert server.client().stats()[b"curr_items"] == 0
    time.sleep(max(0.0, after + 1.01 - time.monotonic()))
    copy.put(keys, VALUES)
    assert store.get(keys)[1].all()
    assert len(told()) == 1


def test_the_death_of_one_of_three_costs_a_third(start_server, keys, told) -> None:
    servers = [start_server() for _ in range(3)]
    store = MemcachedStore([("127.0.0.1", server.port) for server in servers], pause=0, timeout=30)
    store.put(keys, VALUES)
    assert store.get(keys)[1].all()
    assert len(store) == 300
    items = [server.client().stats()[b"curr_items"] for server in servers]
    servers[1].kill()
    values, found = store.get(keys)
    assert found.sum() == 300 - items[1]
    assert np.array_equal(values[found], VALUES[found])
    store.put(keys, VALUES + 1.0)
    assert np.array_equal(store.get(keys)[0], np.where(found, VALUES, 0.0))
    assert len(store) == 300 - items[1]
    servers[1].start()
    store.put(keys, VALUES)
    assert np.array_equal(store.get(keys)[0], VALUES)
    assert len(told()) == 1


@pytest.fixture
def impostor():
    """Return a function that listens and does as told with each connection."""
    listeners = []

    def listen(serve=None) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def loop() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    try:
                        serve(connection)
                    except OSError:
                        continue

        if serve is not None:
            threading.Thread(target=loop, daemon=True).start()
        return f"127.0.0.1:{listener.getsockname()[1]}"

    yield listen
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def test_a_server_that_never_answers(impostor, told) -> None:
    plain = run(None)
    start = time.monotonic()
    result = run(MemcachedStore(impostor(), timeout=0.2, pause=60))
    assert result.values.tobytes() == plain.values.tobytes()
    assert time.monotonic() - start < 20
    (sentence,) = told()
    assert "timed out" in sentence


def slow(connection: socket.socket) -> None:
    """Answer a byte at a time, each soon enough."""
    connection.recv(1 << 20)
    connection.sendall(b"VERSION 1\r\n")
    for byte in b"VALUE dvl:1:x 0 1000 1\r\n" + bytes(1000):
        time.sleep(0.02)
        connection.sendall(bytes([byte]))


def test_a_server_that_trickles(impostor, keys, told) -> None:
    start = time.monotonic()
    store = MemcachedStore(impostor(slow), timeout=0.2, pause=60)
    assert not store.get(keys)[1].any()
    assert time.monotonic() - start < 5
    (sentence,) = told()
    assert "timed out" in sentence


ANSWERS = {
    "something else": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "an error": b"ERROR\r\n",
    "no lines": b"\n\n\n",
    "an empty line": b"\r\n",
    "a short value": b"VALUE a\r\n",
    "a negative size": b"VALUE a 0 -20 1\r\n\r\nEND\r\n",
    "no size": b"VALUE a 0 x 1\r\n\r\nEND\r\n",
    "bytes": b"\xff\xfe\x00\r\n",
    "too much": b"STORED\r\n" * 1000,
    "server error": b"SERVER_ERROR out of memory writing get response\r\n",
    "nothing": b"",
}


@pytest.mark.parametrize("handshake", [True, False], ids=["after version", "at once"])
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
def test_a_server_that_is_something_else(impostor, keys, told, answer, handshake) -> None:
    def serve(connection: socket.socket) -> None:
        if handshake:
            connection.recv(1 << 20)
            connection.sendall(b"VERSION 1.6\r\n")
        connection.recv(1 << 20)
        connection.sendall(answer)

    store = MemcachedStore(impostor(serve), timeout=0.15, pause=0)
    assert not store.get(keys)[1].any()
    store.put(keys, VALUES)
    assert len(store) == 0
    assert len(told()) == 1


def test_a_name_that_does_not_resolve(keys, told) -> None:
    store = MemcachedStore("nowhere.invalid:11211")
    store.put(keys, VALUES)
    assert not store.get(keys)[1].any()
    assert len(told()) == 1


def test_a_full_server_that_evicts_nothing(start_server, told) -> None:
    """What it does not take is not found; what it has is."""
    store = start_server("-m", "2", "-M").store()
    keys = np.random.default_rng(0).integers(0, 256, (30_000, 16), dtype=np.uint8)
    store.put(keys, np.arange(30_000.0))
    values, found = store.get(keys)
    assert 0 < found.sum() < 30_000
    assert np.array_equal(values[found], np.flatnonzero(found))
    (sentence,) = told()
    assert "does not keep records (SERVER_ERROR out of memory" in sentence


def test_a_full_server_that_evicts(start_server) -> None:
    store = start_server("-m", "2").store()
    keys = np.random.default_rng(0).integers(0, 256, (30_000, 16), dtype=np.uint8)
    store.put(keys, np.arange(30_000.0))
    values, found = store.get(keys)
    assert 0 < found.sum() < 30_000
    assert np.array_equal(values[found], np.flatnonzero(found))
