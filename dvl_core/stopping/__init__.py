"""When to stop: budgets, convergence rules, and their composition with ``|``, ``&`` and ``~``."""

from __future__ import annotations

from dvl_core.stopping.budgets import MaxEvaluations, MaxTime, MaxUpdates, MinUpdates, NoStopping
from dvl_core.stopping.certainty import RelativeStandardError, SignCertainty, StableSet
from dvl_core.stopping.convergence import AbsoluteStandardError, HistoryDeviation, RankCorrelation
from dvl_core.stopping.rules import Progress, StoppingRule, Verdict

__all__ = [
    "AbsoluteStandardError",
    "HistoryDeviation",
    "MaxEvaluations",
    "MaxTime",
    "MaxUpdates",
    "MinUpdates",
    "NoStopping",
    "Progress",
    "RankCorrelation",
    "RelativeStandardError",
    "SignCertainty",
    "StableSet",
    "StoppingRule",
    "Verdict",
]
