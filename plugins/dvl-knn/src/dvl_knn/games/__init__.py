"""The games of nearest neighbours: what a set of training points is worth for a test point."""

from __future__ import annotations

from dvl_knn.games.base import KNNGame, Neighbours, Shares
from dvl_knn.games.fixed import FixedGame
from dvl_knn.games.grouped import GroupedFixedGame
from dvl_knn.games.regression import RegressionGame
from dvl_knn.games.soft_label import SoftLabelGame
from dvl_knn.games.threshold import ThresholdGame
from dvl_knn.games.weighted import WeightedGame

__all__ = [
    "FixedGame",
    "GroupedFixedGame",
    "KNNGame",
    "Neighbours",
    "RegressionGame",
    "Shares",
    "SoftLabelGame",
    "ThresholdGame",
    "WeightedGame",
]
