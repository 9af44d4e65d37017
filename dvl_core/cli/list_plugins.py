"""``dvl list-plugins``: what is installed, read from metadata alone."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace

import click

from dvl_core.component import ComponentRef
from dvl_core.errors import (
    DvlError,
    IncompatibleComponentError,
    MissingDependencyError,
)
from dvl_core.registry import KINDS, STATUSES, Status, registry

__all__ = ["list_plugins"]

_COLUMNS = ("kind", "name", "status", "distribution", "version", "target")


@click.command("list-plugins")
@click.option("--kind", type=click.Choice(KINDS), help="Only components of this kind.")
@click.option("--status", type=click.Choice(STATUSES), help="Only those with this status.")
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects.")
@click.option("--check", is_flag=True, help="Import each one; exit 1 if any is not ok.")
def list_plugins(kind: str | None, status: str | None, as_json: bool, check: bool) -> None:
    """List components, and which can be used.

    Nothing is imported, unless with --check: that also finds import errors, missing attributes
    and members missing from a component's protocol.
    """
    refs = registry().list(kind)
    if check:
        refs = [_checked(ref) for ref in refs]
    all_ok = all(ref.status == "ok" for ref in refs)
    refs = [ref for ref in refs if status in (None, ref.status)]
    if as_json:
        click.echo(json.dumps([_row(ref, (*_COLUMNS, "reason")) for ref in refs], indent=2))
    else:
        _print_table(refs)
    if check and not all_ok:
        raise click.exceptions.Exit(1)


def _checked(ref: ComponentRef) -> ComponentRef:
    """Return `ref` with the status that an import shows."""
    if ref.status != "ok":
        return ref
    try:
        ref.load()
    except DvlError as error:
        status: Status = "broken"
        if isinstance(error, MissingDependencyError):
            status = "missing-dependency"
        elif isinstance(error, IncompatibleComponentError):
            status = "incompatible"
        return replace(ref, status=status, reason=str(error))
    return ref


def _row(ref: ComponentRef, columns: Sequence[str]) -> dict[str, str]:
    return {column: str(getattr(ref, column)) for column in columns}


def _print_table(refs: list[ComponentRef]) -> None:
    if sys.stdout.isatty():
        _print_rich(refs)
    else:
        _print_plain(refs)


def _print_plain(refs: list[ComponentRef]) -> None:
    """Print padded columns of full width, one component a line, for grep and awk."""
    columns = [*_COLUMNS, "reason"] if any(ref.reason for ref in refs) else [*_COLUMNS]
    rows = [_row(ref, columns).values() for ref in refs]
    lines = [[column.upper() for column in columns]]
    lines += [[" ".join(cell.split()) or "-" for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )
    click.echo("\n".join(line.rstrip() for line in text))


def _print_rich(refs: list[ComponentRef]) -> None:
    """Print one line each, the target cut to fit the terminal, and below them the reasons."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in _COLUMNS:
        table.add_column(column.upper(), no_wrap=column != "target")
    for ref in refs:
        row = _row(ref, _COLUMNS)
        cells = {key: Text(text, no_wrap=True, overflow="ellipsis") for key, text in row.items()}
        cells["status"].stylize("green" if ref.status == "ok" else "red")
        table.add_row(*cells.values())
    console = Console()
    console.print(table)
    for ref in refs:
        if ref.reason:
            console.print(Text(f"{ref.label}: {ref.status}: {ref.reason}"))
