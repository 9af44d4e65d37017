"""Writes docs/scaling.md and its plot from what was measured on two cores (`make docs`).

The measurements lie in ``scaling.json``, where ``python -m sides.scaling_model`` has put them, run
in ``tests/benchmarks``; all else is computed here.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from dvl_core.grouping import GROUP_SECONDS
from dvl_core.scheduling import (
    LENGTHS,
    Dispatch,
    efficiency_bound,
    recommended_task_seconds,
    simulate,
)
from dvl_core.tasks import TASKS_OUT_PER_WORKER

HERE = Path(__file__).parent
PAGE = HERE.parent / "scaling.md"
PLOT = HERE.parent / "images" / "scaling" / "efficiency.svg"
MEASURED = HERE / "scaling.json"

WORKERS = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000)
SECONDS = (0.01, 0.1, 1.0, 10.0)
TASKS_PER_WORKER = 20
RECOMMENDED_FOR = (2, 10, 100, 1_000, 10_000)
LAW_WORKERS = (10, 100)
LAW_TASKS_PER_WORKER = 200


def backends() -> dict[str, Dispatch]:
    """Return how each backend hands out tasks, with the costs that were measured."""
    found = json.loads(MEASURED.read_text())["backends"]
    return {name: Dispatch(**backend["costs"]) for name, backend in found.items()}


def efficiency(dispatch: Dispatch, n_workers: int, seconds: float) -> float:
    """Return the efficiency of a simulated run of some equal tasks for each worker."""
    lengths = np.full(TASKS_PER_WORKER * n_workers, seconds)
    return simulate(lengths, n_workers, dispatch).efficiency


def draw(path: Path = PLOT) -> None:
    """Draw efficiency against workers, for several lengths of tasks; dashed: the bound."""
    sys.path.append(str(HERE.parents[1] / "tests" / "benchmarks"))
    from charts import saved

    clusters = {name: dispatch for name, dispatch in backends().items() if name != "loky"}
    with saved(path, len(clusters)) as panels:
        for axes, (name, dispatch) in zip(panels, clusters.items(), strict=True):
            for place, seconds in enumerate(SECONDS):
                curve = [efficiency(dispatch, n_workers, seconds) for n_workers in WORKERS]
                bound = [efficiency_bound(seconds, n_workers, dispatch) for n_workers in WORKERS]
                axes.semilogx(
                    WORKERS, curve, f"C{place}", marker="o", markersize=3, label=f"{seconds:g} s"
                )
                axes.semilogx(WORKERS, bound, f"C{place}--", linewidth=0.8)
            axes.set_title(name, fontsize=9)
            axes.set_xlabel("workers")
            axes.set_ylabel("efficiency (simulated)")
            axes.set_ylim(0, 1.05)


def recommended() -> list[dict[str, Any]]:
    """Return, for each backend, the recommended length of tasks by number of workers."""
    return [
        {
            "name": name,
            "seconds": [recommended_task_seconds(dispatch, n) for n in RECOMMENDED_FOR],
            "most": 1.0 / dispatch.driver,
        }
        for name, dispatch in backends().items()
    ]


def laws() -> list[dict[str, Any]]:
    """Return what unequal tasks cost if they are handed out in order, and as soon as possible."""
    at_once = Dispatch(submit=1e-4, receive=1e-4, latency=1e-3, worker=1e-3, reserve=1)
    in_order = replace(at_once, in_order=True)
    found = []
    for law, draw_lengths in LENGTHS.items():
        for n_workers in LAW_WORKERS:
            lengths = draw_lengths(LAW_TASKS_PER_WORKER * n_workers, np.random.default_rng(0))
            ways = {"at_once": at_once, "in_order": in_order}
            shares = {name: simulate(lengths, n_workers, way) for name, way in ways.items()}
            row = {name: schedule.efficiency for name, schedule in shares.items()}
            found.append({"law": law, "n_workers": n_workers, **row})
    return found


def page() -> str:
    """Return the page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    template = environment.get_template("scaling.md.j2")
    text = template.render(
        measured=json.loads(MEASURED.read_text()),
        recommended=recommended(),
        recommended_for=RECOMMENDED_FOR,
        laws=laws(),
        tasks_per_worker=TASKS_PER_WORKER,
        most_out=TASKS_OUT_PER_WORKER,
        group_seconds=GROUP_SECONDS,
        law_tasks_per_worker=LAW_TASKS_PER_WORKER,
    )
    return text.rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
    draw()
