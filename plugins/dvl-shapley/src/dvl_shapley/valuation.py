"""Data Shapley (Ghorbani & Zou 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dvl_core.profiles import MethodProfile
from dvl_core.samplers import AdjustedSampler
from dvl_core.semivalues import ShapleySemivalue
from dvl_core.valuation import SemivalueValuation

if TYPE_CHECKING:
    from dvl_core.protocols import Sampler

__all__ = ["DataShapleyValuation"]


class DataShapleyValuation(SemivalueValuation):
    """The Shapley value of each training point: its mean marginal contribution to the utility.

    The mean is over all orders in which the points can join. Without a sampler, coalitions are
    drawn by size, in pairs of complements, and what an additive game and the size leave unexplained
    is averaged: on data games the squared errors are a fraction of those of permutations with as
    many evaluations.

    Parameters
    ----------
    utility : Utility
        The game; bound to the training data by `fit`.
    sampler : Sampler, optional
        Chooses the coalitions; None: `AdjustedSampler`.
    stopping : StoppingRule, optional
        None: a default budget of 50 evaluations per player, at least 1,000, which is announced.
    seed : int, optional
        Decides all randomness; None: a fresh one, kept in the result.
    backend : Backend, optional
        Where evaluations run; None: the active ``joblib.parallel_config`` if there is one.
    store : Store, optional
        Ledger of utility values; None: that of the utility, if it has one.
    progress : bool
        Show a progress bar on stderr, if that is a terminal.
    checkpoint : path, optional
        File to resume from and to save the state of the run to.
    keep_history : bool
        Keep the values as the run goes on, in the extras of the result.

    References
    ----------
    Ghorbani, A. and Zou, J. (2019). Data Shapley: Equitable Valuation of Data for Machine
    Learning. ICML, eq. 1.

    Examples
    --------
    >>> from dvl_core import DeterministicUniformSampler
    >>> from dvl_core.games import ShoesGame
    >>> valuation = DataShapleyValuation(ShoesGame(1, 2), DeterministicUniformSampler())
    >>> valuation.fit().result.values.round(4)
    array([0.6667, 0.1667, 0.1667])
    """

    algorithm = "shapley"
    profile = MethodProfile(
        answers="mean change of the score, over all orders of joining",
        guarantee="consistent, with standard errors; unbiased with permutations",
        cost="one fit informs all rows",
        needs="a utility",
    )

    @property
    def semivalue(self) -> ShapleySemivalue:
        """Shapley: every coalition size has the same weight."""
        return ShapleySemivalue()

    def default_sampler(self) -> Sampler:
        """Return the sampler to use when none is given."""
        return AdjustedSampler()
