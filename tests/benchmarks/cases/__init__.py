"""The benchmarks, in the order of the page."""

from __future__ import annotations

from measure import Case
from scored import ScoreCase

from cases import engine, knn, knn_large, list_plugins, msr, noisy_labels, oob, oob_large

CASES: list[Case | ScoreCase] = [
    msr.CASE,
    knn.CASE,
    knn_large.CASE,
    oob.CASE,
    oob_large.CASE,
    engine.CASE,
    list_plugins.CASE,
    noisy_labels.CASE,
]
