"""Which servers are meant, which has which key, and the options of the store."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from dvl_core.errors import InvalidOptionError, MissingDependencyError
from dvl_core.job.parts import store_from
from dvl_core.testing.requirements import pickled_copy
from dvl_memcached import MemcachedStore
from dvl_memcached.servers import parsed_servers, server_numbers

FIVE = [(f"10.0.0.{number}", 11211) for number in range(5)]


@pytest.mark.parametrize(
    ("servers", "parsed"),
    [
        ("127.0.0.1:11300", [("127.0.0.1", 11300)]),
        ("cache", [("cache", 11211)]),
        (" a:1 , b:2", [("a", 1), ("b", 2)]),
        ("[::1]:5,[fe80::2]", [("::1", 5), ("fe80::2", 11211)]),
        ([("a", 1), ("::1", 2)], [("a", 1), ("::1", 2)]),
        ([["a", 1], ["b", "2"]], [("a", 1), ("b", 2)]),
        (["a:1", "b"], [("a", 1), ("b", 11211)]),
    ],
)
def test_addresses(servers, parsed) -> None:
    assert list(parsed_servers(servers)) == parsed


@pytest.mark.parametrize(
    "servers",
    ["", "a:", ":11211", "a:0", "a:65536", "a:b", "a:-1", "a,,b", "::1", [], 11211, None]
    + [[pair] for pair in (("a",), ("a", 1.5), (1, "a"), ("a", True))],
    ids=repr,
)
def test_what_is_no_address(servers) -> None:
    with pytest.raises(InvalidOptionError, match=r"host:port|name at least one"):
        MemcachedStore(servers)


def test_a_server_that_comes_twice() -> None:
    with pytest.raises(InvalidOptionError, match="twice"):
        MemcachedStore("a:1,a:1")


def test_keys_are_spread_evenly_and_move_little() -> None:
    keys = np.frombuffer(np.random.default_rng(0).bytes(160_000), dtype=np.uint8).reshape(-1, 16)
    of_five = server_numbers(keys, FIVE)
    shares = np.bincount(of_five, minlength=5) / len(keys)
    assert np.all(np.abs(shares - 0.2) < 0.02)
    of_four = server_numbers(keys, FIVE[:4])
    stayed = of_five != 4
    assert np.array_equal(of_four[stayed], of_five[stayed])
    moved = np.bincount(of_four[~stayed], minlength=4)
    assert np.all(moved > len(keys) / 5 / 4 / 1.3)
    assert np.array_equal(server_numbers(keys, FIVE[::-1]), 4 - of_five)


def test_servers_are_chosen_as_ever() -> None:
    """Another choice would lose what is on servers, and split clients of different versions."""
    keys = np.arange(256, dtype=np.uint8).reshape(16, 16)
    chosen = server_numbers(keys, [("a", 1), ("b", 2), ("c", 3)])
    assert chosen.tolist() == [0, 2, 0, 0, 2, 2, 2, 0, 0, 1, 0, 1, 0, 0, 2, 1]


@pytest.mark.parametrize(
    "options",
    [
        {"prefix": ""},
        {"prefix": "two words"},
        {"prefix": "line\n"},
        {"prefix": "é"},
        {"prefix": "x" * 201},
        {"timeout": 0},
        {"timeout": float("nan")},
        {"timeout": float("inf")},
        {"connect_timeout": -1.0},
        {"pause": -1},
        {"expire": -1},
        {"expire": 1.5},
    ],
    ids=repr,
)
def test_options_out_of_range(options) -> None:
    with pytest.raises(InvalidOptionError, match=next(iter(options))):
        MemcachedStore(**options)


def test_the_command_line_names_servers() -> None:
    store = store_from(["memcached://10.0.0.1:11211,10.0.0.2:11300"])
    assert store.servers == (("10.0.0.1", 11211), ("10.0.0.2", 11300))
    assert store_from(["memcached"]).servers == (("127.0.0.1", 11211),)


def test_a_copy_has_the_same_options() -> None:
    store = MemcachedStore("a:1,b:2", prefix="p", timeout=0.5, pause=3, expire=60)
    copy = pickled_copy(store)
    assert repr(copy) == repr(store)
    assert "prefix='p'" in repr(store)


def test_pymemcache_is_imported_at_use() -> None:
    program = "import sys, dvl_memcached; dvl_memcached.MemcachedStore; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout
    assert "pymemcache" not in loaded.decode().split()


def test_without_pymemcache(monkeypatch) -> None:
    for name in ("dvl_memcached.connections", "dvl_memcached.client"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "pymemcache", None)
    monkeypatch.delitem(sys.modules, "pymemcache.client", raising=False)
    monkeypatch.delitem(sys.modules, "pymemcache.client.base", raising=False)
    with pytest.raises(MissingDependencyError, match="pip install pymemcache"):
        MemcachedStore()
