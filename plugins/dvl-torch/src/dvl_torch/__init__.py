"""Nets of torch as scikit-learn models, trained for many coalitions at once."""

from __future__ import annotations

from dvl_torch.estimators import TorchClassifier, TorchRegressor
from dvl_torch.utility import StackedTorchUtility, stacked

__all__ = ["StackedTorchUtility", "TorchClassifier", "TorchRegressor", "stacked"]
