"""The main job of the command line: from a table to values, files and a report."""

from __future__ import annotations

from dvl_core.job.run import ValueJob, run_job

__all__ = ["ValueJob", "run_job"]
