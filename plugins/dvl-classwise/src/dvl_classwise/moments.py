"""Means over environments, and their ratio to what the class is worth as a whole."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core.errors import DvlWarning
from dvl_core.statistics import Estimate, RunningMoments, standard_errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

__all__ = ["ClasswiseMoments"]

ZERO = 1e-12
"""A sum of values that is smaller than this, relative to their absolute sum, counts as zero."""


class ClasswiseMoments:
    """Values of players by environments.

    If values are normalised, they are ratios x_i / s of the mean of a player and that of the sum
    over its class. Both vary with the environments, and together: by the delta method, the variance
    is that of x_i - (x_i / s) s, for which the moments of x, s and x + s are kept.

    Parameters
    ----------
    owner : int array [n]
        Number of the class of each player.
    labels : sequence [c]
        The classes.
    round_lengths : int array [c]
        Environments of each class whose mean is one observation.
    exact : bool array [c]
        Classes of which one round tells all there is to know.
    normalize : bool
        Scale the values of a class to sum to its in-class accuracy.
    """

    def __init__(
        self,
        owner: NDArray[np.int64],
        labels: Sequence[Any],
        round_lengths: NDArray[np.int64],
        exact: NDArray[np.bool_],
        normalize: bool,
    ) -> None:
        self.owner = owner
        self.labels = labels
        self.round_lengths = round_lengths
        self.exact = exact
        self.normalize = normalize
        n, n_classes = len(owner), len(labels)
        self.moments = RunningMoments(3 * n)
        self.pending = np.zeros(n)
        self.visits = np.zeros(n_classes, dtype=np.int64)
        self.evaluations = np.zeros(n_classes, dtype=np.int64)
        self.accuracies = np.full(n_classes, np.nan)

    def fold(self, sample: Mapping[str, NDArray[Any]]) -> None:
        """Take in an environment of each class that was visited."""
        owner, visited = self.owner, sample["visited"]
        self.visits = self.visits + visited
        self.evaluations = self.evaluations + sample["evaluations"]
        if self.normalize:
            self.accuracies = sample["accuracies"]
        self.pending = self.pending + sample["values"]
        complete = visited & (self.visits % self.round_lengths == 0)
        x = self.pending / self.round_lengths[owner]
        s = self._class_sums(x)
        # What informs only some players of a class is no observation of their sum.
        observed = (complete & np.isfinite(s))[owner]
        row = np.concatenate([x, s[owner], x + s[owner]])
        count = np.tile(observed, 3)
        self.moments.merge(count.astype(np.int64), np.where(count, row, 0.0), np.zeros(len(row)))
        self.pending = np.where(complete[owner], 0.0, self.pending)

    def estimate(self) -> Estimate:
        """Return the values so far; none of a class before its first round is complete."""
        owner, n = self.owner, len(self.owner)
        count = self.moments.count[:n]
        x, s, _ = self.moments.mean.reshape(3, n)
        variance, of_s, of_both = self.moments.variances().reshape(3, n)
        scale = self._scales()[owner]
        if self.normalize:
            share = np.where(self._scalable()[owner], x / np.where(s == 0, 1.0, s), 0.0)
            covariance = (of_both - variance - of_s) / 2
            variance = variance - 2 * share * covariance + np.square(share) * of_s
            variance = np.square(scale) * np.maximum(variance, 0.0)
        known = count > 0
        certain = known & self.exact[owner]
        return Estimate(
            np.where(known, scale * x, np.nan),
            variance,
            np.where(certain, self.evaluations[owner], count),
            np.where(certain, 0.0, standard_errors(variance, count)),
        )

    def finish(self) -> tuple[Estimate, dict[str, Any]]:
        """Return the values, and the classes with their in-class accuracies."""
        estimate = self.estimate()
        unknown = int(np.isnan(estimate.values).sum())
        if unknown:
            _warn(
                f"{unknown} of {len(estimate.values)} players have no value (NaN): not one round "
                "of the environments of their class was complete"
            )
        extras: dict[str, Any] = {"classes": np.array(self.labels)}
        if self.normalize:
            extras["in_class_accuracy"] = self.accuracies
            worth = np.abs(self.accuracies) + self._class_sums(np.abs(estimate.values))
            for c in np.flatnonzero(~self._scalable() & (worth > 0)):
                _warn(
                    f"the values of class {self.labels[c]!r} sum to 0, so that they cannot be "
                    f"scaled to its in-class accuracy of {self.accuracies[c]:.3g}: they are left "
                    "as they are"
                )
        return estimate, extras

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that `restore` needs."""
        moments = {f"moments.{key}": array for key, array in self.moments.state().items()}
        own = {name: np.array(getattr(self, name)) for name in _STATE}
        return {**moments, **own}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go back to a saved state."""
        self.moments.restore({key: state[f"moments.{key}"] for key in self.moments.state()})
        for name in _STATE:
            setattr(self, name, np.array(state[name]))

    def _class_sums(self, values: FloatArray) -> FloatArray:
        """Return the sum [c] of `values` [n] over the players of each class."""
        return np.bincount(self.owner, values, len(self.labels))

    def _scalable(self) -> NDArray[np.bool_]:
        """Return for which classes [c] the values sum to something."""
        x = self.moments.mean[: len(self.owner)]
        return np.abs(self._class_sums(x)) > ZERO * self._class_sums(np.abs(x))

    def _scales(self) -> FloatArray:
        """Return the factor [c] that makes values sum to the in-class accuracy."""
        scales = np.ones(len(self.labels))
        if self.normalize:
            sums = self._class_sums(self.moments.mean[: len(self.owner)])
            np.divide(self.accuracies, sums, out=scales, where=self._scalable())
        return scales


_STATE = ("pending", "visits", "evaluations", "accuracies")


def _warn(message: str) -> None:
    warnings.warn(message, DvlWarning, stacklevel=4)
