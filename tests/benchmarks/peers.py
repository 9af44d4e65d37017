"""The peers' own environments, built once under .bench and rebuilt when their pins change."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ENVIRONMENTS = ROOT / ".bench"
TORCH = "torch==2.13.0"
PYDVL = "pydvl==0.10.0"
SHAPIQ = "shapiq==1.4.1"
OPENDATAVAL = "opendataval==1.3.0"
KRONFLUENCE = "kronfluence==1.0.1"


def pydvl_python() -> Path:
    """Return the Python of an environment with pyDVL 0.10, built if it is not there."""
    constraints = HERE / "constraints-pydvl.txt"
    # Torch comes first and alone: what follows must take it as it is.
    return environment("pydvl", constraints, [[TORCH], [PYDVL]])


def others_python() -> Path:
    """Return the Python of an environment with shapiq 1.4 and opendataval 1.3."""
    constraints = HERE / "constraints-others.txt"
    steps = [[TORCH], [SHAPIQ, "tqdm"], ["--no-deps", OPENDATAVAL]]
    return environment("others", constraints, steps)


def influence_python() -> Path:
    """Return the Python of an environment with pyDVL's influence functions and kronfluence 1.0."""
    constraints = HERE / "constraints-influence.txt"
    needs = ["accelerate", "einconv", "einops", "opt_einsum", "safetensors", "tqdm"]
    # What kronfluence declares would bring a torchvision that does not fit this torch.
    steps = [[TORCH], [f"pydvl[influence]{PYDVL.removeprefix('pydvl')}"], needs]
    return environment("influence", constraints, [*steps, ["--no-deps", KRONFLUENCE]])


def environment(name: str, constraints: Path, steps: list[list[str]]) -> Path:
    """Return the Python of environment `name`, in which `steps` were installed one by one."""
    folder = ENVIRONMENTS / name
    python = folder / "bin" / "python"
    stamp = folder / ".declaration"
    declared = _digest(constraints, steps)
    if stamp.exists() and stamp.read_text() == declared:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    for requirements in steps:
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "--constraint", str(constraints), *requirements], check=True)
    stamp.write_text(declared)
    return python


def _digest(constraints: Path, steps: list[list[str]]) -> str:
    """Return a digest of all that an environment is made from."""
    text = f"{sys.version}\n{steps}\n{constraints.read_text()}"
    return hashlib.sha256(text.encode()).hexdigest()
