"""A limit on how long an evaluation may take.

The interpreter is interrupted by an alarm, which only the main thread of a process gets. Code that
does not come back to the interpreter, deep in a library, hears no alarm: a worker process is ended
after twice the time and a second, and the run goes on as after any death of a worker.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import IO

from dvl_core.errors import DvlWarning

__all__ = ["TimeLimitError", "time_limit"]


SECONDS_BETWEEN_RINGS = 1.0
"""An alarm can be lost: in a destructor, whose exceptions are ignored, or on the way to a sleep."""


class TimeLimitError(Exception):
    """An evaluation took longer than it may."""


class _Alarm(BaseException):
    """Raised amid a fit: no handler of errors in a model may swallow it."""


@contextmanager
def time_limit(seconds: float | None, parent: int) -> Iterator[None]:
    """Cut what takes longer than `seconds`; None: no limit.

    Parameters
    ----------
    seconds : float, optional
        The limit.
    parent : int
        Number of the process that started the run: it is never ended.

    Raises
    ------
    TimeLimitError
        If the time is up.

    Warns
    -----
    DvlWarning
        If this is not the main thread, where nothing can be cut.

    Examples
    --------
    >>> import time
    >>> with time_limit(0.05, os.getpid()):
    ...     time.sleep(10)
    Traceback (most recent call last):
    dvl_core.utilities.time_limit.TimeLimitError: it took longer than 0.05 s
    """
    if seconds is None:
        yield
        return
    if threading.current_thread() is not threading.main_thread() or os.name != "posix":
        warnings.warn(
            "a time limit cuts evaluations in worker processes and in serial runs, not in threads: "
            "here it is without effect",
            DvlWarning,
            stacklevel=3,
        )
        yield
        return
    silent = _end_later(2 * seconds + 1) if os.getpid() != parent else None
    start = time.monotonic()
    before = signal.signal(signal.SIGALRM, _ring)
    try:
        remaining, interval = signal.setitimer(signal.ITIMER_REAL, seconds, SECONDS_BETWEEN_RINGS)
        try:
            yield
        finally:
            # It may ring in this very moment.
            with suppress(_Alarm):
                signal.setitimer(signal.ITIMER_REAL, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
    except _Alarm:
        raise TimeLimitError(f"it took longer than {seconds:g} s") from None
    finally:
        signal.signal(signal.SIGALRM, before)
        if remaining:
            # Somebody else's alarm, such as that of a test runner, goes on.
            rest = max(remaining - (time.monotonic() - start), 1e-3)
            signal.setitimer(signal.ITIMER_REAL, rest, interval)
        if silent is not None:
            faulthandler.cancel_dump_traceback_later()
            silent.close()


def _ring(signum: int, frame: FrameType | None) -> None:
    raise _Alarm


def _end_later(seconds: float) -> IO[str]:
    """End this process after some time, whatever it is doing; return what it would write to."""
    silent = open(os.devnull, "w")  # noqa: SIM115
    faulthandler.dump_traceback_later(seconds, exit=True, file=silent)
    return silent
