"""Running statistics: mean and spread per player, merged block by block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dvl_core.protocols import AnyArray, FloatArray, IntArray

__all__ = ["Estimate", "RowMoments", "RunningMoments", "standard_errors"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is known of each player at some moment of a run.

    Parameters
    ----------
    values : float array [n]
        Estimated values; NaN where nothing is known yet.
    variances : float array [n]
        Sample variances of the replicates behind each value.
    counts : int array [n]
        Number of replicates behind each value.
    stderr : float array [n]
        Standard errors of the values; infinite where the spread is not known yet.
    """

    values: FloatArray
    variances: FloatArray
    counts: IntArray
    stderr: FloatArray


def standard_errors(variances: FloatArray, counts: IntArray) -> FloatArray:
    """Return sqrt(variance / count) [n], infinite for fewer than two replicates.

    A single replicate says nothing of its own spread: zero would pass for certainty.

    Examples
    --------
    >>> import numpy as np
    >>> standard_errors(np.array([4.0, 4.0]), np.array([1, 16]))
    array([inf, 0.5])
    """
    result = np.full(len(counts), np.inf)
    known = counts > 1
    result[known] = np.sqrt(variances[known] / counts[known])
    return result


class RunningMoments:
    """Counts, means and sums of squared deviations of `n` quantities.

    Batches are merged by the parallel update of Chan, Golub & LeVeque (1983, eq. 1.5), which does
    not cancel where the mean is large against the spread.

    Parameters
    ----------
    n : int
        Number of quantities.

    Examples
    --------
    >>> import numpy as np
    >>> moments = RunningMoments(2)
    >>> moments.add_rows(np.array([[1.0, 5.0], [3.0, 5.0]]))
    >>> moments.mean, moments.variances()
    (array([2., 5.]), array([2., 0.]))
    """

    def __init__(self, n: int) -> None:
        self.count = np.zeros(n, dtype=np.int64)
        self.mean = np.zeros(n)
        self.m2 = np.zeros(n)

    def merge(self, count: IntArray, mean: FloatArray, m2: FloatArray) -> None:
        """Take in batches given by their own counts, means and squared deviations, all [n]."""
        total = self.count + count
        share = count / np.maximum(total, 1)
        delta = mean - self.mean
        # In this form a batch of count zero changes nothing, not even a bit.
        self.mean = np.where(count > 0, self.mean + delta * share, self.mean)
        self.m2 = np.where(count > 0, self.m2 + m2 + delta * delta * self.count * share, self.m2)
        self.count = total

    def add_rows(self, rows: FloatArray) -> None:
        """Take in `rows` [m, n]: one observation of every quantity a row."""
        if len(rows) == 0:
            return
        mean = rows.mean(axis=0)
        count = np.full(rows.shape[1], len(rows), dtype=np.int64)
        self.merge(count, mean, np.square(rows - mean).sum(axis=0))

    def add_observations(self, positions: IntArray, observations: FloatArray) -> None:
        """Take in `observations` [m] of the quantities at `positions` [m], repeats allowed."""
        n = len(self.mean)
        count = np.bincount(positions, minlength=n)
        mean = np.bincount(positions, observations, n) / np.maximum(count, 1)
        squares = np.square(observations - mean[positions])
        m2 = np.bincount(positions, squares, n).astype(float)
        self.merge(count, mean, m2)

    def variances(self) -> FloatArray:
        """Return the sample variances [n]; zero for fewer than two observations."""
        return self.m2 / np.maximum(self.count - 1, 1)

    def estimate(self) -> Estimate:
        """Return means, variances, counts and standard errors."""
        variances = self.variances()
        values = np.where(self.count > 0, self.mean, np.nan)
        stderr = standard_errors(variances, self.count)
        return Estimate(values, variances, self.count.copy(), stderr)

    def state(self) -> dict[str, AnyArray]:
        """Return the arrays that `restore` needs."""
        return {"count": self.count.copy(), "mean": self.mean.copy(), "m2": self.m2.copy()}

    def restore(self, state: Mapping[str, AnyArray]) -> None:
        """Go back to a saved state."""
        self.count = np.array(state["count"], dtype=np.int64)
        self.mean = np.array(state["mean"], dtype=float)
        self.m2 = np.array(state["m2"], dtype=float)


class RowMoments(RunningMoments):
    """The accumulator of designs whose samples hold ``rows`` [m, n]: all players at once."""

    def fold(self, sample: Mapping[str, AnyArray]) -> None:
        """Take in the observations of a block."""
        self.add_rows(sample["rows"])
