"""The group ``dvl``: its commands are imported when they are run, not before."""

from __future__ import annotations

import difflib
from importlib import import_module
from typing import Any, NamedTuple, NoReturn

import click

from dvl_core import __version__
from dvl_core.cli.failures import one_sentence
from dvl_core.discovery import COMMAND_GROUP, Offer, offers, split_target
from dvl_core.errors import (
    AmbiguousComponentError,
    IncompatibleComponentError,
    MissingDependencyError,
    PluginLoadError,
    UnknownComponentError,
)

__all__ = ["COMMANDS", "cli", "main"]

_HELP = """What is each training point worth?

Data on stdout, progress and messages on stderr. Exit codes: 0 done, 1 failed, 2 usage, 3 a plugin
is missing or incompatible, 130 interrupted.
"""


class _Lazy(NamedTuple):
    """Where a built-in command lives, and its line in ``dvl --help``."""

    target: str
    help: str


COMMANDS = {
    "check": _Lazy("dvl_core.cli.check:check", "Run the conformance checks on a component."),
    "describe": _Lazy(
        "dvl_core.cli.describe:describe", "Show what a component is and its options."
    ),
    "list-plugins": _Lazy(
        "dvl_core.cli.list_plugins:list_plugins", "List components, and which can be used."
    ),
    "report": _Lazy("dvl_core.cli.report:report", "Write the report of a run again."),
    "run": _Lazy("dvl_core.cli.run:run", "Do the jobs of a TOML file."),
    "value": _Lazy("dvl_core.cli.value:value", "Value the rows of a table."),
}


class _Group(click.Group):
    """Looks commands up by name, ours first, then those of installed distributions."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands that can be run."""
        return sorted({*COMMANDS, *_usable_offers()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command; None if there is none of that name."""
        if cmd_name in COMMANDS:
            module, attribute = split_target(COMMANDS[cmd_name].target)
            command: click.Command = getattr(import_module(module), attribute)
            return command
        candidates = [offer for offer in _offered() if offer.name == cmd_name]
        if not candidates:
            return None
        usable = _usable_offers().get(cmd_name)
        return _load(usable) if usable else _refuse(cmd_name, candidates)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that `args` begin with, or fail with the closest name."""
        name = args[0]
        command = self.get_command(ctx, name)
        if command is None and not ctx.resilient_parsing:
            close = difflib.get_close_matches(name, self.list_commands(ctx), n=1)
            ctx.fail(f"No such command {name!r}." + (f" Did you mean {close[0]!r}?" * bool(close)))
        return name, command, args[1:]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands; it imports none of them."""
        rows = {name: command.help for name, command in COMMANDS.items()}
        for name, offer in _usable_offers().items():
            rows[name] = f"From {offer.distribution} {offer.version}."
        with formatter.section("Commands"):
            formatter.write_dl(sorted(rows.items()))
        _warn_of_unusable()

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse options; ``--debug`` may also stand behind the command."""
        own = args[: args.index("--")] if "--" in args else args
        if "--debug" in own:
            args = ["--debug", *(arg for arg in own if arg != "--debug"), *args[len(own) :]]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; whatever goes wrong in it becomes one sentence and an exit code."""
        with one_sentence(debug=ctx.params["debug"]):
            return super().invoke(ctx)


@click.group(
    cls=_Group,
    help=_HELP,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 88},
)
@click.version_option(__version__, prog_name="dvl", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Hold the options that all commands share."""


def main() -> NoReturn:
    """Run the command line; the console script ``dvl``."""
    cli.main(prog_name="dvl")
    raise SystemExit(0)


def _offered() -> list[Offer]:
    return [offer for offer in offers() if offer.group == COMMAND_GROUP]


def _usable_offers() -> dict[str, Offer]:
    """Return the commands of other distributions: those that work and have a name of their own."""
    usable = [offer for offer in _offered() if offer.status == "ok" and offer.name not in COMMANDS]
    names = [offer.name for offer in usable]
    return {offer.name: offer for offer in usable if names.count(offer.name) == 1}


def _load(offer: Offer) -> click.Command:
    """Import a command of another distribution."""
    start = f"command {offer.name!r} of {offer.distribution} ({offer.target})"
    try:
        module, attribute = split_target(offer.target)
        command = getattr(import_module(module), attribute)
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {error}"
        raise PluginLoadError(f"{start} cannot be loaded: {reason}") from error
    if not isinstance(command, click.Command):
        raise PluginLoadError(f"{start} is a {type(command).__name__}, not a click command")
    return command


def _refuse(name: str, candidates: list[Offer]) -> NoReturn:
    """Raise for a command that is offered but cannot be used."""
    first = candidates[0]
    if len([offer for offer in candidates if offer.status == "ok"]) > 1:
        raise AmbiguousComponentError(_rivals(name, candidates))
    message = f"command {name!r} of {first.distribution} cannot be used: {first.reason}"
    if first.status == "missing-dependency":
        raise MissingDependencyError(message)
    if first.status == "incompatible":
        raise IncompatibleComponentError(message)
    if first.status == "disabled":
        raise UnknownComponentError(message, first.reason)
    raise PluginLoadError(message)


def _rivals(name: str, candidates: list[Offer]) -> str:
    providers = " and ".join(offer.distribution for offer in candidates)
    return f"command {name!r} is provided by {providers}: disable one with DVL_DISABLE_PLUGINS"


def _warn_of_unusable() -> None:
    """Name on stderr the commands that the help leaves out."""
    usable = _usable_offers()
    for offer in _offered():
        if offer.name in usable or offer.status == "disabled":
            continue
        reason = offer.reason
        if offer.name in COMMANDS:
            reason = "a built-in command has that name"
        elif offer.status == "ok":
            rivals = [o for o in _offered() if o.name == offer.name and o.status == "ok"]
            reason = _rivals(offer.name, rivals)
        click.echo(
            f"warning: command {offer.name!r} of {offer.distribution} is left out: {reason}",
            err=True,
        )
