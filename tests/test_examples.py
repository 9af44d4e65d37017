"""The examples run and find what they say they find."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "docs" / "examples"
CELLS = Path(os.environ.get("DVL_DATA", ROOT.parent / "shared" / "data")) / "malaria_cells.npz"


def run(name: str, *arguments: str, folder: Path) -> str:
    command = [sys.executable, "-W", "ignore", str(EXAMPLES / name), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_all_pairs_of_influences_in_four_ways(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    told = run("influence.py", "scores", folder=tmp_path)
    agreements = dict(re.findall(r"^(.+?) +\(797, 1000\), .* ([\d.]+)$", told, re.MULTILINE))
    assert float(agreements["direct"]) == 1.0
    assert float(agreements["arnoldi"]) > 0.9
    assert agreements["nystroem"] == agreements["nystroem, dask"]
    assert zarr.open_array(tmp_path / "scores" / "dask.zarr").shape == (797, 1000)


@pytest.mark.slow
@pytest.mark.skipif(not CELLS.exists(), reason="no malaria_cells.npz: set DVL_DATA")
def test_mislabelled_cells_are_found(tmp_path: Path) -> None:
    told = run("mislabelled_cells.py", str(CELLS), folder=tmp_path)
    area = float(re.search(r"influence ([\d.]+)", told)[1])
    assert area > 0.9
    assert (tmp_path / "worst-cells.png").stat().st_size > 50_000
