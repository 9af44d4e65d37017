"""Group-testing Shapley (Jia et al. 2019a): differences to a player that is worth nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core.designs.draws import uniform_subsets
from dvl_core.errors import UnsupportedSemivalueError
from dvl_core.profiles import MethodProfile
from dvl_core.semivalues import ShapleySemivalue, checked_size_law
from dvl_core.statistics import RowMoments
from dvl_shapley.samplers import PermutationSampler
from dvl_shapley.valuation import DataShapleyValuation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dvl_core.protocols import Accumulator, Design, Guarantee, Semivalue

__all__ = ["GroupTestingSampler", "GroupTestingShapleyValuation"]

COALITIONS_A_BLOCK = 64


@dataclass(frozen=True)
class GroupTestingSampler:
    """Coalitions of all players and one that is worth nothing; members against that one.

    Every coalition informs every player, but through the level of the utility and not through a
    difference: the standard errors are many times those of permutations with as many evaluations.
    Kept for comparison.

    References
    ----------
    Jia, R. et al. (2019). Towards Efficient Data Valuation Based on the Shapley Value. AISTATS,
    algorithm 1.

    Examples
    --------
    >>> GroupTestingSampler().design(5, ShapleySemivalue()).guarantee
    'unbiased'
    """

    def design(self, n_players: int, semivalue: Semivalue) -> Design:
        """Return the design of this sampler; it covers Shapley only."""
        law = checked_size_law(semivalue, n_players)
        if not np.allclose(law, ShapleySemivalue().size_law(n_players), rtol=1e-9, atol=0.0):
            raise UnsupportedSemivalueError(
                f"sampler group-testing does not cover semivalue {semivalue.name}: its differences "
                "are those of Shapley values"
            )
        if n_players == 1:
            # Two evaluations tell its value without error: there is nothing to draw.
            return PermutationSampler().design(1, semivalue)
        return GroupTestingDesign(n_players)


@dataclass(frozen=True)
class GroupTestingDesign:
    """Coalitions S of N = n + 1 players, of size s with probability q(s) ~ 1 / s + 1 / (N - s).

    With Z the sum of 1 / s + 1 / (N - s) over s, Z u(S) (1[i in S] - 1[null in S]) has the mean
    phi_i - phi_null (Jia et al. 2019, lemma 1), and phi_null is 0. The mean of the utilities of
    nobody and of all is subtracted from u, which changes no mean.

    Parameters
    ----------
    n_players : int
        n, at least 2, the null player not among them.
    """

    n_players: int
    n_blocks: None = None
    block_evaluations: int = COALITIONS_A_BLOCK
    guarantee: Guarantee = "unbiased"

    @property
    def size_law(self) -> NDArray[np.float64]:
        """Law [n + 1] of the size of what is evaluated, the null player not counted."""
        n = self.n_players
        sizes, law = self._sizes(), np.zeros(n + 1)
        with_null = sizes / (n + 1)
        law[sizes] += self._size_probabilities() * (1 - with_null)
        law[sizes - 1] += self._size_probabilities() * with_null
        law[[0, n]] = 0.0
        return law / law.sum()

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the coalitions of a block, and what they are folded into."""
        return {
            "sampler": "group-testing",
            "n_players": self.n_players,
            "coalitions_per_block": COALITIONS_A_BLOCK,
        }

    def anchors(self) -> NDArray[np.bool_]:
        """Return the empty and the full coalition [2, n]."""
        return np.array([[False] * self.n_players, [True] * self.n_players])

    def evaluate(
        self,
        block: int,
        utility: Callable[[NDArray[np.bool_]], NDArray[np.float64]],
        rng: np.random.Generator,
        anchor_values: NDArray[np.float64],
    ) -> dict[str, NDArray[Any]]:
        """Draw one block; ``rows`` [b, n] holds an observation of every player's value."""
        n = self.n_players
        cumulative = np.cumsum(self._size_probabilities())
        drawn = np.searchsorted(
            cumulative / cumulative[-1], rng.random(COALITIONS_A_BLOCK), "right"
        )
        members = uniform_subsets(rng, self._sizes()[drawn], n + 1)
        coalitions, null = members[:, :n], members[:, n:]
        sizes = coalitions.sum(axis=1)
        proper = (sizes > 0) & (sizes < n)
        values = np.where(sizes == 0, anchor_values[0], anchor_values[1])
        if proper.any():
            values[proper] = utility(coalitions[proper])
        values = values - anchor_values.mean()
        signs = coalitions.astype(float) - null
        return {"rows": self._total() * values[:, None] * signs}

    def accumulator(self) -> Accumulator:
        """Return means and spreads of the observations."""
        return RowMoments(self.n_players)

    def _sizes(self) -> NDArray[np.int64]:
        return np.arange(1, self.n_players + 1)

    def _weights(self) -> NDArray[np.float64]:
        sizes = self._sizes()
        return 1 / sizes + 1 / (self.n_players + 1 - sizes)

    def _total(self) -> float:
        return float(self._weights().sum())

    def _size_probabilities(self) -> NDArray[np.float64]:
        return self._weights() / self._total()


class GroupTestingShapleyValuation(DataShapleyValuation):
    """Shapley values by group testing: right on average, and very noisy.

    Parameters are those of `DataShapleyValuation`; without a sampler it uses `GroupTestingSampler`.

    References
    ----------
    Jia, R. et al. (2019). Towards Efficient Data Valuation Based on the Shapley Value. AISTATS,
    algorithm 1.

    Examples
    --------
    >>> from dvl_core import MaxEvaluations
    >>> from dvl_core.games import ShoesGame
    >>> game, budget = ShoesGame(1, 2), MaxEvaluations(20_000)
    >>> valuation = GroupTestingShapleyValuation(game, stopping=budget, seed=0)
    >>> result = valuation.fit().result
    >>> bool((abs(result.values - [2 / 3, 1 / 6, 1 / 6]) < 4 * result.stderr).all())
    True
    """

    algorithm = "group-testing-shapley"
    profile = MethodProfile(
        answers="as `shapley`; for comparison only",
        guarantee="unbiased, with standard errors, very large ones",
        cost="one fit informs all rows, but little",
        needs="a utility",
    )

    def default_sampler(self) -> GroupTestingSampler:
        """Return the sampler to use when none is given."""
        return GroupTestingSampler()
