"""A cluster with one worker for each GPU of this machine."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from dvl_core.errors import DvlError, MissingDependencyError

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["GPU", "cuda_client"]

GPU = {"GPU": 1}
"""What a worker offers and a task takes: no two tasks are on a GPU at the same time."""


def cuda_client(**options: Any) -> Client:
    """Return a client of a new cluster with one process for each GPU; its cluster is to be closed.

    Parameters
    ----------
    **options
        Of ``dask_cuda.LocalCUDACluster``; those that are None are left to it.

    Raises
    ------
    MissingDependencyError
        If dask-cuda, or what it needs, is not installed.
    DvlError
        If the cluster does not start: no GPU, no driver, or more workers than GPUs.
    """
    from distributed import Client

    try:
        from dask_cuda import LocalCUDACluster
    except ImportError as error:
        raise MissingDependencyError(
            f"the backend dask-cuda needs the package {error.name or 'dask-cuda'}: "
            "pip install 'dvl-dask-cuda[cuda]'"
        ) from error
    except Exception as error:
        # It looks for the driver when it is imported.
        raise _no_gpu(error) from error
    given = {name: value for name, value in options.items() if value is not None}
    try:
        cluster = LocalCUDACluster(
            threads_per_worker=1,
            resources=dict(GPU),
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.ERROR,
            **given,
        )
    except Exception as error:
        raise _no_gpu(error) from error
    return Client(cluster, set_as_default=False)


def _no_gpu(error: Exception) -> DvlError:
    return DvlError(
        f"no cluster of GPUs could be started ({type(error).__name__}: {error}): dask-cuda needs "
        "an NVIDIA GPU for each worker, and its driver; without one, use the backend 'dask'"
    )
