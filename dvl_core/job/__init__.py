"""The main job of the command line: from a table to values, files and a report."""

from __future__ import annotations

from dvl_core.job.request import ValueJob
from dvl_core.job.run import Outcome, run_job

__all__ = ["Outcome", "ValueJob", "run_job"]
