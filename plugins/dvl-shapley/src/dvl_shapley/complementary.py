"""Complementary contributions (Zhang et al. 2023): a coalition against the rest of the players."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dvl_core.designs.strata import StrataDesign
from dvl_core.errors import UnsupportedSemivalueError
from dvl_core.semivalues import ShapleySemivalue, checked_size_law
from dvl_shapley.samplers import PermutationSampler

if TYPE_CHECKING:
    from dvl_core.protocols import Design, Semivalue

__all__ = ["ComplementarySampler"]


@dataclass(frozen=True)
class ComplementarySampler:
    """Pairs of complements whose sizes are spread evenly; a mean for every player and size.

    What a coalition has more than its complement counts for every member, and with the other sign
    for everybody else. The value is the mean over sizes s of the mean difference of the coalitions
    of size s with the player. Empty strata, and sizes of few coalitions, are dealt with as in
    `OneSampleFitsAllSampler`, whose sizes are drawn where they matter more. Memory is O(n^2), for
    up to 6,000 players.

    References
    ----------
    Zhang, J., Sun, Q., Liu, J., Xiong, L., Pei, J. and Ren, K. (2023). Efficient Sampling
    Approaches to Shapley Value Approximation. SIGMOD, theorem 1 and algorithm 1.

    Examples
    --------
    >>> ComplementarySampler().design(6, ShapleySemivalue()).guarantee
    'consistent'
    """

    def design(self, n_players: int, semivalue: Semivalue) -> Design:
        """Return the design of this sampler; it covers Shapley only."""
        law = checked_size_law(semivalue, n_players)
        if not np.allclose(law, ShapleySemivalue().size_law(n_players), rtol=1e-9, atol=0.0):
            raise UnsupportedSemivalueError(
                f"sampler complementary does not cover semivalue {semivalue.name}: its differences "
                "are those of Shapley values"
            )
        if n_players < 3:
            # One permutation and its reverse tell all there is to know.
            return PermutationSampler().design(n_players, semivalue)
        drawn = np.zeros(n_players + 1)
        drawn[1:-1] = 1 / (n_players - 1)
        return StrataDesign(law, drawn, "complementary", paired=True)
