"""``dvl value``: what each row of a table is worth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dvl_core.errors import RunInterrupted

if TYPE_CHECKING:
    from dvl_core.job import Outcome, ValueJob

__all__ = ["value"]


@click.command("value")
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--target", required=True, help="Column to predict.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@click.option("--test", type=click.Path(path_type=Path), help="Table with test rows.")
@click.option(
    "--test-size",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.2,
    show_default=True,
    help="Share of the rows to hold out as test rows, without --test.",
)
@click.option("--model", help="MODULE:CLASS of the model that rows are judged by.")
@click.option("--model-options", help="Its options, a JSON object.")
@click.option(
    "--method",
    help="Valuation method, see dvl list-plugins --kind valuation.  [default: data-oob, or shapley "
    "with --model, --group-by, --sampler, --budget, --stop or --store]",
)
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="Of the method.")
@click.option("--scorer", help="scikit-learn scorer.  [default: accuracy or r2]")
@click.option("--budget", type=click.IntRange(min=1), help="Model evaluations at the most.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--backend", help="Where to run, see dvl list-plugins --kind backend.")
@click.option("--n-jobs", type=int, help="Number of workers, -1 for one per core.")
@click.option("--group-by", metavar="COLUMN", help="Value groups of rows instead of rows.")
@click.option("--where", metavar="EXPRESSION", help="Use these rows only: a pandas query.")
@click.option("--drop", multiple=True, metavar="COLUMN", help="Leave out a column.")
@click.option("--sampler", help="See dvl list-plugins --kind sampler.")
@click.option(
    "--stop", multiple=True, metavar="NAME=VALUE", help="Stopping rule, as max-updates=100."
)
@click.option(
    "--store",
    multiple=True,
    metavar="SPEC",
    help="Remember evaluations: memory, disk:PATH, NAME://REST; several make a chain, fastest "
    "first.",
)
@click.option("--time-limit", type=float, metavar="SECONDS", help="Of a single evaluation.")
@click.option("--overwrite", is_flag=True, help="Replace another run in the folder.")
def value(**options: Any) -> None:
    """Value the rows of the table DATA (CSV or parquet).

    Writes values.csv (worst first), report.html and run.json. The same command again goes on where
    it was cut off, or returns at once what is done.
    """
    from dvl_core.job import ValueJob

    carry_out(ValueJob(**options))


def carry_out(job: ValueJob) -> None:
    """Do a job, and print what came of it."""
    from dvl_core.job import run_job

    try:
        outcome = run_job(job, lambda note: click.echo(f"note: {note}", err=True))
    except RunInterrupted as interruption:
        click.echo(
            f"interrupted: the partial result is in {job.out}; the same command goes on from there",
            err=True,
        )
        raise click.exceptions.Exit(130) from interruption
    if outcome.was_done:
        click.echo(f"note: this run is done already, in {outcome.folder}", err=True)
    _summarise(outcome)


def _summarise(outcome: Outcome) -> None:
    """Print what came of it."""
    result, run = outcome.result, outcome.run
    unit = "groups" if run["data"]["group_by"] else "rows"
    click.echo(f"{len(result):,} {unit} valued by {run['method']} ({run['stop_reason']})")
    if run.get("score_of_all") is not None:
        judge = run["judge"]
        click.echo(f"{judge['scorer']} on the test rows, trained on all: {run['score_of_all']:.4g}")
    harmful = int((result.confidence_interval()[:, 1] < 0).sum())
    if 0 < (result.values < 0).sum() < len(result):
        click.echo(f"{harmful:,} {unit} have a 95 % interval entirely below zero")
    if "error_bound" in result.extras:
        click.echo(f"values may be off by up to {result.extras['error_bound']:.2g} each")
    click.echo("lowest values:")
    for player in result.sort()[:5]:
        click.echo(f"  {player.name}  {player.value:.4g} +- {player.stderr:.2g}")
    for name in ("values.csv", "report.html", "run.json"):
        click.echo(str(outcome.folder / name))
