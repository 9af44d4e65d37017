"""Data utility learning: what coalitions are worth, predicted from a few that were trained."""

from __future__ import annotations

from dvl_dul.deep_sets import DeepSetUtilityModel
from dvl_dul.models import IndicatorUtilityModel, UtilityModel
from dvl_dul.training import TrainingReport
from dvl_dul.utility import DataUtilityLearning

__all__ = [
    "DataUtilityLearning",
    "DeepSetUtilityModel",
    "IndicatorUtilityModel",
    "TrainingReport",
    "UtilityModel",
]
