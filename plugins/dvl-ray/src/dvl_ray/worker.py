"""What runs on the workers of a cluster."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from dvl_core.grouping import GroupDone, run_group

__all__ = ["Stored", "run_batch", "run_tasks"]

_reference = ""
_contents: list[Any] = []


@dataclass(frozen=True, slots=True)
class Stored:
    """Stands for an object that is in the object store, and that the worker keeps at hand."""

    reference: Any


def run_tasks(context: Stored, tasks: list[Any]) -> GroupDone:
    """Run tasks; `context` stands for the function and the object that the tasks share."""
    function, shared = _content(context)
    with _uninterrupted():
        return run_group(function, shared, tasks)


def run_batch(batch: Any) -> Any:
    """Run a batch of joblib's calls, some of whose arguments are in the object store."""
    batch.items = [
        (function, [_content(a) if isinstance(a, Stored) else a for a in arguments], keywords)
        for function, arguments, keywords in batch.items
    ]
    with _uninterrupted():
        return batch()


def _content(stored: Stored) -> Any:
    """Return the object itself, the same one for all tasks of a run that this process is given.

    To unpickle it for each task would cost more than many tasks do, and open its store anew. It is
    kept from the second task on: a single task leaves nothing behind, because the object store
    cannot free what is in use.
    """
    global _reference, _contents
    import ray

    name = stored.reference.hex()
    if name != _reference:
        _reference, _contents = name, []
        return ray.get(stored.reference)
    if not _contents:
        _contents = [ray.get(stored.reference)]
    return _contents[0]


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Finish what has been started: to be cancelled is for tasks that wait.

    Ray interrupts a running task that is cancelled. The interrupt may come anywhere, also in the
    next task, and this process is to serve the next run.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
