"""The figures of the page, as SVG whose bytes depend on what was measured alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accuracy import AccuracyResult
    from seconds import SecondsResult

STYLE = {
    "svg.hashsalt": "dvl",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
}
PANELS_A_ROW = 3


@contextmanager
def saved(path: Path, panels: int) -> Iterator[list[Any]]:
    """Yield the axes of so many panels; the figure is saved when they are drawn."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = min(panels, PANELS_A_ROW)
    rows = -(-panels // columns)
    width = 3.4 * columns if panels > 1 else 5.5
    height = 2.7 * rows if panels > 1 else 4.2
    with matplotlib.rc_context(STYLE):
        figure, axes = pyplot.subplots(
            rows, columns, figsize=(width, height), squeeze=False, layout="constrained"
        )
        flat = list(axes.ravel())
        yield flat[:panels]
        for empty in flat[panels:]:
            empty.set_axis_off()
        handles, labels = flat[0].get_legend_handles_labels()
        if len(flat) > panels:
            flat[-1].legend(handles, labels, loc="center", frameon=False)
        else:
            columns = 3 if panels > 1 else 2
            figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None, "Creator": None})
        pyplot.close(figure)


def errors_against_evaluations(result: AccuracyResult, path: Path) -> None:
    """Draw the errors of some estimators against evaluations a player, a panel a game."""
    with saved(path, len(result.games)) as panels:
        for axes, game in zip(panels, result.games, strict=True):
            for label, legend in result.lines.items():
                runs = [records for entrant, records in game.runs if entrant.label == label]
                for records in runs:
                    multiples = [m for m in game.multiples if game.has(records, m)]
                    errors = [game.error(records, multiple).value for multiple in multiples]
                    width = 2.5 if label.startswith("dvl") else 1.2
                    axes.loglog(multiples, errors, marker="o", label=legend, linewidth=width)
                if not runs:
                    axes.plot([], [], label=legend)
            axes.set_title(f"{game.title}, n = {game.n:,}", fontsize=9)
            axes.set_xticks(list(game.multiples), [f"{m}n" for m in game.multiples])
            axes.minorticks_off()
            axes.set_ylabel("relative squared error")


def errors_against_seconds(result: SecondsResult, path: Path) -> None:
    """Draw the errors of some estimators against the seconds that they took."""
    with saved(path, 1) as (axes,):
        for label, curve in result.curves.items():
            width = 2.5 if label.startswith("dvl") else 1.2
            seconds, errors = zip(*curve, strict=True)
            axes.loglog(seconds, errors, marker="o", label=label, linewidth=width)
        axes.axhline(result.threshold, color="grey", linestyle=":")
        axes.set_xlabel("seconds")
        axes.set_ylabel("relative squared error")
