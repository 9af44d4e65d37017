"""Blocks of base models: each predicts the rows that it was not trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core.statistics import RunningMoments

if TYPE_CHECKING:
    from dvl_core.protocols import AnyArray, BoolArray, FloatArray, Guarantee

__all__ = ["OOBDesign"]

MODELS_A_BLOCK = 8

PointwiseScore = Callable[[Any, Any], Any]


@dataclass(frozen=True, eq=False)
class OOBDesign:
    """Mean score of each row over the base models that did not see it.

    Only sums over models are kept, never predictions: memory does not grow with the ensemble.

    Parameters
    ----------
    models : sequence of estimators
        The fitted base models.
    samples : sequence of int arrays
        Rows that each was trained on.
    features : sequence of int arrays, optional
        Columns that each was trained on; None: all.
    classes : array, optional
        Labels that the numbers predicted by the base models stand for; None for regression.
    x : array [n, d]
        Features, in the layout that the base models take.
    y : array [n]
        Targets.
    score : callable
        ``score(y_true, y_predicted)`` gives one number per row.
    content : str
        Digest of what decides the values, for the identity.
    """

    models: Sequence[Any]
    samples: Sequence[AnyArray]
    features: Sequence[AnyArray] | None
    classes: AnyArray | None
    x: AnyArray
    y: AnyArray
    score: PointwiseScore
    content: str
    guarantee: Guarantee = "unbiased"
    block_evaluations: int = 0

    @property
    def n_players(self) -> int:
        """Number of training rows."""
        return len(self.y)

    @property
    def n_blocks(self) -> int:
        """Blocks until all base models were asked."""
        return -(-len(self.models) // MODELS_A_BLOCK)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the values."""
        return {
            "method": "oob",
            "content": self.content,
            "n_players": self.n_players,
            "n_models": len(self.models),
            "models_per_block": MODELS_A_BLOCK,
        }

    def anchors(self) -> BoolArray:
        """Return no coalitions: the base models are trained already."""
        return np.zeros((0, self.n_players), dtype=bool)

    def evaluate(
        self,
        block: int,
        utility: Callable[[BoolArray], FloatArray],
        rng: np.random.Generator,
        anchor_values: FloatArray,
    ) -> dict[str, AnyArray]:
        """Return counts, means and squared deviations [n] of the scores by a few base models."""
        moments = RunningMoments(self.n_players)
        first = block * MODELS_A_BLOCK
        for number in range(first, min(first + MODELS_A_BLOCK, len(self.models))):
            unseen = np.ones(self.n_players, dtype=bool)
            unseen[self.samples[number]] = False
            rows = np.flatnonzero(unseen)
            if len(rows):
                moments.add_observations(rows, self._scores(number, rows))
        return moments.state()

    def _scores(self, number: int, rows: AnyArray) -> FloatArray:
        """Return the scores of one base model on some rows."""
        x = self.x[rows]
        if self.features is not None:
            x = x[:, self.features[number]]
        predicted = self.models[number].predict(x)
        if self.classes is not None:
            predicted = self.classes[np.asarray(predicted).astype(np.intp)]
        scores = np.asarray(self.score(self.y[rows], predicted), dtype=float)
        if scores.shape != rows.shape or not np.isfinite(scores).all():
            raise ValueError(
                f"score must return one finite number per row: got shape {scores.shape} for "
                f"{len(rows)} rows"
            )
        return scores

    def accumulator(self) -> _ScoreMoments:
        """Return the moments of the scores."""
        return _ScoreMoments(self.n_players)


class _ScoreMoments(RunningMoments):
    """Moments over base models."""

    def fold(self, sample: Mapping[str, AnyArray]) -> None:
        """Take in the moments of a block."""
        self.merge(sample["count"], sample["mean"], sample["m2"])
