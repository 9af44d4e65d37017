"""The store passes the conformance kit on a real server, and on three of them."""

from __future__ import annotations

import pytest

from dvl_core.testing import conformance_test
from dvl_memcached import MemcachedStore

ADDRESSES: list[str] = []


@pytest.fixture(autouse=True, scope="module")
def servers(start_server):
    ADDRESSES.extend(start_server().address for _ in range(3))
    yield
    ADDRESSES.clear()


test_memcached_conforms = conformance_test(
    "store", lambda: MemcachedStore(ADDRESSES[0], timeout=30)
)
test_memcached_conforms_on_three_servers = pytest.mark.slow(
    conformance_test("store", lambda: MemcachedStore(",".join(ADDRESSES), timeout=30))
)
