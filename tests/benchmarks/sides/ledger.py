"""Stores: records put and looked up in batches."""

from __future__ import annotations

import getpass
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from dvl_core import DiskStore, MemoryStore
from dvl_core.protocols import Store
from sides.quantities import serve

SEED = 20260801
SECONDS_TO_START = 10.0


def rate(store: Store, n: int, batch: int) -> float:
    """Return how many records a second are put and then looked up, each time all in batches."""
    # Other keys for other numbers: what a store was warmed up with must not be in the way.
    rng = np.random.default_rng((SEED, n))
    keys = rng.integers(0, 256, (n, 16), dtype=np.uint8)
    values = rng.normal(size=n)
    parts = [slice(start, start + batch) for start in range(0, n, batch)]
    start = time.perf_counter()
    for part in parts:
        store.put(keys[part], values[part])
    looked_up = [store.get(keys[part]) for part in parts]
    seconds = time.perf_counter() - start
    if not all(found.all() for _, found in looked_up):
        raise RuntimeError(f"{store!r} has lost records")
    if not np.array_equal(np.concatenate([found for found, _ in looked_up]), values):
        raise RuntimeError(f"{store!r} gives other values")
    return n / seconds


@contextmanager
def server() -> Iterator[str]:
    """Yield the address of a new memcached on this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["memcached", "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-m", "512"]
    # It refuses to run as root unless told to.
    command += ["-u", getpass.getuser()]
    process = subprocess.Popen(command)
    try:
        _wait_for(port)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int) -> None:
    """Return when something listens."""
    end = time.monotonic() + SECONDS_TO_START
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)
        else:
            return


def memcached_store(address: str) -> Any:
    """Return a store on a server."""
    from dvl_memcached import MemcachedStore

    return MemcachedStore(address)


def measure(size: Mapping[str, float], folder: Path) -> dict[str, float]:
    """Return the records a second of every store."""
    batch = int(size["batch"])
    rate(MemoryStore(), batch, batch)  # warms up
    found = {"memory": rate(MemoryStore(), int(size["memory"]), batch)}
    path = folder / "ledger.dvl"
    with DiskStore(path) as store:
        found["disk"] = rate(store, int(size["disk"]), batch)
    path.unlink()
    if find_spec("dvl_memcached") and shutil.which("memcached"):
        with server() as address:
            store = memcached_store(address)
            rate(store, batch, batch)
            found["memcached"] = rate(store, int(size["memcached"]), batch)
            store.close()
    return found


if __name__ == "__main__":
    serve(measure, ["dvl-core", "numpy", *(p for p in ("pymemcache",) if find_spec(p))])
