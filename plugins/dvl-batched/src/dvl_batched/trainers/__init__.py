"""Trainers: one kind of model each, for many coalitions at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.naive_bayes import BernoulliNB, GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, NearestCentroid

from dvl_batched.trainers.base import Trainer
from dvl_batched.trainers.centroid import NearestCentroidTrainer
from dvl_batched.trainers.discriminant import LinearDiscriminantAnalysisTrainer
from dvl_batched.trainers.kernel_ridge import KernelRidgeTrainer
from dvl_batched.trainers.least_squares import LinearRegressionTrainer, RidgeTrainer
from dvl_batched.trainers.logistic import LogisticRegressionTrainer
from dvl_batched.trainers.naive_bayes import (
    BernoulliNBTrainer,
    GaussianNBTrainer,
    MultinomialNBTrainer,
)
from dvl_batched.trainers.neighbours import (
    KNeighborsClassifierTrainer,
    KNeighborsRegressorTrainer,
)

if TYPE_CHECKING:
    from dvl_batched.problem import Problem

__all__ = ["TRAINERS", "Trainer"]

TRAINERS: Mapping[type, Callable[[Any, Problem], Trainer]] = MappingProxyType(
    {
        BernoulliNB: BernoulliNBTrainer,
        GaussianNB: GaussianNBTrainer,
        KernelRidge: KernelRidgeTrainer,
        KNeighborsClassifier: KNeighborsClassifierTrainer,
        KNeighborsRegressor: KNeighborsRegressorTrainer,
        LinearDiscriminantAnalysis: LinearDiscriminantAnalysisTrainer,
        LinearRegression: LinearRegressionTrainer,
        LogisticRegression: LogisticRegressionTrainer,
        MultinomialNB: MultinomialNBTrainer,
        NearestCentroid: NearestCentroidTrainer,
        Ridge: RidgeTrainer,
    }
)
"""The trainer of each class of models; a subclass may do anything and has none."""
