"""Neyman allocation: more samples at the sizes at which a pilot finds marginals to vary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core.designs import MarginalDesign
from dvl_core.designs.draws import SizedSubsets

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dvl_core.designs.marginals import PlayerOrder
    from dvl_core.protocols import Accumulator, Guarantee

    FloatArray = NDArray[np.float64]
    BoolArray = NDArray[np.bool_]

__all__ = ["NeymanDesign"]

PILOT_SIZES = 10
PILOT_SEED = 0
"""The pilot is the same for all seeds: what it finds does not depend on what is drawn later."""
LEAST_SHARE = 0.2
"""Of the draws follow the semivalue's own law, so that no weight exceeds 1 / LEAST_SHARE."""


@dataclass(frozen=True, eq=False)
class NeymanDesign:
    """Marginals over subsets whose size k is drawn in proportion to p(k) times their spread at k.

    The spread is the root mean square of a few marginals at some sizes, measured once in the block
    of the anchors, smoothed and interpolated (Neyman 1934, for draws weighted by p / q).

    Parameters
    ----------
    wanted : float array [n]
        Size law p of the semivalue.
    n_sizes : int
        Coalitions drawn together for a player.
    n_pilot : int
        Marginals of the pilot at each of its sizes.
    order : str
        As of `MarginalDesign`.
    """

    wanted: FloatArray
    n_sizes: int
    n_pilot: int
    order: PlayerOrder = "in-turn"
    n_blocks: None = None
    guarantee: Guarantee = "unbiased"

    @property
    def n_players(self) -> int:
        """Number of players."""
        return len(self.wanted)

    @property
    def block_evaluations(self) -> int:
        """The most utility values that one block uses."""
        return self._drawing(self.wanted).block_evaluations

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the coalitions of a block, and what they are folded into."""
        return {
            "sampler": "stratified",
            "sizes": "neyman",
            "n_sizes": self.n_sizes,
            "n_pilot": self.n_pilot,
            "order": self.order,
            "wanted": self.wanted.tobytes().hex(),
        }

    def anchors(self) -> BoolArray:
        """Return the coalitions [a, n] of the pilot, and the ends that the draws can meet."""
        return self._pilot[0]

    def evaluate(
        self,
        block: int,
        utility: Callable[[BoolArray], FloatArray],
        rng: np.random.Generator,
        anchor_values: FloatArray,
    ) -> dict[str, NDArray[Any]]:
        """Draw one block by the law that the pilot suggests; as `MarginalDesign.evaluate`."""
        _, ends, _ = self._pilot
        drawing = self._drawing(self.allocated(anchor_values))
        return drawing.evaluate(block, utility, rng, anchor_values[ends])

    def allocated(self, anchor_values: FloatArray) -> FloatArray:
        """Return the law [n] of the sizes to draw, given the utilities [a] of the anchors."""
        _, _, pairs = self._pilot
        values = anchor_values[pairs]
        spread = np.sqrt(np.square(values[0] - values[1]).mean(axis=1))
        padded = np.concatenate([spread[:1], spread, spread[-1:]])
        smooth = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
        sizes = np.log1p(np.arange(self.n_players))
        interpolated = np.interp(sizes, sizes[self._pilot_sizes], smooth)
        law = self.wanted * interpolated
        if law.sum() <= 0:
            return self.wanted
        return (1 - LEAST_SHARE) * law / law.sum() + LEAST_SHARE * self.wanted

    def accumulator(self) -> Accumulator:
        """Return means and spreads of the marginals."""
        return self._drawing(self.wanted).accumulator()

    def _drawing(self, law: FloatArray) -> MarginalDesign:
        """Return the design that draws sizes by a law."""
        weights = np.divide(self.wanted, law, out=np.zeros_like(law), where=law > 0)
        draw = SizedSubsets(law, self.n_sizes)
        return MarginalDesign(weights, draw, "stratified", order=self.order)

    @property
    def _pilot_sizes(self) -> NDArray[np.int64]:
        """Sizes that the pilot looks at, ever wider apart."""
        possible = np.flatnonzero(self.wanted)
        steps = np.geomspace(possible[0] + 1, possible[-1] + 1, PILOT_SIZES)
        return np.unique(np.rint(steps).astype(np.int64) - 1)

    @cached_property
    def _pilot(self) -> tuple[BoolArray, NDArray[np.int64], NDArray[np.int64]]:
        """The anchors [a, n], the numbers of the ends, and of the pairs [2, sizes, n_pilot]."""
        rng = np.random.default_rng(PILOT_SEED)
        ends = self._drawing(self.wanted).anchors()
        pairs = []
        for size in self._pilot_sizes:
            law = np.zeros(self.n_players)
            law[size] = 1.0
            players = rng.integers(self.n_players, size=self.n_pilot)
            without = SizedSubsets(law)(rng, players, self.n_players)[0]
            with_player = without.copy()
            with_player[np.arange(self.n_pilot), players] = True
            pairs.append([with_player, without])
        shape = (2, len(pairs), self.n_pilot)
        asked = np.array(pairs).swapaxes(0, 1).reshape(-1, self.n_players)
        distinct, place = np.unique(np.concatenate([ends, asked]), axis=0, return_inverse=True)
        place = place.ravel().astype(np.int64)
        return distinct, place[: len(ends)], place[len(ends) :].reshape(shape)
