"""What a job is asked to do."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from dvl_core.job.tables import file_digest
from dvl_core.known_plugins import DEFAULT_METHOD, DEFAULT_ROW_METHOD

__all__ = ["ValueJob"]

WHERE_AND_HOW = (
    "out",
    "overwrite",
    "backend",
    "n_jobs",
    "store",
    "data",
    "test",
    "time_limit",
    "config",
)
"""Fields that do not change the values; files count by their content."""


@dataclass(frozen=True)
class ValueJob:
    """What ``dvl value`` or a file was asked to do; the fields are the options of the command.

    `config` is the file. It may give parts as tables, with options of their own.
    """

    data: Path
    target: str
    out: Path
    test: Path | None = None
    test_size: float = 0.2
    model: str | None = None
    model_options: str | None = None
    method: str | None = None
    options: tuple[str, ...] = ()
    scorer: str | None = None
    budget: int | None = None
    seed: int = 0
    backend: str | Mapping[str, Any] | None = None
    n_jobs: int | None = None
    group_by: str | None = None
    where: str | None = None
    drop: tuple[str, ...] = ()
    sampler: str | Mapping[str, Any] | None = None
    stop: tuple[str, ...] = ()
    store: tuple[str | Mapping[str, Any], ...] = ()
    time_limit: float | None = None
    overwrite: bool = False
    config: Path | None = None

    @property
    def chosen_method(self) -> str:
        """The method asked for, else the one that suits what else was asked for."""
        if self.method is not None:
            return self.method
        asks_for_utility = any(
            (self.model, self.group_by, self.sampler, self.stop, self.budget, self.store)
        )
        return DEFAULT_METHOD if asks_for_utility else DEFAULT_ROW_METHOD

    def identity(self) -> dict[str, Any]:
        """Return all that decides the values, files by their content."""
        content = {f.name: getattr(self, f.name) for f in fields(self)}
        identity = {k: v for k, v in content.items() if k not in WHERE_AND_HOW}
        identity |= {"options": list(self.options), "drop": list(self.drop)}
        identity |= {"stop": list(self.stop), "method": self.chosen_method}
        identity["data_sha256"] = file_digest(self.data)
        identity["test_sha256"] = file_digest(self.test) if self.test else None
        return identity

    def command(self) -> str:
        """Return the command line that repeats this job."""
        if self.config is not None:
            return shlex.join(["dvl", "run", str(self.config)])
        words = ["dvl", "value", str(self.data)]
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("data", "overwrite") or value in (None, ()):
                continue
            option = "--" + {"options": "option"}.get(field.name, field.name).replace("_", "-")
            for item in value if isinstance(value, tuple) else (value,):
                words += [option, str(item)]
        return shlex.join(words)
