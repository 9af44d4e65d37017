"""The store passes the conformance kit, on a real server."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from dvl_core.errors import InvalidOptionError, MissingDependencyError, StoreError
from dvl_core.testing import conformance_test
from dvl_redis import RedisStore

URLS: list[str] = []
KEYS = np.arange(64, dtype=np.uint8).reshape(4, 16)
VALUES = np.array([0.5, -1.0, 2.0, 3.0])


@pytest.fixture(autouse=True, scope="module")
def server(tmp_path_factory):
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed (Debian: apt-get install redis-server)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program, "--bind", "127.0.0.1", "--port", str(port), "--save", ""]
    command += ["--dir", str(tmp_path_factory.mktemp("redis"))]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        for _ in range(500):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except ConnectionRefusedError:
                assert process.poll() is None, "redis-server does not start"
                time.sleep(0.01)
        URLS.append(f"127.0.0.1:{port}/0")
        yield process
    finally:
        URLS.clear()
        process.kill()
        process.wait()


test_redis_conforms = conformance_test("store", lambda: RedisStore(URLS[0]))


def test_garbage_is_not_found_and_replaced() -> None:
    from redis import Redis

    store = RedisStore(URLS[0], name="poisoned")
    store.put(KEYS[:1], VALUES[:1])
    other = Redis.from_url(f"redis://{URLS[0]}")
    record = other.hget("poisoned", KEYS[0].tobytes())
    for key, content in zip(KEYS[1:], [b"garbage", record, record[:-1]], strict=True):
        other.hset("poisoned", key.tobytes(), content)
    other.close()
    assert store.get(KEYS)[1].tolist() == [True, False, False, False]
    store.put(KEYS, VALUES)
    values, found = store.get(KEYS)
    assert found.all()
    assert np.array_equal(values, VALUES)
    assert len(store) == 4
    store.close()


def test_a_lost_server_is_an_error() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"127.0.0.1:{free.getsockname()[1]}"
        store = RedisStore(url)
        for use in (lambda: store.get(KEYS), lambda: store.put(KEYS, VALUES), lambda: len(store)):
            with pytest.raises(StoreError, match=f"Redis server at redis://{url}.* failed"):
                use()


def test_a_password_is_not_shown() -> None:
    store = RedisStore("redis://user:secret@127.0.0.1:1/0")
    assert repr(store) == "RedisStore('redis://127.0.0.1:1/0')"
    with pytest.raises(StoreError) as error:
        len(store)
    assert "secret" not in str(error.value)


def test_what_is_no_url() -> None:
    with pytest.raises(InvalidOptionError, match="is no URL of a server"):
        RedisStore("http://127.0.0.1")


def test_without_the_package(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(MissingDependencyError, match="pip install redis"):
        RedisStore()
