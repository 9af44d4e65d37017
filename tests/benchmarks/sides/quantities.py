"""Shared by the sides that measure quantities: read the sizes, write what was found."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from sides.common import versions_of

Measure = Callable[[Mapping[str, float], Path], dict[str, float]]
"""``measure(size, folder)`` returns numbers by label; it may leave files in the folder."""


def serve(measure: Measure, packages: list[str]) -> None:
    """Serve ``FOLDER``: measure once with the sizes that lie there."""
    folder = Path(sys.argv[1])
    size = json.loads((folder / "job.json").read_text())
    values = measure(size, folder)
    outputs = {"values": values, "versions": versions_of(packages)}
    (folder / "outputs.json").write_text(json.dumps(outputs))
