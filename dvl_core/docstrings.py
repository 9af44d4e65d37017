"""Just enough numpydoc to tell users what a component and its options are."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

__all__ = ["citation_of", "parameter_docs", "sections", "summary_of"]


def sections(text: str) -> dict[str, list[str]]:
    """Split a docstring at its underlined titles; what comes before the first is under ``""``.

    Examples
    --------
    >>> sections("Summary." + chr(10) + "Notes" + chr(10) + "-----" + chr(10) + "Text.")
    {'': ['Summary.'], 'Notes': ['Text.']}
    """
    found: dict[str, list[str]] = {"": []}
    title = ""
    lines = inspect.cleandoc(text).splitlines() or [""]
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if line.strip() and re.fullmatch(r"-{3,}", below.strip()) and not line.startswith(" "):
            title = line.strip()
            found[title] = []
        elif not (title and not found[title] and re.fullmatch(r"-{3,}", line.strip())):
            found[title].append(line)
    return found


def summary_of(component: Callable[..., Any]) -> str:
    """Return the first paragraph of a component's docstring as one line; empty without one."""
    return _first_paragraph(sections(_doc(component))[""])


def citation_of(component: Callable[..., Any]) -> str | None:
    """Return the References section of a component's docstring, or None."""
    lines = sections(_doc(component)).get("References", [])
    text = " ".join(line.strip() for line in lines if line.strip())
    return re.sub(r"\.\. \[\w+\]\s*", "", text) or None


def parameter_docs(component: Callable[..., Any]) -> dict[str, str]:
    """Return the first paragraph on each parameter; a class completes what its bases document."""
    if not isinstance(component, type):
        return _parameters(_doc(component))
    found: dict[str, str] = {}
    for base in reversed(component.__mro__[:-1]):
        found |= _parameters(vars(base).get("__doc__") or "")
        found |= _parameters(getattr(vars(base).get("__init__"), "__doc__", None) or "")
    return found


def _doc(component: Callable[..., Any]) -> str:
    text = vars(component).get("__doc__") or inspect.getdoc(component) or ""
    # A dataclass without a docstring gets its signature for one, which says nothing new.
    if isinstance(component, type) and text.startswith(f"{component.__name__}("):
        return ""
    return str(text)


def _parameters(text: str) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    names: list[str] = []
    for line in sections(text).get("Parameters", []):
        if line and not line[0].isspace():
            names = [name.strip().lstrip("*") for name in line.partition(":")[0].split(",")]
        for name in names if not line or line[0].isspace() else ():
            found.setdefault(name, []).append(line)
    return {name: _first_paragraph(lines) for name, lines in found.items()}


def _first_paragraph(lines: list[str]) -> str:
    text = "\n".join(line.strip() for line in lines).strip()
    return text.split("\n\n")[0].replace("\n", " ")
