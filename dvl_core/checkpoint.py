"""Checkpoints: the state of a run on disk, so that a run that was cut goes on exactly.

A checkpoint holds arrays and a JSON header in one ``.npz`` file: accumulator, stopping rule,
counters, the number of the next block, and the identity of the run, which must match on resuming.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core.errors import CheckpointError
from dvl_core.files import atomic_write

if TYPE_CHECKING:
    from dvl_core.protocols import AnyArray

__all__ = ["Checkpoint", "load_checkpoint", "save_checkpoint", "saved_seed"]

FORMAT = "dvl-checkpoint-1"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What is saved of a run.

    Parameters
    ----------
    identity : dict
        JSON-able description of what the run computes.
    counters : dict
        JSON-able numbers: next block, evaluations, elapsed seconds ...
    arrays : dict of arrays
        State of accumulator, stopping rule and trace.
    """

    identity: dict[str, Any]
    counters: dict[str, Any]
    arrays: dict[str, AnyArray]


def save_checkpoint(path: str | os.PathLike[str], checkpoint: Checkpoint) -> None:
    """Write `checkpoint` to `path`, atomically.

    Raises
    ------
    CheckpointError
        If the file cannot be written; what was there before stays.
    """
    header = {
        "format": FORMAT,
        "identity": checkpoint.identity,
        "counters": checkpoint.counters,
    }
    arrays: dict[str, Any] = {f"a.{key}": array for key, array in checkpoint.arrays.items()}
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as stream:
            np.savez(stream, **arrays)
    except OSError as error:
        raise CheckpointError(
            f"cannot write the checkpoint {os.fspath(path)!r}: {error.strerror or error}"
        ) from error


def load_checkpoint(path: str | os.PathLike[str], identity: Mapping[str, Any]) -> Checkpoint | None:
    """Return the checkpoint at `path`, or None if there is none.

    Raises
    ------
    CheckpointError
        If the file is no checkpoint, is damaged, or belongs to a run with another `identity`.
    """
    saved = _read(path)
    if saved is None:
        return None
    # Through JSON and back: tuples become lists on both sides.
    expected = json.loads(json.dumps(dict(identity)))
    found = saved.identity
    if found != expected:
        differing = sorted(k for k in {*found, *expected} if found.get(k) != expected.get(k))
        raise CheckpointError(
            f"the checkpoint {os.fspath(path)!r} belongs to another run: {', '.join(differing)} "
            f"differ; delete it or choose another path"
        )
    return saved


def saved_seed(path: str | os.PathLike[str]) -> int | None:
    """Return the seed of the run that left a checkpoint at `path`, or None if there is none."""
    saved = _read(path)
    return None if saved is None else int(saved.identity["seed"])


def _read(path: str | os.PathLike[str]) -> Checkpoint | None:
    """Return what is at `path`, whatever run it belongs to."""
    if not Path(path).exists():
        return None
    try:
        with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
        header = json.loads(bytes(arrays.pop("header")))
        if header["format"] != FORMAT:
            raise ValueError(f"format {header['format']!r}")
        identity, counters = dict(header["identity"]), dict(header["counters"])
    except Exception as error:  # a damaged archive can raise nearly anything
        raise CheckpointError(
            f"{os.fspath(path)!r} is not a readable checkpoint ({error}); delete it to start anew"
        ) from error
    return Checkpoint(identity, counters, {k.removeprefix("a."): a for k, a in arrays.items()})
