"""Data-OOB: how well the models of an ensemble that never saw a point predict it."""

from __future__ import annotations

from dvl_oob.valuation import DataOOBValuation

__all__ = ["DataOOBValuation"]
