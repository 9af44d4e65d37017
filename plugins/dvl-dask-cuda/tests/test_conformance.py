"""The backend passes the conformance kit: on workers that offer a GPU, and on real ones."""

from __future__ import annotations

import importlib.util
import shutil

import pytest

from dvl_core.testing import conformance_test
from dvl_dask import local_client
from dvl_dask_cuda import DaskCudaBackend


@pytest.fixture(scope="module", autouse=True)
def clients():
    """Clients by where tasks run; made when first used."""
    yield _clients
    while _clients:
        _clients.popitem()[1].close()


_clients: dict = {}


def pretending() -> DaskCudaBackend:
    """Return the backend on threads of this process that offer a GPU."""
    if "pretending" not in _clients:
        _clients["pretending"] = local_client(
            2, threads_per_worker=2, processes=False, resources={"GPU": 1}
        )
    return DaskCudaBackend(_clients["pretending"])


def real() -> DaskCudaBackend:
    """Return the backend on the GPUs of this machine."""
    if "real" not in _clients:
        _clients["real"] = DaskCudaBackend()
    return _clients["real"]


test_dask_cuda_conforms = conformance_test("backend", lambda: DaskCudaBackend(pretending().client))

test_dask_cuda_conforms_on_gpus = pytest.mark.skipif(
    importlib.util.find_spec("dask_cuda") is None or shutil.which("nvidia-smi") is None,
    reason="needs an NVIDIA GPU and the package dask-cuda",
)(conformance_test("backend", real))
