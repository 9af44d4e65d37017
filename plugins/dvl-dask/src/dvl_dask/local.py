"""A cluster on this machine that no other machine can reach."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from multiprocessing import resource_tracker
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
    dies is replaced; a task with which two workers died is not tried again. Ctrl-C, which a
    terminal sends to all processes, interrupts this one and no worker.

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

    with _deaf_to_interrupts():
        client = Client(
            n_workers=n_workers or CPU_COUNT,
            threads_per_worker=threads_per_worker,
            processes=processes,
            protocol="tcp://",
            host="127.0.0.1",
            # Dask serves its state by HTTP in any case: at a free port, which is not fought over.
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.ERROR,
            scheduler_kwargs={"allowed_failures": 1},
            resources=None if resources is None else dict(resources),
            set_as_default=False,
        )
    if processes:
        _keep_places(client)
    return client


def _keep_places(client: Client) -> None:
    """Let workers be replaced however often they die.

    A cluster looks fifteen seconds after each death whether the successor is there, and if that one
    has just died too, gives the place up for good.
    """
    from distributed.deploy.cluster import Cluster

    client.cluster._update_worker_status = partial(Cluster._update_worker_status, client.cluster)


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Start threads and processes to which SIGINT never comes; here it waits for the end.

    Workers are started by a thread that is started now, and all of them inherit what is blocked.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # To start it unblocks the signal, in the thread that first starts a process.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
