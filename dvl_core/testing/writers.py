"""Processes that write to a store, for the checks that need more than one."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dvl_core.errors import ConformanceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dvl_core.protocols import ByteArray, FloatArray, Store

__all__ = ["writers"]

_Process = subprocess.Popen[bytes]

# Says when everything is put, and then waits for leave to close the store.
_WRITER = """
import pickle, sys
with open(sys.argv[1], "rb") as file:
    store, keys, values, batch = pickle.load(file)
for start in range(0, len(keys), batch):
    store.put(keys[start : start + batch], values[start : start + batch])
print("done", flush=True)
sys.stdin.read()
store.close()
"""


@contextmanager
def writers(
    store: Store, shares: list[tuple[ByteArray, FloatArray]], batch: int
) -> Iterator[list[_Process]]:
    """Run processes that put records into a pickled copy of a store.

    All have put everything when the block begins, and close the store when their standard input
    closes. What still runs when the block ends is killed.

    Parameters
    ----------
    store : Store
        Must be picklable.
    shares : list of (uint8 array [b, 16], float array [b])
        Keys and values of each process.
    batch : int
        Records put at a time.

    Raises
    ------
    ConformanceError
        If a process fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        processes = []
        try:
            for number, (keys, values) in enumerate(shares):
                path = Path(folder, str(number))
                path.write_bytes(pickle.dumps((store, keys, values, batch)))
                processes.append(_start_python(_WRITER, str(path)))
            for process in processes:
                _require_done(process)
            yield processes
        finally:
            for process in processes:
                process.kill()
                process.communicate()


def _start_python(program: str, argument: str) -> _Process:
    """Start `program` with pipes, and with the import path of this process."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return subprocess.Popen(
        [sys.executable, "-c", program, argument],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )


def _require_done(process: _Process) -> None:
    """Wait until a writer has put everything; require that it did."""
    assert process.stdout is not None
    if process.stdout.readline().strip() != b"done":
        lines = process.communicate()[1].decode(errors="replace").strip().splitlines()
        raise ConformanceError(
            f"a writer in another process failed: {lines[-1] if lines else 'no message'}"
        )
