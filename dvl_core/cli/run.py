"""``dvl run``: jobs from a file."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["run"]


@click.command("run")
@click.argument("config", type=click.Path(path_type=Path))
def run(config: Path) -> None:
    """Do what the tables of CONFIG (TOML) ask for, one after the other.

    [valuation] takes the options of dvl value; model, method, sampler, backend and store may be
    tables with options of their own. Other tables belong to plugins: [influence] to dvl-influence.
    Paths are relative to the file. The same command again goes on where it was cut off.
    """
    from dvl_core import hooks
    from dvl_core.cli.value import carry_out
    from dvl_core.errors import InvalidOptionError
    from dvl_core.job.config import read_config, value_job

    for name, table in read_config(config):
        if name == "valuation":
            carry_out(value_job(table, config))
            continue
        lines = hooks.run_section(name, table, config)
        if lines is None:
            raise InvalidOptionError(
                f"{config.name}: nothing that is installed knows the table [{name}]; [valuation] "
                "is built in, [influence] comes with dvl-influence"
            )
        for line in lines:
            click.echo(line)
