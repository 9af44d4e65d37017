"""Two workers over one, what a task costs, and when a run ends after a stop, on real processes."""

from __future__ import annotations

from quantities import Goal, QuantityCase

MOST_OVERHEAD = {"loky": 1, "Dask": 2, "Ray": 2}

CASE = QuantityCase(
    name="scaling",
    title="Scaling and overhead of backends",
    what=(
        "Two workers: seconds of {tasks} tasks that take {task_seconds} s of processor time, with "
        "one worker over with two, medians of three; processor time, because the speed of the "
        "machine varies. One worker of loky is the process itself; bare processes have their tasks "
        "before the clock starts. Overhead: seconds of {empty_tasks} tasks that do nothing, over "
        "their number, two workers; Dask and Ray get short tasks in groups of up to eight. End "
        "after a stop: seconds from the moment at which a stopping rule says stop to the end of "
        "the run, over the longest task (0.4 to 0.6 s), the most of {stops} runs with two workers; "
        "a task that has just started then takes 1, and where what runs is left to end by itself "
        "almost nothing. Everything on this machine, clusters included."
    ),
    module="scaling",
    goals=[
        Goal("bare processes: two", "times as fast as one"),
        *(
            goal
            for name, overhead in MOST_OVERHEAD.items()
            for goal in (
                Goal(f"{name}: two workers", "times as fast as one", at_least=1.8),
                Goal(f"{name}: overhead of a task", "ms", at_most=overhead),
                # A twentieth of a task for messages.
                Goal(f"{name}: end after a stop", "tasks", at_most=1.05),
            )
        ),
    ],
    size={"task_seconds": 0.2, "tasks": 20, "empty_tasks": 2000, "stops": 4},
    tiny={"task_seconds": 0.01, "tasks": 4, "empty_tasks": 20, "stops": 1},
    rounds=3,
)
