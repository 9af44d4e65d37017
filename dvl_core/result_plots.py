"""Plots of a result on matplotlib axes, behind ``result.plot``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dvl_core.errors import ResultError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from dvl_core.result import ValuationResult

__all__ = ["ResultPlots"]


class ResultPlots:
    """Draws a result; each method takes axes, or makes some, and returns them.

    Parameters
    ----------
    result : ValuationResult
        What to draw.

    Examples
    --------
    >>> from dvl_core import ValuationResult
    >>> result = ValuationResult(
    ...     values=[0.3, -0.1], stderr=[0.1, 0.1], variances=[0.1, 0.1], counts=[10, 10],
    ...     converged=[True, True],
    ... )
    >>> axes = result.plot.values()
    >>> axes.get_ylabel()
    'value'
    """

    def __init__(self, result: ValuationResult) -> None:
        self.result = result

    def values(self, ax: Axes | None = None, level: float = 0.95) -> Axes:
        """Draw the values from the lowest to the highest, with intervals.

        Parameters
        ----------
        ax : Axes, optional
            Where to draw; None: on new axes.
        level : float
            Confidence of the intervals.
        """
        ax = _axes(ax)
        ordered = self.result.sort()
        rank = np.arange(1, len(ordered) + 1)
        low, high = ordered.confidence_interval(level).T
        known = np.isfinite(low) & np.isfinite(high)
        ax.fill_between(rank, low, high, where=known, alpha=0.25, linewidth=0)
        ax.plot(rank, ordered.values)
        ax.axhline(0.0, color="0.6", linewidth=0.8)
        ax.set_xlabel("rank, lowest first")
        ax.set_ylabel("value")
        return ax

    def histogram(self, ax: Axes | None = None, bins: int | str = "auto") -> Axes:
        """Draw how many players have such a value.

        Parameters
        ----------
        ax : Axes, optional
            Where to draw; None: on new axes.
        bins : int or str
            As for `numpy.histogram_bin_edges`.
        """
        ax = _axes(ax)
        values = self.result.values
        ax.hist(values[np.isfinite(values)], bins=bins)
        ax.axvline(0.0, color="0.6", linewidth=0.8)
        ax.set_xlabel("value")
        ax.set_ylabel("number of players")
        return ax

    def convergence(self, ax: Axes | None = None) -> Axes:
        """Draw the largest and the mean standard error against the evaluations used.

        Parameters
        ----------
        ax : Axes, optional
            Where to draw; None: on new axes.

        Raises
        ------
        ResultError
            If the result has no trace of its run, as after a merge.
        """
        trace = {
            name: np.asarray(self.result.extras.get(f"trace_{name}", ()), dtype=float)
            for name in ("n_evaluations", "max_stderr", "mean_stderr")
        }
        if not len(trace["n_evaluations"]):
            raise ResultError("this result has no trace of its run, so there is nothing to draw")
        ax = _axes(ax)
        for name, label in (("max_stderr", "largest"), ("mean_stderr", "mean")):
            known = np.isfinite(trace[name]) & (trace[name] > 0)
            ax.plot(trace["n_evaluations"][known], trace[name][known], label=label)
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlabel("evaluations")
        ax.set_ylabel("standard error")
        ax.legend()
        return ax

    def history(self, ax: Axes | None = None, n_players: int = 10) -> Axes:
        """Draw how the lowest and the highest values came to be, against the evaluations used.

        Parameters
        ----------
        ax : Axes, optional
            Where to draw; None: on new axes.
        n_players : int
            How many of the lowest, and of the highest.

        Raises
        ------
        ResultError
            If the values were not kept as the run went on.
        """
        values = self.result.extras.get("history_values")
        if values is None or not len(values):
            raise ResultError(
                "this result has no history, so there is nothing to draw: pass keep_history=True "
                "to the valuation"
            )
        ax = _axes(ax)
        moments = np.asarray(self.result.extras["history_n_evaluations"])
        order = np.argsort(self.result.values)
        chosen = self.result.indices[np.unique([*order[:n_players], *order[-n_players:]])]
        ax.plot(moments, np.asarray(values)[:, chosen], linewidth=0.8)
        ax.set_xscale("log")
        ax.set_xlabel("evaluations")
        ax.set_ylabel("value")
        return ax


def _axes(ax: Axes | None) -> Axes:
    """Return `ax`, or the axes of a new figure."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots()[1]
