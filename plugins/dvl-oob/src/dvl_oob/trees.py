"""Answers of scikit-learn's trees, read from the leaves: no checks, no row of probabilities each.

For a forest these calls are nearly all there is to do, and on a few thousand rows ``tree.predict``
takes longer to check its input once more than to find the leaves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.tree import (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    ExtraTreeClassifier,
    ExtraTreeRegressor,
)

if TYPE_CHECKING:
    from dvl_core.protocols import AnyArray, FloatArray, IntArray

__all__ = ["is_tree", "leaf_labels", "leaf_means", "leaf_probabilities", "reads_leaves"]

TREES = frozenset(
    {DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor}
)


def is_tree(model: Any) -> bool:
    """Return whether a model is one of scikit-learn's trees itself, not of a class of its own."""
    return type(model) in TREES


def reads_leaves(model: Any, x: Any) -> bool:
    """Return whether the functions below answer for `model`, given features like `x`."""
    return is_tree(model) and getattr(x, "dtype", None) == np.float32


def leaf_labels(tree: Any, x: Any) -> AnyArray:
    """Return the labels [n] that a fitted tree predicts for `x` (float32)."""
    of_nodes = tree.classes_[tree.tree_.value[:, 0].argmax(axis=1)]
    labels: AnyArray = of_nodes[tree.tree_.apply(x)]
    return labels


def leaf_probabilities(tree: Any, x: Any, columns: IntArray) -> FloatArray:
    """Return the probability [n] of the class in the column [n] given for each row of `x`."""
    probabilities: FloatArray = tree.tree_.value[tree.tree_.apply(x), 0, columns]
    return probabilities


def leaf_means(tree: Any, x: Any) -> FloatArray:
    """Return the numbers [n] that a fitted tree predicts for `x` (float32)."""
    means: FloatArray = np.take(tree.tree_.value[:, 0, 0], tree.tree_.apply(x))
    return means
