"""The coalitions of any sampler, kept with their worth."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core.designs.recorded import RecordedDesign
from dvl_core.errors import DvlWarning, UnsupportedSemivalueError
from dvl_core.semivalues import BanzhafSemivalue, LOOSemivalue, ShapleySemivalue
from dvl_core.statistics import Estimate
from dvl_least_core.programme import solve_least_core

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dvl_core.protocols import Design, Guarantee, Sampler

__all__ = ["Constraints", "LeastCoreDesign", "coalitions_of"]


def coalitions_of(sampler: Sampler, n_players: int) -> Design:
    """Return a design of a sampler, for the coalitions that it draws.

    What they are weighed for is of no interest here: the first semivalue that it covers will do.
    """
    for semivalue in (BanzhafSemivalue(), ShapleySemivalue(), LOOSemivalue()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DvlWarning)
            try:
                return sampler.design(n_players, semivalue)
            except UnsupportedSemivalueError as error:
                refusal = error
    raise refusal


@dataclass(frozen=True, eq=False)
class LeastCoreDesign(RecordedDesign):
    """Records what another design evaluates, and solves the least core at the end.

    Parameters
    ----------
    source : Design
        Draws the coalitions.
    non_negative_subsidy : bool
        Require a subsidy of at least 0.
    """

    non_negative_subsidy: bool

    @property
    def guarantee(self) -> Guarantee:
        """Exact if all subsets are constraints, else consistent."""
        n_blocks = self.n_blocks
        every = n_blocks is not None and n_blocks * self.block_evaluations >= 1 << self.n_players
        return "exact" if every else "consistent"

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the coalitions of a block, and what is made of them."""
        return {
            "method": "least-core",
            "source": self.source.identity,
            "non_negative_subsidy": self.non_negative_subsidy,
        }

    def accumulator(self) -> Constraints:
        """Return the constraints, none yet."""
        return Constraints(self.n_players, self.guarantee == "exact", self.non_negative_subsidy)


class Constraints:
    """All coalitions evaluated so far, and what they are worth."""

    def __init__(self, n_players: int, exact: bool, non_negative_subsidy: bool) -> None:
        self.n_players = n_players
        self.exact = exact
        self.non_negative_subsidy = non_negative_subsidy
        self.members = [np.zeros((0, -(-n_players // 8)), dtype=np.uint8)]
        self.values = [np.zeros(0)]
        self.ends = np.full(2, np.nan)
        self.count = 0

    def fold(self, sample: Mapping[str, NDArray[Any]]) -> None:
        """Take in the coalitions of a block."""
        self.members.append(sample["members"])
        self.values.append(sample["values"])
        self.ends = sample["ends"]
        self.count += len(sample["values"])

    def estimate(self) -> Estimate:
        """Return no values yet: they are solved for once, at the end."""
        n = self.n_players
        counts = np.full(n, self.count, dtype=np.int64)
        return Estimate(np.full(n, np.nan), np.zeros(n), counts, np.full(n, np.inf))

    def finish(self) -> tuple[Estimate, dict[str, Any]]:
        """Solve for the values of least norm."""
        n = self.n_players
        packed, first = np.unique(np.concatenate(self.members), axis=0, return_index=True)
        worth = np.concatenate(self.values)[first]
        coalitions = np.unpackbits(packed, axis=1, count=n).astype(bool)
        sizes = coalitions.sum(axis=1)
        proper = (sizes > 0) & (sizes < n)
        empty, full = self.ends
        if self.count == 0 and not np.isfinite(self.ends).all():
            return self.estimate(), {}
        solved = solve_least_core(
            coalitions[proper], worth[proper] - empty, full - empty, self.non_negative_subsidy
        )
        known = bool(np.isfinite(solved.values).all())
        if not known:
            warnings.warn(
                f"the least core of {int(proper.sum()):,} coalitions has no solution "
                f"({solved.status}): evaluate more of them, or a coalition and its complement",
                DvlWarning,
                stacklevel=2,
            )
        counts = np.full(n, int(proper.sum()) if known else 0, dtype=np.int64)
        stderr = np.full(n, 0.0 if known and self.exact else np.inf)
        extras = {
            "subsidy": solved.subsidy,
            "solver_status": solved.status,
            "n_constraints": int(proper.sum()),
        }
        return Estimate(solved.values, np.zeros(n), counts, stderr), extras

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that `restore` needs."""
        return {
            "members": np.concatenate(self.members),
            "values": np.concatenate(self.values),
            "ends": self.ends,
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go back to a saved state."""
        self.members, self.values = [state["members"]], [state["values"]]
        self.ends = state["ends"]
        self.count = len(state["values"])
