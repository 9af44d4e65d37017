"""The command line, ``dvl``."""

from __future__ import annotations

from dvl_core.cli.main import cli, main

__all__ = ["cli", "main"]
