"""The page: what was measured, for people to read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from results import AnyResult, Spread


def render(results: Sequence[AnyResult], order: Sequence[str], page: str = "") -> str:
    """Return the page, in Markdown.

    Parameters
    ----------
    results : sequence
        What was measured now.
    order : sequence of str
        Titles of all cases, in the order of the page.
    page : str
        The page as it was: its sections on other cases stay.
    """
    sections = {**sections_of(page), **{result.title: section(result) for result in results}}
    intro = environment().get_template("page.md.j2").render()
    return "\n".join([intro, *(sections[title] for title in order if title in sections)])


def section(result: AnyResult) -> str:
    """Return the section on one result, from its heading to its last line."""
    return environment().get_template(result.template).render(result=result, spread=Spread.of)


def sections_of(page: str) -> dict[str, str]:
    """Return the sections of a page by title."""
    parts = page.split("\n## ")[1:]
    return {part.splitlines()[0]: f"## {part.rstrip()}\n" for part in parts}


def environment() -> Environment:
    """Return what the templates are made with."""
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown, and all text in it is ours
    )
    templates.filters["number"] = number
    templates.filters["error"] = error
    templates.filters["packages"] = packages
    return templates


def number(value: float) -> str:
    """Return four significant digits, and from a thousand on all digits before the point."""
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.4g}"


def error(value: float) -> str:
    """Return two significant digits, without an exponent where that is short.

    Examples
    --------
    >>> error(0.0456), error(12.3), error(1234.5)
    ('0.046', '12', '1,234')
    """
    return f"{value:,.0f}" if value >= 10 else f"{value:#.2g}"


def packages(result: AnyResult) -> str:
    """Return the versions that each side had."""
    return "; ".join(
        f"{side}: " + ", ".join(f"{package} {version}" for package, version in versions.items())
        for side, versions in result.versions.items()
        if versions
    )
