"""The connections of one process to the servers, and what happens when a server fails."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from threading import Lock
from typing import TypeVar

from pymemcache.client.base import PooledClient
from pymemcache.exceptions import MemcacheError

from dvl_core.errors import DvlWarning
from dvl_memcached.client import BatchClient
from dvl_memcached.servers import Address, address_text

__all__ = ["Connections"]

R = TypeVar("R")

# What a lost server, or one that is no memcached, can make of a request.
_FAILURES = (MemcacheError, OSError, ValueError, LookupError)


class _Health:
    """What a process knows of the servers of a store and of its copies."""

    def __init__(self) -> None:
        self.resting_until: dict[Address, float] = {}
        self._lock = Lock()
        self._told = False

    def tell(self, sentence: str) -> None:
        """Warn, the first time only."""
        with self._lock:
            told, self._told = self._told, True
        if not told:
            warnings.warn(sentence, DvlWarning, stacklevel=4)


# Copies of a store come with every task: a server that failed one must not make each of them wait.
_HEALTH: dict[tuple[int, str], _Health] = {}


class _Pool(PooledClient):
    """Connections to one server, for any number of threads."""

    client_class = BatchClient


class Connections:
    """Pooled connections to each server; for the process that made them.

    Parameters
    ----------
    servers : sequence of (str, int)
        Addresses.
    store : str
        The name that a store shares with its copies.
    timeout, connect_timeout, pause : float
        As for `MemcachedStore`.
    """

    def __init__(
        self,
        servers: tuple[Address, ...],
        store: str,
        timeout: float,
        connect_timeout: float,
        pause: float,
    ) -> None:
        self._servers = servers
        self._pause = pause
        self._health = _HEALTH.setdefault((os.getpid(), store), _Health())
        self._pools = [
            _Pool(server, timeout=timeout, connect_timeout=connect_timeout, no_delay=True)
            for server in servers
        ]

    def attempt(self, number: int, action: Callable[[BatchClient], R], default: R) -> R:
        """Return what `action` makes of a connection to server `number`.

        `default` if the server fails. It is then left alone for a while, and the first failure of
        any server is told.
        """
        server = self._servers[number]
        if time.monotonic() < self._health.resting_until.get(server, -1.0):
            return default
        pool = self._pools[number].client_pool
        while True:
            fresh = True
            try:
                with pool.get_and_release(destroy_on_fail=True) as client:
                    fresh = client.sock is None
                    return action(client)
            except _FAILURES as error:
                # A connection from before may only be as old as a server that was restarted.
                if fresh or isinstance(error, TimeoutError):
                    self._health.resting_until[server] = time.monotonic() + self._pause
                    self._health.tell(
                        f"memcached server {address_text(server)} failed ({_reason(error)}): "
                        "until it answers again, what it would keep is computed anew, with the "
                        "same values; further failures are not told"
                    )
                    return default

    def refused(self, number: int, answer: bytes) -> None:
        """Tell that a server does not keep records, with its `answer`."""
        self._health.tell(
            f"memcached server {address_text(self._servers[number])} does not keep records "
            f"({answer.decode(errors='replace')}): they are computed anew when needed, with the "
            "same values; further failures are not told"
        )

    def close(self) -> None:
        """Close all connections; those in use fail and are made anew by their users."""
        for pool in self._pools:
            pool.close()


def _reason(error: Exception) -> str:
    """Return in a few words why a request failed."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = error.args[0] if error.args else ""
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    return str(text) or type(error).__name__
