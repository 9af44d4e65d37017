"""The progress bar: evaluations, rate, time left and the largest standard error, on stderr."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["ProgressDisplay", "ProgressReport"]


@dataclass(frozen=True, slots=True)
class ProgressReport:
    """Where a run stands, for displays and hooks.

    Parameters
    ----------
    n_evaluations, n_computed, n_failures : int
        Utility values used, those of them trained in this run, those that failed.
    n_blocks : int
        Blocks folded.
    elapsed : float
        Seconds.
    completion : float
        Between 0 and 1, as the stopping rule sees it.
    largest_stderr : float
        Largest standard error; NaN while a player has none.
    """

    n_evaluations: int
    n_computed: int
    n_failures: int
    n_blocks: int
    elapsed: float
    completion: float
    largest_stderr: float


class ProgressDisplay:
    """A progress bar on stderr; silent unless wanted and stderr is a terminal.

    Parameters
    ----------
    wanted : bool
        Whether to show anything.
    """

    def __init__(self, wanted: bool) -> None:
        self.shown = wanted and sys.stderr.isatty()
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> ProgressDisplay:
        if self.shown:
            self._bar, self._task = _make_bar()
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, report: ProgressReport) -> None:
        """Show `report`."""
        if self._bar is None or self._task is None:
            return
        fields: dict[str, Any] = {
            "evaluations": f"{report.n_evaluations:,}",
            "rate": f"{report.n_evaluations / max(report.elapsed, 1e-9):,.0f}",
            "stderr": "-" if math.isnan(report.largest_stderr) else f"{report.largest_stderr:.2g}",
        }
        self._bar.update(self._task, completed=report.completion, **fields)


def _make_bar() -> tuple[Progress, TaskID]:
    """Return a bar that goes from 0 to 1, and its only task."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.percentage:>3.0f}%"),
        BarColumn(),
        TextColumn("{task.fields[evaluations]} evaluations, {task.fields[rate]}/s"),
        TextColumn("largest s.e. {task.fields[stderr]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    return bar, bar.add_task("", total=1.0, evaluations="0", rate="0", stderr="-")
