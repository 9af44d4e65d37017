"""The report of a run: one HTML file that needs nothing else."""

from __future__ import annotations

from dvl_core.report.curves import RemovalCurve, removal_curve
from dvl_core.report.page import ReportData, render_report, write_report

__all__ = ["RemovalCurve", "ReportData", "removal_curve", "render_report", "write_report"]
