"""The files of a run: written atomically, recognised when the command is given again."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core.errors import DataError, ResultError
from dvl_core.files import atomic_write
from dvl_core.result import ValuationResult

if TYPE_CHECKING:
    import pandas as pd

    from dvl_core.data import Dataset

__all__ = ["OutputFolder", "versions", "worst_rows"]

WRITTEN = ("values.csv", "result.npz", "run.json", "report.json", "report.html")
FILES = (*WRITTEN, "checkpoint.npz")
SHOWN_ROWS = 20


class OutputFolder:
    """The folder of a run.

    Parameters
    ----------
    path : path
        Made if it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self, identity: Mapping[str, Any], overwrite: bool) -> dict[str, Any] | None:
        """Make sure that the folder can take this run; return what is there of the same run.

        Raises
        ------
        DataError
            If it cannot be written, or holds another run and `overwrite` is false.
        """
        self._make()
        previous = self._previous()
        if overwrite and (previous is None or previous.get("identity") != identity):
            self.clear()
            return None
        if previous is None:
            return None
        found = previous.get("identity")
        if not isinstance(found, dict):
            reason = "its run.json is damaged"
        else:
            differing = sorted(k for k in {*found, *identity} if found.get(k) != identity.get(k))
            reason = f"it differs in {', '.join(differing)}" if differing else ""
        if reason:
            raise DataError(
                f"{str(self.path)!r} holds another run ({reason}): choose another folder, or "
                "replace it with --overwrite"
            )
        return previous

    def finished(self) -> ValuationResult | None:
        """Return the saved result if all files of a finished run are there and it can be read."""
        if not all((self.path / name).is_file() for name in WRITTEN):
            return None
        try:
            return ValuationResult.load(self.path / "result.npz")
        except ResultError:
            return None

    def _make(self) -> None:
        """Create the folder, and find out now rather than hours later if it can be written."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with atomic_write(self.path / ".dvl-write-test"):
                pass
            (self.path / ".dvl-write-test").unlink()
        except OSError as error:
            reason = error.strerror or str(error)
            raise DataError(f"--out: cannot write to {str(self.path)!r}: {reason}") from error

    def _previous(self) -> dict[str, Any] | None:
        """Return the run.json that is there."""
        path = self.path / "run.json"
        if not path.exists():
            return None
        try:
            previous = json.loads(path.read_text(encoding="utf-8"))
            return dict(previous)
        except (ValueError, TypeError):
            return {}

    def clear(self) -> None:
        """Delete the files of a run, and nothing else."""
        for name in FILES:
            (self.path / name).unlink(missing_ok=True)

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a JSON file."""
        text = json.dumps(content, indent=2, default=_jsonable, allow_nan=False)
        with atomic_write(self.path / name) as stream:
            stream.write(text.encode())

    def write_values(self, result: ValuationResult, numbers: np.ndarray[Any, Any]) -> None:
        """Write values.csv: one line per player, worst first.

        Parameters
        ----------
        result : ValuationResult
            Of the run.
        numbers : int array [n]
            Number of each player, by its position in the training data.
        """
        import pandas as pd

        ordered = result.sort()
        frame = pd.DataFrame(
            {
                "index": numbers[ordered.indices],
                "name": ordered.names,
                "value": ordered.values,
                "stderr": ordered.stderr,
                "count": ordered.counts,
            }
        )
        with atomic_write(self.path / "values.csv") as stream:
            stream.write(frame.to_csv(index=False, lineterminator="\n").encode())


def worst_rows(
    result: ValuationResult, train: Dataset, table: pd.DataFrame, group_by: str | None, target: str
) -> list[dict[str, Any]]:
    """Return the players with the lowest values and what the file says of them.

    Rows are shown as they are; of a group, the number of its rows and the mean or the most frequent
    value of the target.
    """
    from pandas.api import types

    rows = []
    ordered = result.sort()
    for player in ordered[np.isfinite(ordered.values)][:SHOWN_ROWS]:
        if group_by is None:
            row = table.iloc[player.index]
            # The target first: what looks wrong about a row is most often its label.
            cells = {str(k): _cell(row[k]) for k in (target, *row.index.drop(target))}
        else:
            members = table[target].iloc[train.rows([player.index])]
            number = types.is_numeric_dtype(members)
            label = f"{target} ({'mean' if number else 'most frequent'})"
            cells = {
                "rows": len(members),
                label: _cell(members.mean() if number else members.mode().iloc[0]),
            }
        rows.append(
            {
                "name": str(player.name),
                "value": player.value,
                "stderr": player.stderr if np.isfinite(player.stderr) else None,
                "cells": cells,
            }
        )
    return rows


def versions(distribution: str) -> dict[str, str]:
    """Return the versions of what decides the numbers."""
    names = {"dvl-core", distribution, "numpy", "scipy", "scikit-learn", "pandas", "joblib"}
    found = {name: metadata.version(name) for name in sorted(names)}
    return {"python": platform.python_version(), "platform": sys.platform, **found}


def _cell(value: Any) -> Any:
    """Return a JSON-able cell."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return None if not np.isfinite(value) else value
    return value if isinstance(value, str | int | bool | None) else str(value)


def _jsonable(value: Any) -> Any:
    """Return arrays as lists, paths and anything else as text."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return os.fspath(value) if isinstance(value, os.PathLike) else repr(value)
