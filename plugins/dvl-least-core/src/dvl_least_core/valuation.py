"""The least core (Yan & Procaccia 2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dvl_core.profiles import MethodProfile
from dvl_core.samplers import AntitheticSampler
from dvl_core.valuation import UtilityValuation
from dvl_least_core.design import LeastCoreDesign, coalitions_of

if TYPE_CHECKING:
    import os

    from dvl_core.protocols import Backend, Sampler, Store, Utility
    from dvl_core.stopping import StoppingRule

__all__ = ["LeastCoreValuation"]


class LeastCoreValuation(UtilityValuation):
    """Values that sum to the worth of all points and pay every coalition what it could get alone.

    That is rarely possible for all, so each coalition may be paid less by up to a subsidy e, as
    small as can be; of the solutions, the one of least norm is taken (the egalitarian least core).
    The worth of a coalition is its utility minus that of the empty one.

    Parameters
    ----------
    utility : Utility
        The game; bound to the training data by `fit`.
    sampler : Sampler, optional
        Its coalitions are the constraints. None: `AntitheticSampler`, which draws every coalition
        with its complement, so that there is a solution. `DeterministicUniformSampler`: all
        coalitions, exact.
    stopping : StoppingRule, optional
        None: a default budget of 50 evaluations per player, at least 1,000, which is announced.
    non_negative_subsidy : bool
        Require e >= 0, although a negative one would do.
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

    References
    ----------
    Yan, T. and Procaccia, A. D. (2021). If You Like Shapley Then You'll Love the Core. AAAI,
    section 3.

    Examples
    --------
    >>> from dvl_core import DeterministicUniformSampler
    >>> from dvl_core.games import ShoesGame
    >>> result = LeastCoreValuation(ShoesGame(1, 2), DeterministicUniformSampler()).fit().result
    >>> abs(result.values.round(6)), abs(round(result.extras["subsidy"], 6))
    (array([1., 0., 0.]), 0.0)
    """

    algorithm = "least-core"
    profile = MethodProfile(
        answers="values that leave every coalition as little reason as possible to walk away",
        guarantee=(
            "exact for the coalitions evaluated, consistent as they grow; no standard errors"
        ),
        cost="one fit, one constraint",
        needs="a utility",
    )

    def __init__(
        self,
        utility: Utility,
        sampler: Sampler | None = None,
        stopping: StoppingRule | None = None,
        *,
        non_negative_subsidy: bool = False,
        seed: int | None = None,
        backend: Backend | None = None,
        store: Store | None = None,
        progress: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(
            utility,
            sampler,
            stopping,
            seed=seed,
            backend=backend,
            store=store,
            progress=progress,
            checkpoint=checkpoint,
        )
        self.non_negative_subsidy = non_negative_subsidy

    def design(self, n_players: int) -> LeastCoreDesign:
        """Return the design that `fit` runs for that many players."""
        source = coalitions_of(self.sampler or AntitheticSampler(), n_players)
        return LeastCoreDesign(source, self.non_negative_subsidy)
