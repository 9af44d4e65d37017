"""The backend that runs tasks on GPUs, one at a time on each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dvl_dask import DaskBackend
from dvl_dask_cuda.cluster import GPU, cuda_client

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["DaskCudaBackend"]


class DaskCudaBackend(DaskBackend):
    """Run tasks on the GPUs of this machine, or of a cluster: one worker and one task for each.

    In its worker a task finds its own GPU as the first one, ``"cuda"``, and so do the models and
    utilities that were told to use that device. All else is as for `dvl_dask.DaskBackend`.

    Parameters
    ----------
    client : distributed.Client or str, optional
        A client, or the address of a scheduler, whose workers offer the resource ``"GPU"`` (``dask
        cuda worker --resources "GPU=1"``). None: a cluster on this machine, which lasts as long as
        the backend; it needs the package dask-cuda. (Scripts that start processes need ``if
        __name__ == "__main__":``.)
    n_jobs : int, optional
        How many GPUs to use. None or -1: all that are visible.
    devices : str or sequence of int, optional
        Which GPUs, as in ``CUDA_VISIBLE_DEVICES``: ``"0,2"``. None: all that are visible.
    memory_limit : str or float, optional
        Main memory of a worker, such as ``"16GB"``, before Dask writes results to disk. None: its
        share of the machine's.
    device_memory_limit : str or float, optional
        Memory of a GPU before dask-cuda moves results away from it. None: as dask-cuda has it.
    rmm_pool_size : str or float, optional
        Memory of each GPU that RMM takes at the start; it needs the package rmm. None: no pool.
    retries : int
        As for `dvl_dask.DaskBackend`.
    worker_timeout : float
        As for `dvl_dask.DaskBackend`.

    Raises
    ------
    InvalidOptionError
        As for `dvl_dask.DaskBackend`.

    Examples
    --------
    >>> from dvl_dask import local_client
    >>> with local_client(1, processes=False, resources={"GPU": 1}) as client:
    ...     list(DaskCudaBackend(client).map(pow, 2, [1, 2, 3]))
    [2, 4, 8]
    """

    def __init__(
        self,
        client: Client | str | None = None,
        *,
        n_jobs: int | None = None,
        devices: str | Sequence[int] | None = None,
        memory_limit: str | float | None = None,
        device_memory_limit: str | float | None = None,
        rmm_pool_size: str | float | None = None,
        retries: int = 1,
        worker_timeout: float = 300.0,
    ) -> None:
        super().__init__(
            client, n_jobs=n_jobs, resources=GPU, retries=retries, worker_timeout=worker_timeout
        )
        self.devices = devices
        self.memory_limit = memory_limit
        self.device_memory_limit = device_memory_limit
        self.rmm_pool_size = rmm_pool_size

    def _start(self) -> Client:
        """Return a client of a cluster of this machine's GPUs, owned by this backend."""
        return self._owned(
            cuda_client(
                n_workers=self.n_jobs,
                CUDA_VISIBLE_DEVICES=self.devices,
                memory_limit=self.memory_limit,
                device_memory_limit=self.device_memory_limit,
                rmm_pool_size=self.rmm_pool_size,
            )
        )
