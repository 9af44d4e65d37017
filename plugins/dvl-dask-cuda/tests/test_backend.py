"""How the backend schedules, on processors that pass for GPUs, and what it says without them."""

from __future__ import annotations

import copy
import logging
import subprocess
import sys
import time
import types
from itertools import pairwise

import numpy as np
import pytest
from distributed import LocalCluster

from dvl_core import Dataset, ModelUtility, SerialBackend, SupervisedScorer, registry
from dvl_core.errors import DvlError, InvalidOptionError, MissingDependencyError
from dvl_core.stopping import MaxUpdates
from dvl_dask import local_client
from dvl_dask_cuda import DaskCudaBackend
from dvl_shapley import DataShapleyValuation


class PretendedCluster(LocalCluster):
    """Has the options of ``dask_cuda.LocalCUDACluster`` that matter here, and needs no GPU.

    Each worker sees all devices, its own one first.
    """

    seen: list[dict] = []  # noqa: RUF012

    def __init__(self, CUDA_VISIBLE_DEVICES="0,1", n_workers=None, **options):
        self.seen.append({"CUDA_VISIBLE_DEVICES": CUDA_VISIBLE_DEVICES, "n_workers": n_workers})
        self.seen[-1] |= options
        self.devices = [str(device) for device in CUDA_VISIBLE_DEVICES if device != ","]
        options.pop("device_memory_limit", None)
        super().__init__(n_workers=0, host="127.0.0.1", **options)
        self.scale(n_workers or len(self.devices))
        self.sync(self._correct_state)

    def new_worker_spec(self):
        own = next(i for i in range(len(self.devices)) if i not in self.worker_spec)
        spec = copy.deepcopy(self.new_spec)
        order = self.devices[own:] + self.devices[:own]
        spec["options"]["env"] = {"CUDA_VISIBLE_DEVICES": ",".join(order)}
        return {own: spec}


@pytest.fixture
def pretended(monkeypatch):
    """Put the pretended cluster where dask-cuda would be."""
    module = types.ModuleType("dask_cuda")
    module.LocalCUDACluster = PretendedCluster
    monkeypatch.setitem(sys.modules, "dask_cuda", module)
    PretendedCluster.seen.clear()
    return PretendedCluster.seen


@pytest.fixture(scope="module")
def client():
    with local_client(2, threads_per_worker=2, processes=False, resources={"GPU": 1}) as client:
        yield client


def utility(x, y) -> ModelUtility:
    from sklearn.linear_model import LogisticRegression

    return ModelUtility(LogisticRegression(), SupervisedScorer("accuracy", Dataset(x, y)))


def values(backend) -> tuple[bytes, bytes]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3))
    y = (x @ [1.0, -1.0, 0.5] > 0).astype(int)
    valuation = DataShapleyValuation(
        utility(x[30:], y[30:]), stopping=MaxUpdates(8), seed=1, backend=backend
    )
    result = valuation.fit(Dataset(x[:30], y[:30])).result
    return result.values.tobytes(), result.stderr.tobytes()


def test_a_cluster_of_its_own(pretended) -> None:
    """One process for each device; options reach the cluster, and it ends with the backend."""

    def device(shared, task):
        import os

        from distributed import get_worker

        time.sleep(0.05)
        return os.getpid(), os.environ["CUDA_VISIBLE_DEVICES"], get_worker().state.nthreads

    with DaskCudaBackend(devices="5,7", memory_limit="1GB", device_memory_limit=0.5) as backend:
        assert backend.n_workers == 2
        found = set(backend.map(device, None, range(8)))
        assert {(devices, threads) for _, devices, threads in found} == {("5,7", 1), ("7,5", 1)}
        assert len({pid for pid, _, _ in found}) == 2
        cluster = backend.client.cluster
    assert cluster.status.name == "closed"
    assert pretended == [
        {
            "CUDA_VISIBLE_DEVICES": "5,7",
            "n_workers": None,
            "memory_limit": "1GB",
            "device_memory_limit": 0.5,
            "threads_per_worker": 1,
            "resources": {"GPU": 1},
            "dashboard_address": "127.0.0.1:0",
            "silence_logs": logging.ERROR,
        }
    ]


def test_a_gpu_has_one_task_at_a_time(client) -> None:
    """However many threads a worker has."""

    def when(shared, task):
        from distributed import get_worker

        start = time.monotonic()
        time.sleep(0.02)
        return get_worker().address, start, time.monotonic()

    backend = DaskCudaBackend(client)
    assert backend.n_workers == 2
    runs = sorted(backend.map(when, None, range(12)))
    assert len({address for address, _, _ in runs}) == 2
    for (one, _, end), (other, start, _) in pairwise(runs):
        assert one != other or end <= start


def test_batched_utilities(client) -> None:
    pytest.importorskip("dvl_batched")
    assert values(DaskCudaBackend(client)) == values(SerialBackend())


def test_influence(client) -> None:
    torch = pytest.importorskip("torch")
    influence = pytest.importorskip("dvl_influence")
    from dvl_dask import DaskInfluenceCalculator
    from dvl_influence.testing import batches, half_squares, ridge

    problem = ridge(n=12)
    loader = batches(problem.x, problem.y, 5)
    model = influence.InfluenceModel(problem.model, half_squares, "identity").fit(loader)
    here = influence.SequentialInfluenceCalculator(model).influences(loader, loader).compute()
    there = DaskInfluenceCalculator(model, DaskCudaBackend(client)).influences(loader, loader)
    assert torch.equal(there.compute(), here)


def test_workers_without_gpus_are_refused() -> None:
    with (
        local_client(1, processes=False) as client,
        pytest.raises(InvalidOptionError, match="best of 1 offers 0 GPU"),
    ):
        list(DaskCudaBackend(client).map(pow, 2, [1]))


def test_without_dask_cuda(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "dask_cuda", None)
    backend = DaskCudaBackend()
    with pytest.raises(MissingDependencyError, match=r"pip install 'dvl-dask-cuda\[cuda\]'"):
        list(backend.map(pow, 2, [1]))


@pytest.mark.parametrize("when", ["imported", "started"])
def test_without_a_gpu(monkeypatch, when) -> None:
    """dask-cuda fails in ways of its own where the driver is missing."""

    class NoLibraryError(Exception):
        pass

    class Module(types.ModuleType):
        def __getattr__(self, name):
            if when == "imported":
                raise NoLibraryError("NVML Shared Library Not Found")
            return self.start

        @staticmethod
        def start(**options):
            raise NoLibraryError("NVML Shared Library Not Found")

    monkeypatch.setitem(sys.modules, "dask_cuda", Module("dask_cuda"))
    message = r"\(NoLibraryError: NVML Shared Library Not Found\): dask-cuda needs an NVIDIA GPU"
    with pytest.raises(DvlError, match=message):
        _ = DaskCudaBackend().n_workers


def test_found_by_name() -> None:
    backend = registry.create("backend", "dask-cuda", devices="0", n_jobs=1)
    assert isinstance(backend, DaskCudaBackend)
    assert backend.devices == "0"


def test_nothing_heavy_is_imported() -> None:
    program = "import sys, dvl_dask_cuda as d; d.DaskCudaBackend(); print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout
    for heavy in ("'torch'", "'dvl_influence'", "'distributed'", "'dask_cuda'"):
        assert heavy not in loaded.decode()
