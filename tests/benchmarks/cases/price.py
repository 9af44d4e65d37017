"""The price of an evaluation: many models trained together, against one after the other."""

from __future__ import annotations

import numpy as np
from measure import Arrays
from priced import Entry, PriceCase

from cases.common import SEED

N, FEATURES, TEST = 150, 30, 100
COALITIONS = 640
FLIPPED = 0.1


def make(n: int = N, n_test: int = TEST, n_coalitions: int = COALITIONS) -> Arrays:
    """Return features, targets of two and three classes and numbers, and coalitions."""
    rng = np.random.default_rng(SEED)
    x = rng.normal(size=(n + n_test, FEATURES))
    linear = x @ rng.normal(size=(FEATURES, 3))
    targets = {
        "two": (linear[:, 0] > 0).astype(int),
        "three": linear.argmax(axis=1),
        "number": linear[:, 0] + rng.normal(size=len(x)),
    }
    for name, classes in (("two", 2), ("three", 3)):
        flipped = rng.random(len(x)) < FLIPPED
        targets[name][flipped] = rng.integers(classes, size=flipped.sum())
    sizes = rng.integers(1, n, n_coalitions)
    ranks = rng.random((n_coalitions, n)).argsort(axis=1).argsort(axis=1)
    arrays = {"x_train": x[:n], "x_test": x[n:], "coalitions": ranks < sizes[:, None]}
    for name, target in targets.items():
        arrays |= {f"{name}_train": target[:n], f"{name}_test": target[n:]}
    return arrays


CASE = PriceCase(
    name="price",
    title="Price of an evaluation",
    what=(
        f"What a coalition is worth, for {COALITIONS} coalitions of {N} players with sizes drawn "
        f"uniformly from 1 to {N - 1}, in blocks of 64; {FEATURES} Gaussian features, {TEST} test "
        "points, targets by linear functions with noise. One by one: a plain loop of "
        "scikit-learn's clone, fit and score. Together: dvl's `ModelUtility` through dvl-batched, "
        "or dvl-torch, which train a block at once; coalitions that they leave to scikit-learn are "
        "included, the five that they evaluate in both ways when they get their players are not. "
        "The two take turns block by block in one process with one BLAS thread; times are medians "
        "over rounds, each of all coalitions. The net has 20 of the features and 50 steps of Adam "
        "with all rows. Equal scores: the share of coalitions with the same share of right labels, "
        "or with other scores within 1e-6; at least 99 % have to be, and none may be further apart "
        f"than one test point, or 1e-6. Seed {SEED}."
    ),
    entries=(
        Entry("LogisticRegression, 2 classes", "two", "accuracy", 15),
        Entry("LogisticRegression, 3 classes", "three", "accuracy"),
        Entry("Ridge", "number", "r2", 50),
        Entry("GaussianNB", "two", "accuracy", 50),
        Entry("GaussianNB", "two", "neg_log_loss"),
        Entry("NearestCentroid", "two", "accuracy", 50),
        Entry("KNeighborsClassifier", "two", "accuracy", 30),
        Entry("KNeighborsRegressor", "number", "r2", 30),
        Entry("KernelRidge, rbf", "number", "r2"),
        Entry("LinearDiscriminantAnalysis", "two", "accuracy"),
        Entry("TorchClassifier, MLP 20-16-2", "two", "accuracy", rounds=1),
    ),
    make=make,
)
