"""Data Banzhaf (Wang & Jia 2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dvl_banzhaf.kernel import KernelBanzhafSampler
from dvl_core.profiles import MethodProfile
from dvl_core.samplers import AdjustedSampler
from dvl_core.semivalues import BanzhafSemivalue
from dvl_core.valuation import SemivalueValuation

if TYPE_CHECKING:
    import os

    from dvl_core.protocols import Backend, Sampler, Store, Utility
    from dvl_core.stopping import StoppingRule

__all__ = ["DataBanzhafValuation"]


class DataBanzhafValuation(SemivalueValuation):
    """The Banzhaf value of each training point, robust against noise in the utility.

    Every other point is in with probability `p`, independently; the value is the mean change of
    the utility when the point joins. Rankings by Banzhaf values change least when training is
    random (Wang & Jia 2023, theorem 4.3).

    Parameters
    ----------
    utility : Utility
        The game; bound to the training data by `fit`.
    sampler : Sampler, optional
        Chooses the coalitions; None: `KernelBanzhafSampler` for p = 1/2, else `AdjustedSampler`.
    stopping : StoppingRule, optional
        None: a default budget of 50 evaluations per player, at least 1,000, which is announced.
    p : float
        Probability in (0, 1) with which another point is in; 1/2 is the Banzhaf value.
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
    Wang, J. T. and Jia, R. (2023). Data Banzhaf: A Robust Data Valuation Framework for Machine
    Learning. AISTATS, definition 4.1.

    Examples
    --------
    >>> from dvl_core import DeterministicUniformSampler
    >>> from dvl_core.games import ShoesGame
    >>> valuation = DataBanzhafValuation(ShoesGame(1, 2), DeterministicUniformSampler())
    >>> valuation.fit().result.values
    array([0.75, 0.25, 0.25])
    """

    algorithm = "banzhaf"
    profile = MethodProfile(
        answers="mean change of the score, over random halves of the others",
        guarantee="consistent, with standard errors",
        cost="one fit informs all rows",
        needs="a utility",
    )

    def __init__(
        self,
        utility: Utility,
        sampler: Sampler | None = None,
        stopping: StoppingRule | None = None,
        *,
        p: float = 0.5,
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
        self.p = BanzhafSemivalue(p).p

    @property
    def semivalue(self) -> BanzhafSemivalue:
        """Banzhaf: the size of the coalition is binomial."""
        return BanzhafSemivalue(self.p)

    def default_sampler(self) -> Sampler:
        """Return the sampler to use when none is given."""
        return KernelBanzhafSampler() if self.p == 0.5 else AdjustedSampler()
