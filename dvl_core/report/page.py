"""The page: figures, tables and plain words, put into the template."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from dvl_core import hooks
from dvl_core.errors import DataError
from dvl_core.files import atomic_write
from dvl_core.report.curves import RemovalCurve
from dvl_core.report.words import summary_sentences
from dvl_core.result import ValuationResult

__all__ = ["ReportData", "render_report", "write_report"]

LONGEST_CELL = 60


@dataclass(frozen=True)
class ReportData:
    """All that the report shows.

    Parameters
    ----------
    result : ValuationResult
        The values.
    run : mapping
        The content of run.json.
    worst_rows : sequence of mappings
        Name, value, stderr and cells of the players with the lowest values.
    removal : RemovalCurve, optional
        What removing the lowest values does.
    trace : mapping, optional
        Columns n_evaluations, max_stderr and mean_stderr.
    known_bad : mapping, optional
        Planted errors: how many were planted, found, and among how many lowest values.
    sections : sequence of ReportSection
        What hooks add; their HTML is trusted, since they are installed code.
    """

    result: ValuationResult
    run: Mapping[str, Any]
    worst_rows: Sequence[Mapping[str, Any]] = ()
    removal: RemovalCurve | None = None
    trace: Mapping[str, Any] | None = None
    known_bad: Mapping[str, int] | None = None
    sections: Sequence[hooks.ReportSection] = ()

    @property
    def unit(self) -> str:
        """What the players are."""
        return "groups" if self.run.get("data", {}).get("group_by") else "rows"


def render_report(data: ReportData) -> str:
    """Return the page as HTML; it refers to nothing outside itself."""
    from jinja2 import Environment

    from dvl_core.report import figures

    result, trace = data.result, data.trace
    sampled = bool((np.isfinite(result.stderr) & (result.stderr > 0)).any())
    has_values = bool(np.isfinite(result.values).any())
    columns = list(data.worst_rows[0]["cells"]) if data.worst_rows else []
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = _number
    environment.filters["short"] = _short
    template = resources.files("dvl_core.report").joinpath("template.html").read_text("utf-8")
    return environment.from_string(template).render(
        run=data.run,
        unit=data.unit,
        result=result,
        summary=summary_sentences(data),
        distribution=figures.distribution_figure(result) if has_values else None,
        sampled=sampled,
        worst_rows=data.worst_rows,
        columns=columns,
        numeric={c for c in columns if all(_is_number(r["cells"][c]) for r in data.worst_rows)},
        removal=None if data.removal is None else figures.removal_figure(data.removal, data.unit),
        n_random=0 if data.removal is None else data.removal.n_random,
        convergence=(
            figures.convergence_figure(dict(trace))
            if trace and len(trace["n_evaluations"]) > 1 and min(trace["mean_stderr"]) > 0
            else None
        ),
        sections=data.sections,
    )


def write_report(directory: Path, run: Mapping[str, Any] | None = None) -> Path:
    """Write report.html in the folder of a run, from the files there.

    Parameters
    ----------
    directory : path
        Folder with result.npz, report.json and run.json.
    run : mapping, optional
        Instead of what is in run.json.

    Returns
    -------
    path
        Of report.html.

    Raises
    ------
    DataError
        If the folder holds no run.
    """
    if run is None:
        run = _read_json(directory, "run.json")
    content = _read_json(directory, "report.json")
    if not (directory / "result.npz").is_file():
        raise DataError(f"{str(directory)!r} holds no run of dvl value: result.npz is missing")
    result = ValuationResult.load(directory / "result.npz")
    removal = content.get("removal")
    page = render_report(
        ReportData(
            result=result,
            run=run,
            worst_rows=content.get("worst_rows") or [],
            removal=None if removal is None else RemovalCurve.from_dict(removal),
            trace=content.get("trace"),
            known_bad=content.get("known_bad"),
            sections=hooks.report_sections(result),
        )
    )
    path = directory / "report.html"
    with atomic_write(path) as stream:
        stream.write(page.encode())
    return path


def _read_json(directory: Path, name: str) -> dict[str, Any]:
    """Return the content of a JSON file in the folder of a run."""
    path = directory / name
    if not path.is_file():
        raise DataError(f"{str(directory)!r} holds no run of dvl value: {name} is missing")
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise DataError(f"{str(path)!r} is damaged: {error}") from error


def _number(value: Any) -> str:
    """Return a number in four digits, a dash for none."""
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}"


def _is_number(value: Any) -> bool:
    """Whether a cell is a number, or missing."""
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _short(value: Any) -> str:
    """Return a cell, cut if it is long; a dash if it is missing."""
    if value is None:
        return "-"
    text = f"{value:.5g}" if isinstance(value, float) else str(value)
    return text if len(text) <= LONGEST_CELL else text[: LONGEST_CELL - 1] + "…"
