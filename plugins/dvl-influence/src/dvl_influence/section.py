"""The table ``[influence]`` of a file for ``dvl run``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dvl_core.hooks import hookimpl

__all__ = ["dvl_run_section"]


@hookimpl
def dvl_run_section(section: str, table: Mapping[str, Any], path: Path) -> Sequence[str] | None:
    """Compute the influences that a table asks for; None for tables of others."""
    if section != "influence":
        return None
    from dvl_influence.job import run_influence

    return run_influence(table, path)
