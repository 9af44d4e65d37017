"""The adjusted means of very many players: nothing is kept but a few blocks and running means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core.designs.adjusted import end_values, factors_by_size
from dvl_core.designs.enumeration import without_sizes
from dvl_core.designs.kept_sample import warn_of_too_few
from dvl_core.designs.proxies import SizeMoments, SizeProxy
from dvl_core.designs.sized import evaluated, sized_coalitions, units_a_block
from dvl_core.statistics import Estimate, RunningMoments

if TYPE_CHECKING:
    from collections.abc import Callable

    from dvl_core.protocols import AnyArray, BoolArray, FloatArray, Guarantee

__all__ = ["StreamingAdjustedDesign"]

FIRST_BLOCKS = 8
"""Held back until a function of the size can be fitted to all of them but one."""
BLOCKS_A_FIT = 8
"""The function is fitted anew after so many: it hardly changes in between."""


@dataclass(frozen=True, eq=False)
class StreamingAdjustedDesign:
    """Coalitions by size; weighted means of what a function of the size leaves unexplained.

    The function that is subtracted from a block is fitted to blocks before it, for each of the
    first few to the others of them, so that it does not depend on what it is subtracted from.
    Memory is O(n), whatever the number of evaluations.

    Parameters
    ----------
    law : float array [n]
        Size law of the semivalue.
    drawn : float array [n + 1]
        Size law of the coalitions.
    sampler : str
        Name of the sampler, part of the identity.
    """

    law: FloatArray
    drawn: FloatArray
    sampler: str
    guarantee: Guarantee = "consistent"
    n_blocks: None = None

    @property
    def n_players(self) -> int:
        """Number of players."""
        return len(self.law)

    @property
    def block_evaluations(self) -> int:
        """The most utility values that one block uses."""
        return units_a_block(self.n_players, paired=False)

    @property
    def size_law(self) -> FloatArray:
        """Law [n + 1] of the size of what is evaluated: the ends are anchors."""
        return without_sizes(self.drawn, [0, self.n_players])

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the coalitions of a block, and what they are folded into."""
        laws = [self.law.tobytes().hex(), self.drawn.tobytes().hex()]
        return {"sampler": self.sampler, "units_per_block": self.block_evaluations, "laws": laws}

    def anchors(self) -> BoolArray:
        """Return the empty and the full coalition [2, n]."""
        return np.array([[False] * self.n_players, [True] * self.n_players])

    def evaluate(
        self,
        block: int,
        utility: Callable[[BoolArray], FloatArray],
        rng: np.random.Generator,
        anchor_values: FloatArray,
    ) -> dict[str, AnyArray]:
        """Draw one block; ``members`` [u, 1, n / 8] (packed bits), ``values`` [u, 1], ``ends``."""
        drawn = sized_coalitions(rng, self.drawn, self.block_evaluations)
        return evaluated(drawn, False, utility, anchor_values)

    def accumulator(self) -> _Stream:
        """Return the running means of the blocks."""
        return _Stream(self.law, self.drawn)


class _Stream(RunningMoments):
    """Means over blocks, and the function of the size fitted so far."""

    def __init__(self, law: FloatArray, drawn: FloatArray) -> None:
        super().__init__(len(law))
        self.law = law
        self.factors = factors_by_size(law, drawn)
        self.first: list[Mapping[str, AnyArray]] = []
        self.moments: SizeMoments | None = None
        self.by_size = np.zeros(len(law) + 1)
        self.since_fit = 0

    def fold(self, sample: Mapping[str, AnyArray]) -> None:
        """Take in a block, or hold it back."""
        if self.moments is None:
            self.first.append(sample)
            if len(self.first) == FIRST_BLOCKS:
                self._fold_first()
            return
        if self.since_fit == BLOCKS_A_FIT:
            self._fit(self.moments)
        self._add(sample, SizeProxy(self.by_size))
        self._learn(self.moments, sample)
        self.since_fit += 1

    def finish(self) -> tuple[Estimate, dict[str, Any]]:
        """Return the estimate, with whatever was held back."""
        if self.moments is None and len(self.first) > 1:
            self._fold_first()
        elif self.first:
            evaluated_so_far = len(self.first[0]["values"])
            warn_of_too_few(evaluated_so_far, 2 * evaluated_so_far, len(self.law))
        return self.estimate(), {}

    def _fold_first(self) -> None:
        """Take in what was held back, subtracting from each block what the others tell."""
        n, ends = len(self.law), self.first[0]["ends"]
        for number, sample in enumerate(self.first):
            others = SizeMoments(ends, n)
            for other in self.first[:number] + self.first[number + 1 :]:
                self._learn(others, other)
            self._add(sample, others.fit())
        self.moments = SizeMoments(ends, n)
        for sample in self.first:
            self._learn(self.moments, sample)
        self._fit(self.moments)
        self.first = []

    def _fit(self, moments: SizeMoments) -> None:
        self.by_size, self.since_fit = moments.fit().by_size, 0

    def _learn(self, moments: SizeMoments, sample: Mapping[str, AnyArray]) -> None:
        moments.add(self._members(sample).sum(axis=1, dtype=np.int64), sample["values"][:, 0])

    def _add(self, sample: Mapping[str, AnyArray], fitted: SizeProxy) -> None:
        """Add the mean of a block, one observation of every value."""
        members = self._members(sample)
        sizes = members.sum(axis=1, dtype=np.int64)
        residuals = sample["values"][:, 0] - fitted.by_size[sizes]
        member, outsider = self.factors[:, sizes] * residuals / len(residuals)
        missed = sample["ends"] - fitted.by_size[[0, -1]]
        known = fitted.semivalue(self.law) + end_values(self.law, missed)
        self.add_rows(((member - outsider) @ members + outsider.sum() + known)[None, :])

    def _members(self, sample: Mapping[str, AnyArray]) -> AnyArray:
        return np.unpackbits(sample["members"][:, 0], axis=1, count=len(self.law))

    def state(self) -> dict[str, AnyArray]:
        """Return the arrays that `restore` needs."""
        state = super().state()
        if self.moments is not None:
            fitted = {"by_size": self.by_size, "since_fit": np.array(self.since_fit)}
            return state | fitted | {"gram": self.moments.gram, "moments": self.moments.moments}
        held: dict[str, AnyArray] = {}
        for number, sample in enumerate(self.first):
            held |= {f"first{number}.{name}": array for name, array in sample.items()}
        return state | held

    def restore(self, state: Mapping[str, AnyArray]) -> None:
        """Go back to a saved state."""
        super().restore(state)
        if "gram" in state:
            self.moments = SizeMoments(np.zeros(2), len(self.law))
            self.moments.gram = np.array(state["gram"])
            self.moments.moments = np.array(state["moments"])
            self.by_size, self.since_fit = np.array(state["by_size"]), int(state["since_fit"])
        names = ("members", "values", "ends")
        numbers = range(sum(key.endswith(".values") for key in state))
        self.first = [{k: state[f"first{number}.{k}"] for k in names} for number in numbers]
