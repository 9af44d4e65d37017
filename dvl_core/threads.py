"""One thread for BLAS, OpenMP and torch, in the parent and in every worker of a run.

With several threads the order of summation, hence the last bits, may vary; and parallelism across
blocks is faster.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

from dvl_core.orphans import end_with_parent

__all__ = ["limit_worker", "one_torch_thread", "single_threaded"]

_limited_process = 0


@contextmanager
def single_threaded() -> Iterator[None]:
    """Limit this process, for all its threads, as long as the context lasts."""
    # Torch first: under the limit it reports one thread, whatever it was told before.
    with one_torch_thread(), threadpool_limits(limits=1):
        yield


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Limit torch only, if it is loaded."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch is not None else 1
    if torch is None or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def limit_worker(parent: int) -> None:
    """Limit a worker process for good; the process `parent` limits itself while a run lasts.

    A worker that `parent` has started ends with it, too.
    """
    global _limited_process
    process = os.getpid()
    if process == parent:
        return
    if process != _limited_process:
        threadpool_limits(limits=1)
        end_with_parent(parent)
        _limited_process = process
    # It may have been loaded since the last task, and under the limit it always reports one thread.
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
