"""The backend of dvl-dask passes the conformance kit, on processes and on threads."""

from __future__ import annotations

from functools import cache

import pytest
from distributed import Client

from dvl_core.testing import conformance_test
from dvl_dask import DaskBackend, local_client


@cache
def client(processes: bool) -> Client:
    return local_client(2, processes=processes)


@pytest.fixture(autouse=True, scope="module")
def closed():
    yield
    client(True).close()
    client(False).close()
    client.cache_clear()


test_dask_conforms = conformance_test("backend", lambda: DaskBackend(client(True)))
test_dask_conforms_in_one_process = conformance_test("backend", lambda: DaskBackend(client(False)))
