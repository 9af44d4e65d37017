"""``dvl describe``: what a component is, and its options."""

from __future__ import annotations

import json
from typing import Any

import click
from click.shell_completion import CompletionItem

from dvl_core.component import ComponentRef
from dvl_core.options import Option, citation_of, options_of, summary_of
from dvl_core.profiles import profile_of
from dvl_core.registry import KINDS, registry

__all__ = ["complete_name", "describe"]


def complete_name(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the names, for the shell, of components of the kind that was typed."""
    refs = registry().list(ctx.params.get("kind"))
    return [CompletionItem(ref.name) for ref in refs if ref.name.startswith(incomplete)]


@click.command("describe")
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("name", shell_complete=complete_name)
@click.option("--json", "as_json", is_flag=True, help="Print one object.")
def describe(kind: str, name: str, as_json: bool) -> None:
    """Show what a component is and its options.

    NAME is the name of a component, or DISTRIBUTION:NAME.
    """
    ref = registry().find(kind, name)
    component = ref.load()
    options = options_of(component)
    summary, citation = summary_of(component), citation_of(component)
    if as_json:
        described = {
            "kind": ref.kind,
            "name": ref.name,
            "distribution": ref.distribution,
            "version": ref.version,
            "target": ref.target,
            "summary": summary,
            "profile": profile_of(component),
            "options": [_as_json(option) for option in options],
            "citation": citation,
        }
        click.echo(json.dumps(described, indent=2))
    else:
        click.echo(_page(ref, summary, profile_of(component), options, citation))


def _as_json(option: Option) -> dict[str, Any]:
    return {
        "name": option.name,
        "type": option.type,
        "default": _json_default(option.default),
        "required": option.required,
        "part": option.is_part,
        "kind": option.kind,
        "doc": option.doc,
    }


def _json_default(default: Any) -> Any:
    """Return a default as it is where JSON can hold it, else its repr."""
    try:
        json.dumps(default, allow_nan=False)
    except (TypeError, ValueError):
        return repr(default)
    return default


def _page(
    ref: ComponentRef,
    summary: str,
    profile: dict[str, str],
    options: list[Option],
    citation: str | None,
) -> str:
    formatter = click.HelpFormatter(max_width=88)
    formatter.write(f"{ref.kind} {ref.name}\n")
    if summary:
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(summary)
    if profile:
        with formatter.section("Profile"):
            formatter.write_dl(list(profile.items()))
    for title, shown in (
        ("Parts", [option for option in options if option.is_part]),
        ("Options", [option for option in options if not option.is_part]),
    ):
        if shown:
            with formatter.section(title):
                formatter.write_dl([_line(option) for option in shown])
    if citation:
        with formatter.section("Citation"):
            formatter.write_text(citation)
    with formatter.section("From"):
        formatter.write_text(f"{ref.distribution} {ref.version} ({ref.target})")
    return formatter.getvalue().rstrip()


def _line(option: Option) -> tuple[str, str]:
    default = "required" if option.required else f"default {option.default!r}"
    facts = f"{option.type or 'any'}, {default}"
    return option.name, f"{option.doc} [{facts}]".lstrip()
