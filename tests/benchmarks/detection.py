"""How well values tell wrong labels from right ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import f1_score, roc_auc_score

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

METRICS = ("F1, two means", "F1, known rate", "AUROC")


def scores(values: FloatArray, wrong: BoolArray) -> dict[str, float]:
    """Return each of `METRICS` for values [n] of rows of which some are `wrong` [n]."""
    numbers = (two_means_f1(values, wrong), known_rate_f1(values, wrong), auroc(values, wrong))
    return dict(zip(METRICS, numbers, strict=True))


def two_means_f1(values: FloatArray, wrong: BoolArray) -> float:
    """Return the F1 score if the lower of two clusters of the values is taken for wrong.

    The clusters have the least squared distances from their means, over all splits of the sorted
    values. Values that are all the same have no lower cluster: nothing is taken for wrong.
    """
    ordered = np.sort(values)
    cuts = np.flatnonzero(np.diff(ordered)) + 1
    if len(cuts) == 0:
        return 0.0
    sums = np.cumsum(ordered - ordered.mean())[cuts - 1]
    # Squared distances are least where the clusters' means are furthest apart, weighted by size:
    # the upper cluster has minus the sum of the lower one.
    between = sums**2 * (1 / cuts + 1 / (len(values) - cuts))
    first_of_upper = ordered[cuts[np.argmax(between)]]
    return float(f1_score(wrong, values < first_of_upper))


def known_rate_f1(values: FloatArray, wrong: BoolArray) -> float:
    """Return the F1 score if as many rows as are wrong, those of least value, are taken for wrong.

    Among equal values the first come first. Precision and recall are the same here.
    """
    taken = np.zeros(len(values), dtype=bool)
    taken[np.argsort(values, kind="stable")[: wrong.sum()]] = True
    return float(f1_score(wrong, taken))


def auroc(values: FloatArray, wrong: BoolArray) -> float:
    """Return how often a wrong row has a lower value than a right one; ties count half."""
    return float(roc_auc_score(wrong, -values))


def flip(labels: NDArray[Any], share: float, rng: np.random.Generator) -> tuple[Any, BoolArray]:
    """Give a share of rows, drawn without replacement, another label.

    Returns
    -------
    (array [n], bool array [n])
        The labels, and which rows got another one, drawn uniformly from the other classes.
    """
    classes, codes = np.unique(labels, return_inverse=True)
    chosen = rng.choice(len(labels), round(share * len(labels)), replace=False)
    steps = rng.integers(1, len(classes), len(chosen))
    codes[chosen] = (codes[chosen] + steps) % len(classes)
    wrong = np.zeros(len(labels), dtype=bool)
    wrong[chosen] = True
    return classes[codes], wrong
