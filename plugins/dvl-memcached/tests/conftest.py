"""Real servers for the tests, on free ports of the loopback interface."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import numpy as np
import pytest
from pymemcache.client.base import Client

from dvl_memcached import MemcachedStore


class Server:
    """A memcached that can be killed and started again at the same port."""

    def __init__(self, *options: str) -> None:
        program = shutil.which("memcached")
        if program is None:
            pytest.skip("memcached is not installed (Debian: apt-get install memcached)")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        # As root it insists on being told so.
        as_user = ["-u", getpass.getuser()] if os.geteuid() == 0 else []
        self._command = [program, *as_user, "-l", "127.0.0.1", "-p", str(self.port), "-U", "0"]
        self._command += ["-t", "1", *options]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command)
        for _ in range(500):
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except ConnectionRefusedError:
                assert self.process.poll() is None, "memcached does not start"
                time.sleep(0.01)
        raise AssertionError("memcached does not listen")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def store(self, **options) -> MemcachedStore:
        """Return a store that waits for a server on a busy machine."""
        return MemcachedStore(self.address, **{"timeout": 30.0, "connect_timeout": 30.0, **options})

    def client(self) -> Client:
        """What another program would use."""
        return Client(("127.0.0.1", self.port), timeout=5, default_noreply=False)


@pytest.fixture(scope="module")
def start_server() -> Iterator[Callable[..., Server]]:
    """Return a function that starts a server, which ends with the module."""
    with ExitStack() as running:

        def start(*options: str) -> Server:
            server = Server(*options)
            running.callback(server.kill)
            return server

        yield start


@pytest.fixture(scope="module")
def server(start_server: Callable[..., Server]) -> Server:
    """Return a server that the tests of a module share."""
    return start_server()


@pytest.fixture
def keys() -> np.ndarray:
    """Return keys that no server has seen."""
    return np.frombuffer(os.urandom(16 * 300), dtype=np.uint8).reshape(300, 16)
