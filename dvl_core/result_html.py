"""How notebooks show a result: the players at both ends, and how the run went."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dvl_core.result import ValuationResult, ValuedPlayer

__all__ = ["result_html"]

ROWS_AT_EACH_END = 5


def result_html(result: ValuationResult) -> str:
    """Return a table of the lowest and highest values, and a summary line."""
    ordered = list(result.sort())
    low = ordered[:ROWS_AT_EACH_END]
    high = ordered[max(len(low), len(ordered) - ROWS_AT_EACH_END) :]
    rows = [_row(player) for player in low]
    if len(ordered) > len(low) + len(high):
        rows.append("<tr><td colspan='3' style='text-align:center'>…</td></tr>")
    rows += [_row(player) for player in high]
    summary = (
        f"{result.algorithm or 'values'}: {len(result)} players, "
        f"{result.n_evaluations:,} evaluations, {result.n_failures:,} failures, "
        f"seed {result.seed}; stopped: {result.stop_reason or 'unfinished'}"
    )
    return (
        "<table><thead><tr><th>player</th><th>value</th><th>standard error</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table><p>{html.escape(summary)}</p>"
    )


def _row(player: ValuedPlayer) -> str:
    """Return one row of the table."""
    name = html.escape(str(player.name))
    return f"<tr><td>{name}</td><td>{player.value:.4g}</td><td>{player.stderr:.2g}</td></tr>"
