"""Workers whose parent was killed: nobody wants what they compute, and they hold memory."""

from __future__ import annotations

import os
import threading
import time

__all__ = ["begin_with_parent", "end_with_parent"]

SECONDS_BETWEEN_LOOKS = 1.0

_watching_process = 0


def begin_with_parent(parent: int) -> None:
    """Let this process, which `parent` has started, end when that has: at once if it was killed."""
    if os.getppid() != parent:
        os._exit(1)
    end_with_parent(parent)


def end_with_parent(parent: int) -> None:
    """Let this process end when `parent` has, if that is its parent.

    A worker of loky would wait five minutes for another task.
    """
    global _watching_process
    process = os.getpid()
    if os.getppid() == parent and process != _watching_process:
        _watching_process = process
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    """End this process, whatever it is doing, once it has another parent."""
    while os.getppid() == parent:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    os._exit(1)
