"""The benchmarks, in the order of the page."""

from __future__ import annotations

from measure import Case

from cases import engine, knn, list_plugins, msr, oob

CASES: list[Case] = [msr.CASE, knn.CASE, oob.CASE, engine.CASE, list_plugins.CASE]
