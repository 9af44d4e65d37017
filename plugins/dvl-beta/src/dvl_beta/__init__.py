"""Beta Shapley (Kwon & Zou 2022)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dvl_core.profiles import MethodProfile
from dvl_core.samplers import AdjustedSampler
from dvl_core.semivalues import BetaSemivalue
from dvl_core.valuation import SemivalueValuation

if TYPE_CHECKING:
    import os

    from dvl_core.protocols import Backend, Sampler, Store, Utility
    from dvl_core.stopping import StoppingRule

__all__ = ["BetaShapleyValuation"]


class BetaShapleyValuation(SemivalueValuation):
    """Shapley with other weights on small and large coalitions.

    A larger `alpha` weighs small coalitions more, where a single point matters and noise in the
    score of a well-trained model does not; Beta(1, 1) is Shapley. Values do not add up to the score
    unless alpha = beta = 1.

    Parameters
    ----------
    utility : Utility
        The game; bound to the training data by `fit`.
    sampler : Sampler, optional
        Chooses the coalitions; None: `AdjustedSampler`.
    stopping : StoppingRule, optional
        None: a default budget of 50 evaluations per player, at least 1,000, which is announced.
    alpha, beta : float
        Positive shape parameters.
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
    Kwon, Y. and Zou, J. (2022). Beta Shapley: a Unified and Noise-reduced Data Valuation Framework
    for Machine Learning. AISTATS, eq. 5.

    Examples
    --------
    >>> from dvl_core import DeterministicUniformSampler
    >>> from dvl_core.games import ShoesGame
    >>> exact = DeterministicUniformSampler()
    >>> BetaShapleyValuation(ShoesGame(1, 2), exact, alpha=1, beta=1).fit().result.values.round(4)
    array([0.6667, 0.1667, 0.1667])
    """

    algorithm = "beta-shapley"
    profile = MethodProfile(
        answers="mean change of the score, small coalitions weighing more",
        guarantee="consistent, with standard errors; unbiased with marginals",
        cost="one fit informs all rows",
        needs="a utility",
    )

    def __init__(
        self,
        utility: Utility,
        sampler: Sampler | None = None,
        stopping: StoppingRule | None = None,
        *,
        alpha: float = 4.0,
        beta: float = 1.0,
        seed: int | None = None,
        backend: Backend | None = None,
        store: Store | None = None,
        progress: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
        keep_history: bool = False,
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
            keep_history=keep_history,
        )
        self._semivalue = BetaSemivalue(alpha, beta)
        self.alpha = alpha
        self.beta = beta

    @property
    def semivalue(self) -> BetaSemivalue:
        """Beta(alpha, beta): the size of the coalition is beta-binomial."""
        return self._semivalue

    def default_sampler(self) -> AdjustedSampler:
        """Return the sampler to use when none is given."""
        return AdjustedSampler()
