"""``dvl check``: the conformance kit on an installed component."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING

import click

from dvl_core.cli.describe import complete_name
from dvl_core.job.parts import option_pairs
from dvl_core.options import parse_option
from dvl_core.registry import KINDS, registry

if TYPE_CHECKING:
    from dvl_core.testing import Outcome

__all__ = ["check"]


@click.command("check")
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("name", shell_complete=complete_name)
@click.option(
    "--option", "options", multiple=True, metavar="KEY=VALUE", help="Option of the component."
)
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects.")
def check(kind: str, name: str, options: tuple[str, ...], as_json: bool) -> None:
    """Run the conformance checks on a component; exit 1 if it fails one.

    NAME is the name of a component, or DISTRIBUTION:NAME. What its constructor requires, such as a
    model or a test set, is filled in with small samples.
    """
    from rich.console import Console
    from rich.progress import Progress, TextColumn

    from dvl_core.testing import checks, run_check

    ref = registry().find(kind, name)
    component = ref.load()
    given = {
        key.replace("-", "_"): parse_option(component, key, text, label=ref.label)
        for key, text in option_pairs(options)
    }
    made = functools.partial(component, **given) if given else component
    every = checks(kind)
    console = Console(stderr=True)
    outcomes = []
    with Progress(
        *Progress.get_default_columns()[:2],
        TextColumn("{task.fields[now]}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task(ref.label, total=len(every), now="")
        for one in every:
            progress.update(task, now=one.name)
            outcomes.append(run_check(one, made))
            progress.advance(task)
    if as_json:
        rows = [{"check": o.check.name, "status": o.status, "message": o.message} for o in outcomes]
        click.echo(json.dumps(rows, indent=2))
    else:
        _print(ref.label, outcomes)
    if not all(outcome.ok for outcome in outcomes):
        raise click.exceptions.Exit(1)


def _print(label: str, outcomes: list[Outcome]) -> None:
    """Print one line a check, with the reason below where there is one."""
    for outcome in outcomes:
        colour = {"passed": "green", "failed": "red"}.get(outcome.status)
        status = click.style(f"{outcome.status:<14}", fg=colour, dim=colour is None)
        click.echo(f"{status}  {outcome.check.name}: {outcome.check.demand}")
        if outcome.message:
            click.echo(f"{'':16}{outcome.message}")
    failed = sum(not outcome.ok for outcome in outcomes)
    passed = sum(outcome.status == "passed" for outcome in outcomes)
    skipped = len(outcomes) - failed - passed
    click.echo(f"{label}: {passed} passed, {failed} failed, {skipped} not applicable")
