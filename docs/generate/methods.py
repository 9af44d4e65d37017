"""Writes docs/methods.md from what the installed plugins say of themselves (`make docs`)."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import jinja2

from dvl_core.errors import DvlWarning, InvalidOptionError, UnsupportedSemivalueError
from dvl_core.options import citation_of, summary_of
from dvl_core.profiles import profile_of
from dvl_core.protocols import Semivalue
from dvl_core.registry import list_plugins
from dvl_core.semivalues import BanzhafSemivalue, BetaSemivalue, LOOSemivalue, ShapleySemivalue

HERE = Path(__file__).parent
PAGE = HERE.parent / "methods.md"
SEMIVALUES = {
    "Shapley": ShapleySemivalue(),
    "Banzhaf": BanzhafSemivalue(),
    "Beta(4, 1)": BetaSemivalue(4, 1),
    "leave-one-out": LOOSemivalue(),
}
N_PLAYERS = 100
N_PLAYERS_TO_ENUMERATE = 8


def methods() -> list[dict[str, str]]:
    """Return a row per valuation that is installed: its name, profile and citation."""
    rows = []
    for ref in list_plugins("valuation"):
        if ref.status == "ok":
            component = ref.load()
            citation = citation_of(component) or "-"
            row = {"name": ref.name, "distribution": str(ref.distribution), "citation": citation}
            rows.append(row | profile_of(component))
    return rows


def samplers() -> list[dict[str, Any]]:
    """Return a row per sampler that is installed: its name, summary and guarantees."""
    rows = []
    for ref in list_plugins("sampler"):
        if ref.status == "ok":
            sampler = ref.load()()
            guarantees = [guarantee(sampler, semivalue) for semivalue in SEMIVALUES.values()]
            rows.append(
                {"name": ref.name, "summary": summary_of(ref.load()), "guarantees": guarantees}
            )
    return rows


def guarantee(sampler: Any, semivalue: Semivalue) -> str:
    """Return what the estimates of a sampler are for a semivalue, as its design declares."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DvlWarning)
        try:
            design = sampler.design(N_PLAYERS, semivalue)
        except UnsupportedSemivalueError:
            return "refused"
        except InvalidOptionError:
            return f"{sampler.design(N_PLAYERS_TO_ENUMERATE, semivalue).guarantee}, few players"
    wasteful = any(issubclass(warning.category, DvlWarning) for warning in caught)
    return f"{design.guarantee}{', warns' if wasteful else ''}"


def page() -> str:
    """Return the page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    template = environment.get_template("methods.md.j2")
    text = template.render(
        methods=methods(), samplers=samplers(), semivalues=SEMIVALUES, n_players=N_PLAYERS
    )
    return text.rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
