"""A cluster on this machine that no other machine can reach."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["local_client"]


def local_client(
    n_workers: int | None = None,
    *,
    threads_per_worker: int = 1,
    processes: bool = True,
    resources: Mapping[str, float] | None = None,
) -> Client:
    """Return a client of a new cluster on this machine; closing it ends the cluster.

    Everything listens on the loopback interface only, which Dask's own default does not do for
    workers that are threads. It does not become the current client of the process. A worker that
    dies is replaced; a task with which two workers died is not tried again.

    Parameters
    ----------
    n_workers : int, optional
        Number of workers; None: one for each core.
    threads_per_worker : int
        Tasks that a worker runs at the same time.
    processes : bool
        Whether workers are processes of their own, or threads of this one.
    resources : mapping, optional
        What each worker offers to tasks that ask for it, such as ``{"GPU": 1}``.

    Examples
    --------
    >>> with local_client(1, processes=False) as client:
    ...     client.submit(pow, 2, 3).result()
    8
    """
    from dask.system import CPU_COUNT
    from distributed import Client

    return Client(
        n_workers=n_workers or CPU_COUNT,
        threads_per_worker=threads_per_worker,
        processes=processes,
        protocol="tcp://",
        host="127.0.0.1",
        # Dask serves its state by HTTP in any case: at a free port, so that none is fought over.
        dashboard_address="127.0.0.1:0",
        silence_logs=logging.ERROR,
        scheduler_kwargs={"allowed_failures": 1},
        resources=None if resources is None else dict(resources),
        set_as_default=False,
    )
