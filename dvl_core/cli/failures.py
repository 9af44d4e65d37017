"""What goes wrong in a command becomes one sentence on stderr and an exit code."""

from __future__ import annotations

import re
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn, TextIO

import click

from dvl_core.errors import (
    DvlError,
    DvlWarning,
    IncompatibleComponentError,
    InvalidOptionError,
    MissingDependencyError,
    PluginLoadError,
    UnknownComponentError,
    UnsupportedSemivalueError,
)

__all__ = ["FAILED", "INTERRUPTED", "PLUGIN", "USAGE", "exit_code", "one_sentence"]

FAILED, USAGE, PLUGIN, INTERRUPTED = 1, 2, 3, 130


def exit_code(error: BaseException) -> int:
    """Return the exit code for an error.

    Examples
    --------
    >>> exit_code(PluginLoadError("broken")), exit_code(InvalidOptionError("no such option"))
    (3, 2)
    """
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, UnknownComponentError):
        # Its second argument is the way to get what is missing; without one it is a typo.
        return PLUGIN if len(error.args) > 1 else USAGE
    if isinstance(error, InvalidOptionError | UnsupportedSemivalueError):
        return USAGE
    if isinstance(error, MissingDependencyError | IncompatibleComponentError | PluginLoadError):
        return PLUGIN
    return FAILED


@contextmanager
def one_sentence(*, debug: bool) -> Iterator[None]:
    """Turn errors and warnings of the block into lines on stderr.

    Parameters
    ----------
    debug : bool
        Whether tracebacks are shown too.

    Raises
    ------
    click.exceptions.Exit
        In place of the error, with its exit code.
    """
    with warnings.catch_warnings():
        _show_plain_warnings()
        try:
            yield
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except BrokenPipeError:
            raise  # click ends quietly: whoever reads the output has seen enough
        except KeyboardInterrupt as error:
            _end(str(error) or "interrupted", error, debug)
        except DvlError as error:
            _end(str(error), error, debug)
        except Exception as error:
            _end(_unexpected(error, debug), error, debug)


def _unexpected(error: Exception, debug: bool) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}"
    advice = "" if debug else " (--debug shows the traceback)"
    return f"{type(error).__name__}: {error}{advice}"


def _end(message: str, error: BaseException, debug: bool) -> NoReturn:
    if debug:
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    # Libraries below like to explain themselves in paragraphs.
    line = re.sub(r"\s*\n\s*", " ", message.strip())
    click.echo(f"error: {line}", err=True)
    raise click.exceptions.Exit(exit_code(error)) from error


def _show_plain_warnings() -> None:
    """Show each `DvlWarning` once, as one line; leave other warnings as they are."""
    others = warnings.showwarning
    shown: set[str] = set()

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if not issubclass(category, DvlWarning):
            others(message, category, filename, lineno, file, line)
        elif str(message) not in shown:
            shown.add(str(message))
            click.echo(f"warning: {message}", err=True)

    warnings.simplefilter("always", DvlWarning)
    warnings.showwarning = show
