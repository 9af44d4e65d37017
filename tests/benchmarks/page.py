"""The page: what was measured, for people to read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from results import Result, Spread


def render(results: Sequence[Result]) -> str:
    """Return the page, in Markdown, on some results in this order."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown, and all text in it is ours
    )
    environment.filters["number"] = number
    template = environment.get_template("page.md.j2")
    return template.render(results=results, facts=facts(results), spread=Spread.of)


def number(value: float) -> str:
    """Return four significant digits, and from a thousand on all digits before the point."""
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.4g}"


def facts(results: Sequence[Result]) -> list[tuple[str, str]]:
    """Return on what the results were measured: headings and texts, each once.

    Results of different runs may come from different machines and versions; then the names of
    the cases stand behind the text.
    """
    cases: dict[tuple[str, str], list[str]] = {}
    for result in results:
        cases.setdefault(("Machine", result.machine), []).append(result.name)
        for side, versions in result.versions.items():
            if versions:
                text = ", ".join(f"{package} {version}" for package, version in versions.items())
                cases.setdefault((side, text), []).append(result.name)
    headings = [heading for heading, _ in cases]
    return [
        (heading, text if headings.count(heading) == 1 else f"{text} ({', '.join(names)})")
        for (heading, text), names in cases.items()
    ]
