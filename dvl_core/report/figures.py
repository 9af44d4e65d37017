"""The figures of the report, as SVG text to be set into the page."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dvl_core.protocols import FloatArray
    from dvl_core.report.curves import RemovalCurve
    from dvl_core.result import ValuationResult

__all__ = ["convergence_figure", "distribution_figure", "removal_figure"]

INK, QUIET, GRID = "#1f2933", "#7b8794", "#e4e7eb"
ACCENT, HARM = "#0b6e99", "#b83232"
MOST_POINTS = 1500
"""More points than a line has pixels only make the file large."""


def distribution_figure(result: ValuationResult) -> str:
    """Return values by rank with 95 % intervals, and their histogram."""
    known = result.sort()[np.isfinite(result.sort().values)]
    figure = _figure(8.4, 3.4)
    ranked, bars = figure.subplots(1, 2, width_ratios=[2.2, 1], sharey=True)
    step = max(1, -(-len(known) // MOST_POINTS))
    rank = np.arange(1, len(known) + 1)[::step]
    interval = known.confidence_interval()[::step]
    values = known.values[::step]
    if np.isfinite(interval).all() and (interval[:, 1] > interval[:, 0]).any():
        ranked.fill_between(
            rank, interval[:, 0], interval[:, 1], color=ACCENT, alpha=0.18, linewidth=0
        )
    few = len(known) <= 60
    ranked.plot(rank, values, color=ACCENT, marker="o" if few else "", markersize=3.5)
    ranked.set_xlabel("rank, lowest first")
    ranked.set_ylabel("value")
    bars.hist(
        known.values, _edges(known.values), orientation="horizontal", color=ACCENT, alpha=0.75
    )
    bars.set_xlabel("number")
    for axes in (ranked, bars):
        _style(axes)
        axes.axhline(0, color=QUIET, linewidth=0.8)
    return _svg(figure)


def _edges(values: FloatArray) -> FloatArray:
    """Return the edges of the bars of a histogram: one bar if all is equal but for rounding."""
    low, high = float(values.min()), float(values.max())
    size = max(abs(low), abs(high))
    if high - low <= 1e-9 * size:
        return np.array([low - (size / 2 or 0.5), high + (size / 2 or 0.5)])
    return np.linspace(low, high, int(np.clip(np.sqrt(len(values)), 5, 40)) + 1)


def removal_figure(curve: RemovalCurve, unit: str) -> str:
    """Return the score without the lowest values against that without random players."""
    figure = _figure(8.4, 3.4)
    axes = figure.subplots()
    share = 100 * curve.fractions
    axes.fill_between(
        share, curve.random_low, curve.random_high, color=QUIET, alpha=0.22, linewidth=0
    )
    axes.plot(share, curve.random_mean, color=QUIET, label="random removal, 5-95 % band")
    axes.plot(
        share, curve.lowest, color=HARM, marker="o", markersize=4, label="lowest values removed"
    )
    axes.set_xlabel(f"{unit} removed, %")
    axes.set_ylabel("test score")
    axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    _style(axes)
    return _svg(figure)


def convergence_figure(trace: dict[str, Any]) -> str:
    """Return the largest and the mean standard error against evaluations."""
    from matplotlib.ticker import LogLocator

    figure = _figure(8.4, 3.0)
    axes = figure.subplots()
    evaluations = np.asarray(trace["n_evaluations"])
    axes.loglog(evaluations, trace["max_stderr"], color=HARM, label="largest standard error")
    axes.loglog(evaluations, trace["mean_stderr"], color=ACCENT, label="mean standard error")
    axes.set_xlabel("model evaluations")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(_plain)
        axis.set_minor_formatter(_plain)
        axis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
    axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    _style(axes)
    return _svg(figure)


def _plain(value: float, position: float | None) -> str:
    """Return the label of a tick on a logarithmic axis."""
    return f"{value:,.4g}" if value < 1e4 else f"{value:,.0f}"


def _figure(width: float, height: float) -> Figure:
    """Return an empty figure that belongs to no window."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure


def _style(axes: Axes) -> None:
    """Leave only what helps to read the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(QUIET)
    axes.tick_params(which="both", colors=QUIET, labelcolor=INK, labelsize=9)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=INK, fontsize=9.5)


def _svg(figure: Figure) -> str:
    """Return the figure as an SVG element; the same data gives the same text."""
    import matplotlib as mpl

    stream = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "dvl"}):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]
