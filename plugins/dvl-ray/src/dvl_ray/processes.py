"""Processes that a cluster is made of: whether they live, what descends from them, their end."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import psutil

__all__ = ["command_of", "end_all", "family_of", "lives"]

SECONDS_TO_END = 2.0


def command_of(process: Any) -> str:
    """Return the command line of a process; empty if it is gone."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def lives(process: Any) -> bool:
    """Return whether a process has not ended."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def family_of(process: Any) -> list[Any]:
    """Return a process and all that descends from it."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return [process]


def end_all(processes: list[Any]) -> None:
    """Kill what does not end by itself: some wait for a minute once their parent is gone."""
    for process in psutil.wait_procs(processes, timeout=SECONDS_TO_END)[1]:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(processes, timeout=SECONDS_TO_END)
