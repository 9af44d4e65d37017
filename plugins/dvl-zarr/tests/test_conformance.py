"""The store of dvl-zarr passes the conformance kit, in a folder and in the memory of fsspec."""

from __future__ import annotations

from functools import partial

import pytest

from dvl_core.testing import Check, checks, conformance_test, run_check
from dvl_zarr import ZarrStore

test_folder_conforms = conformance_test("store", ZarrStore)

# The memory of fsspec is that of one process.
IN_ONE_PROCESS = [
    check
    for check in checks("store")
    if check.name not in ("store_processes", "store_survives_kill")
]


@pytest.mark.parametrize("check", IN_ONE_PROCESS, ids=lambda check: check.name)
def test_memory_of_fsspec_conforms(check: Check) -> None:
    url = f"memory://conformance/{check.name}"
    outcome = run_check(check, partial(ZarrStore, url, chunk_records=300, compact_at=2))
    assert outcome.status == "passed", outcome.message
