"""``dvl report``: the report of a run, written again."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["report"]


@click.command("report")
@click.argument("directory", type=click.Path(path_type=Path))
def report(directory: Path) -> None:
    """Write report.html again from the files in the folder DIRECTORY of a run."""
    from dvl_core.report import write_report

    click.echo(str(write_report(directory)))
