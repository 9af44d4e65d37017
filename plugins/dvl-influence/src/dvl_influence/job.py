"""Influences as a job: from a table of options to a zarr array and the points that matter most."""

from __future__ import annotations

import csv
import difflib
import json
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from dvl_core import registry
from dvl_core.errors import DataError, InvalidOptionError
from dvl_core.files import atomic_write
from dvl_influence.calculators import SequentialInfluenceCalculator
from dvl_influence.model import InfluenceModel

__all__ = ["run_influence"]

PROBLEM = ("model", "loss", "train_loader", "test_loader")
OF_THE_MODEL = ("regularization", "curvature", "blocks")
ENTRIES = ("problem", "method", *OF_THE_MODEL, "backend", "top_k", "out", "overwrite")


def run_influence(table: Mapping[str, Any], path: Path) -> Sequence[str]:
    """Compute the influences of training on test points, and write them.

    Parameters
    ----------
    table : mapping
        `problem`: ``"MODULE:FUNCTION"`` that returns a dictionary with `model`, `loss`,
        `train_loader` and `test_loader`, and may return an `adapter`; the folder of the file is
        looked in as well. `out`: a folder. `method`: name of a component of kind inverse-hessian,
        or a table with `name` and options (default: cg). `regularization`, `curvature`, `blocks`:
        as of `InfluenceModel`. `backend`: a name or a table. `top_k`: how many training points to
        list for each test point (default: 10). `overwrite`: replace what is in the folder.
    path : Path
        The file; `out` is relative to its folder.

    Returns
    -------
    sequence of str
        What was written: ``influences.zarr`` [n_test, n_train], ``top.csv`` with the most helpful
        and the most harmful training points of each test point, and ``run.json``.

    Raises
    ------
    InvalidOptionError
        If an entry is missing, unknown or of another kind.
    DataError
        If the folder holds influences of another run.
    """
    entries = {name.replace("-", "_"): value for name, value in table.items()}
    for name in entries:
        if name not in ENTRIES:
            close = difflib.get_close_matches(name, ENTRIES, n=1)
            guess = f"; did you mean {close[0]!r}?" if close else ""
            raise InvalidOptionError(f"{path.name}: [influence] has no entry {name!r}{guess}")
    for name in ("problem", "out"):
        if not isinstance(entries.get(name), str):
            raise InvalidOptionError(f"{path.name}: {name!r} is missing below [influence]")
    problem = _problem(entries["problem"], path)
    model = InfluenceModel(
        problem["model"],
        problem["loss"],
        entries.get("method", "cg"),
        adapter=problem.get("adapter"),
        **{name: entries[name] for name in OF_THE_MODEL if name in entries},
    )
    backend = entries.get("backend")
    calculator = SequentialInfluenceCalculator(
        model.fit(problem["train_loader"]),
        backend=None if backend is None else registry.create("backend", backend),
        progress=True,
    )
    influences = calculator.influences(problem["test_loader"], problem["train_loader"])
    out = path.parent / entries["out"]
    out.mkdir(parents=True, exist_ok=True)
    influences.to_zarr(out / "influences.zarr", overwrite=bool(entries.get("overwrite", False)))
    _write_top(influences, int(entries.get("top_k", 10)), out / "top.csv")
    with atomic_write(out / "run.json", "w") as stream:
        json.dump(model.report, stream, indent=2, default=str)
    n_test, n_train = influences.shape[:2]
    written = [str(out / name) for name in ("influences.zarr", "top.csv", "run.json")]
    return [f"influences of {n_train:,} training points on {n_test:,} test points", *written]


def _problem(target: str, path: Path) -> Mapping[str, Any]:
    """Return what the user's function returns, complete."""
    module, separator, function = target.partition(":")
    if not separator:
        raise InvalidOptionError(f'{path.name}: problem must be "MODULE:FUNCTION", not {target!r}')
    folder = str(path.parent.resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        problem = getattr(import_module(module), function)()
    except (ImportError, AttributeError) as error:
        raise InvalidOptionError(f"{path.name}: problem {target!r}: {error}") from error
    missing = [name for name in PROBLEM if name not in problem]
    if missing:
        raise DataError(f"{target} must return a dictionary with {', '.join(missing)}")
    checked: Mapping[str, Any] = problem
    return checked


def _write_top(influences: Any, k: int, path: Path) -> None:
    """Write the most helpful and most harmful training points of each test point."""
    rows = []
    for kind, largest in (("helpful", True), ("harmful", False)):
        indices, scores = influences.top_k(k, largest=largest)
        for test, (points, values) in enumerate(zip(indices, scores, strict=True)):
            pairs = zip(points.tolist(), values.tolist(), strict=True)
            rows += [(test, kind, rank, i, score) for rank, (i, score) in enumerate(pairs, 1)]
    rows.sort(key=lambda row: (row[0], row[1] == "harmful", row[2]))
    with atomic_write(path, "w") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["test_point", "kind", "rank", "training_point", "influence"])
        writer.writerows(rows)
