"""Jobs from a TOML file: what the command line can say, and parts with options of their own."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from dvl_core.errors import DataError, InvalidOptionError
from dvl_core.job.request import ValueJob

__all__ = ["Section", "read_config", "value_job"]

Section = tuple[str, Mapping[str, Any]]
"""The name of a table of the file, and what it holds."""

PATHS = ("data", "test", "out")
TEXTS = ("target", "scorer", "group_by", "where")
NOT_IN_FILES = ("options", "model_options", "config")


def read_config(path: Path) -> list[Section]:
    """Return the tables of a file in their order; an array of tables gives one for each.

    Raises
    ------
    DataError
        If the file cannot be read, or is no TOML.
    InvalidOptionError
        If something stands outside of the tables, or there is none.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read {str(path)!r}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{str(path)!r} is no valid TOML: {error}") from error
    sections: list[Section] = []
    for name, table in content.items():
        for one in table if isinstance(table, list) else [table]:
            if not isinstance(one, dict):
                raise InvalidOptionError(
                    f"{path.name}: {name!r} stands outside of a table: put it below [valuation]"
                )
            sections.append((name, one))
    if not sections:
        raise InvalidOptionError(f"{path.name} asks for nothing: write a table [valuation]")
    return sections


def value_job(table: Mapping[str, Any], path: Path) -> ValueJob:
    """Return the job that a table describes.

    Parameters
    ----------
    table : mapping
        As the options of ``dvl value``, with dashes or underscores. `model`, `method`, `sampler`
        and `backend` are a name, or a table with `name` (of a model: `class`) and options; `store`
        also a list of them, fastest first; `stop` a table of rules.
    path : Path
        The file. Paths in it are relative to its folder.

    Raises
    ------
    InvalidOptionError
        If an entry is missing, unknown or of another kind.

    Examples
    --------
    >>> table = {"data": "a.csv", "target": "y", "out": "out", "stop": {"max-updates": 9}}
    >>> value_job(table, Path("/jobs/job.toml")).stop
    ('max-updates=9',)
    """
    entries = {name.replace("-", "_"): value for name, value in table.items()}
    known = {f.name: f for f in fields(ValueJob) if f.name not in NOT_IN_FILES}
    for name in entries:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            guess = f"; did you mean {close[0]!r}?" if close else ""
            raise InvalidOptionError(f"{path.name}: there is no entry {name!r}{guess}")
    for name, field in known.items():
        if field.default is MISSING and name not in entries:
            raise InvalidOptionError(f"{path.name}: {name!r} is missing below [valuation]")
    for name in (*PATHS, *TEXTS):
        if name in entries and not isinstance(entries[name], str):
            raise InvalidOptionError(f"{path.name}: {name} must be a text, not {entries[name]!r}")
    job: dict[str, Any] = dict(entries)
    job |= {name: path.parent / entries[name] for name in PATHS if name in entries}
    if isinstance(entries.get("model"), Mapping):
        options = dict(entries["model"])
        if "class" not in options:
            raise InvalidOptionError(f'{path.name}: model needs class = "MODULE:CLASS"')
        job["model"] = options.pop("class")
        job["model_options"] = json.dumps(options) if options else None
    if isinstance(entries.get("method"), Mapping):
        options = dict(entries["method"])
        if "name" not in options:
            raise InvalidOptionError(f'{path.name}: method needs name = "..."')
        job["method"] = options.pop("name")
        job["options"] = tuple(f"{name}={_text(value)}" for name, value in options.items())
    job["drop"] = tuple(_listed(entries.get("drop", ())))
    job["store"] = tuple(_listed(entries.get("store", ())))
    stop = entries.get("stop", ())
    if isinstance(stop, Mapping):
        stop = [f"{name}={_text(value)}" for name, value in stop.items()]
    job["stop"] = tuple(_listed(stop))
    return ValueJob(**job, config=path)


def _listed(value: Any) -> Sequence[Any]:
    """Return a list, or one thing as a list."""
    return value if isinstance(value, list | tuple) else [value]


def _text(value: Any) -> str:
    """Return a value as the command line would say it."""
    return value if isinstance(value, str) else json.dumps(value)
