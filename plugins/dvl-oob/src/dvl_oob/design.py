"""Blocks of base models: each predicts the rows that it was not trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core.errors import InvalidOptionError
from dvl_core.statistics import RunningMoments

if TYPE_CHECKING:
    from dvl_core.protocols import AnyArray, BoolArray, FloatArray, Guarantee, IntArray
    from dvl_oob.ensembles import BaseModels
    from dvl_oob.scores import PointScore

__all__ = ["OOBDesign"]

MODELS_A_BLOCK = 8
NUMBERS_A_CALL = 4_000_000
"""Features that a base model is handed at a time."""


@dataclass(frozen=True, eq=False)
class OOBDesign:
    """Mean score of each player over the base models that did not see it.

    Only sums over models are kept, never predictions: memory does not grow with the ensemble.

    Parameters
    ----------
    models : BaseModels
        The fitted base models.
    score : PointScore
        Judges them on rows.
    n_players : int
        Number of rows, or of groups.
    groups : int array [n_rows], optional
        Player that each row belongs to; None: rows are the players.
    whole_groups : bool
        Count a row as out of bag only if no row of its group is in the bag.
    content : str
        Digest of what decides the values, for the identity.
    """

    models: BaseModels
    score: PointScore
    n_players: int
    groups: IntArray | None
    whole_groups: bool
    content: str
    guarantee: Guarantee = "unbiased"
    block_evaluations: int = 0

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
        moments = _ScoreMoments(self.n_players)
        first = block * MODELS_A_BLOCK
        for number in range(first, min(first + MODELS_A_BLOCK, len(self.models))):
            moments.add_once(*self._observations(number))
        return moments.state()

    def _observations(self, number: int) -> tuple[IntArray, FloatArray]:
        """Return the players that a base model can judge, and one observation of each."""
        unseen = self.models.out_of_bag(number)
        if self.groups is not None and self.whole_groups:
            seen = np.bincount(self.groups[~unseen], minlength=self.n_players) > 0
            unseen = ~seen[self.groups]
        rows = np.flatnonzero(unseen)
        scores = self._scores(number, rows)
        if self.groups is None:
            return rows, scores
        counts = np.bincount(self.groups[rows], minlength=self.n_players)
        sums = np.bincount(self.groups[rows], scores, self.n_players)
        players = np.flatnonzero(counts)
        return players, sums[players] / counts[players]

    def _scores(self, number: int, rows: IntArray) -> FloatArray:
        """Return the scores of one base model on some rows."""
        scores = np.empty(len(rows))
        step = max(1, int(NUMBERS_A_CALL / self.models.row_cost))
        for start in range(0, len(rows), step):
            few = rows[start : start + step]
            found = self.score(self.models[number], self.models.features(number, few), few)
            if np.shape(found) != few.shape or not np.isfinite(found).all():
                raise InvalidOptionError(
                    "score must give one finite number per row: got an array of shape "
                    f"{np.shape(found)} for {len(few)} rows"
                )
            scores[start : start + step] = found
        return scores

    def accumulator(self) -> _ScoreMoments:
        """Return the moments of the scores."""
        return _ScoreMoments(self.n_players)


class _ScoreMoments(RunningMoments):
    """Moments over base models."""

    def add_once(self, players: IntArray, observations: FloatArray) -> None:
        """Take in one observation each of some players, by the update of Welford (1962)."""
        count = self.count[players] + 1
        mean = self.mean[players]
        deviation = observations - mean
        mean = mean + deviation / count
        self.m2[players] += deviation * (observations - mean)
        self.mean[players] = mean
        self.count[players] = count

    def fold(self, sample: Mapping[str, AnyArray]) -> None:
        """Take in the moments of a block."""
        self.merge(sample["count"], sample["mean"], sample["m2"])
