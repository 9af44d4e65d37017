"""A process that is killed amid its work leaves an array that the next one completes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import zarr
from torch.nn.functional import cross_entropy

from dvl_influence import InfluenceModel, SequentialInfluenceCalculator
from dvl_influence.testing import DenseInverse, batches, classes, mlp

PROGRAM = f"""
import importlib.util, sys, time
spec = importlib.util.spec_from_file_location("killed", {__file__!r})
killed = importlib.util.module_from_spec(spec)
spec.loader.exec_module(killed)
class Slow(list):
    def __iter__(self):
        for batch in super().__iter__():
            time.sleep(0.01)
            yield batch
killed.influences(Slow).to_zarr(sys.argv[1])
"""


def influences(kind=list):
    """Return influences in four groups of test points and 40 batches of training points each."""
    import dvl_influence.streams

    dvl_influence.streams.KEPT_BYTES = 0
    train, test = kind(batches(*classes(80), 2)), batches(*classes(8, seed=3), 2)
    model = InfluenceModel(mlp(), cross_entropy, DenseInverse(), regularization=0.5)
    model.fit(batches(*classes(20), 10))
    return SequentialInfluenceCalculator(model, memory_budget=900).influences(test, train)


def n_chunks(folder: Path) -> int:
    return sum(1 for path in folder.glob("c/*/*") if path.suffix != ".partial")


def test_killed_again_and_again(tmp_path) -> None:
    folder = tmp_path / "scores.zarr"
    counts = [0]
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", PROGRAM, str(folder)])
        try:
            while n_chunks(folder) < counts[-1] + 20 and child.poll() is None:
                time.sleep(0.002)
            assert child.poll() is None
            os.kill(child.pid, signal.SIGKILL)
        finally:
            child.kill()
            child.wait()
        counts.append(n_chunks(folder))
        array = zarr.open_array(folder, mode="r")
        assert array.attrs["complete"] is False
        assert np.isnan(array[:]).any()
    assert counts[1] < counts[2] < counts[3] < 160
    before = {path: path.read_bytes() for path in folder.glob("c/*/*") if path.suffix == ""}
    (folder / "c" / "0" / "1.torn.partial").write_bytes(b"torn")
    lazy = influences()
    whole = lazy.compute().numpy()
    array = lazy.to_zarr(folder)
    assert array.attrs["complete"] is True
    assert not list(folder.rglob("*.partial"))
    assert all(path.read_bytes() == content for path, content in before.items())
    assert np.allclose(array[:], whole, rtol=1e-10, atol=1e-12)
