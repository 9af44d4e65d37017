"""delta-Shapley (Watson et al. 2023): Shapley over some sizes of the coalition only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dvl_core.errors import InvalidOptionError
from dvl_core.profiles import MethodProfile
from dvl_core.samplers import AdjustedSampler
from dvl_core.valuation import SemivalueValuation

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from dvl_core.protocols import Backend, Sampler, Store, Utility
    from dvl_core.stopping import StoppingRule

__all__ = ["DeltaShapleySemivalue", "DeltaShapleyValuation"]


@dataclass(frozen=True)
class DeltaShapleySemivalue:
    """Every size from `lower` to `upper` is equally likely, no other occurs.

    Parameters
    ----------
    lower : int
        Smallest size of the coalition that a player joins.
    upper : int, optional
        Largest size; None: half of the other players.

    Examples
    --------
    >>> DeltaShapleySemivalue(1, 2).size_law(5)
    array([0. , 0.5, 0.5, 0. , 0. ])
    """

    lower: int = 0
    upper: int | None = None

    def __post_init__(self) -> None:
        if self.lower < 0 or (self.upper is not None and self.upper < self.lower):
            raise InvalidOptionError(
                f"lower and upper must satisfy 0 <= lower <= upper, got {self.lower} and "
                f"{self.upper}"
            )

    @property
    def name(self) -> str:
        """How results name it."""
        return f"delta-shapley({self.lower}..{'half' if self.upper is None else self.upper})"

    def size_law(self, n_players: int) -> NDArray[np.float64]:
        """Return p [n].

        Raises
        ------
        InvalidOptionError
            If a size is larger than the number of other players.
        """
        upper = max(self.lower, (n_players - 1) // 2) if self.upper is None else self.upper
        if upper > n_players - 1:
            raise InvalidOptionError(
                f"delta-Shapley up to size {upper} needs at least {upper + 1} players, the game "
                f"has {n_players}"
            )
        law = np.zeros(n_players)
        law[self.lower : upper + 1] = 1.0
        return law / law.sum()


class DeltaShapleyValuation(SemivalueValuation):
    """Mean marginal contribution to coalitions of `lower` to `upper` points.

    Marginals shrink with the size of the coalition; leaving the large ones out saves the dearest
    trainings. The mean is over the layers that are kept, not over all n: against the Shapley value
    it lacks what the other layers contribute, and it weighs those that are kept by n / (upper -
    lower + 1). Values do not add up to the score.

    Parameters
    ----------
    utility : Utility
        The game; bound to the training data by `fit`.
    sampler : Sampler, optional
        Chooses the coalitions; None: `AdjustedSampler`, whose coalitions inform all points. The
        marginals of `MatchedSampler` have several times its squared error on data games.
    stopping : StoppingRule, optional
        None: a default budget of 50 evaluations per player, at least 1,000, which is announced.
    lower : int
        Smallest size of the coalition that a point joins.
    upper : int, optional
        Largest size; None: half of the other points.
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
    Watson, L. et al. (2023). Accelerated Shapley Value Approximation for Data Evaluation.
    arXiv:2311.05346, definition 3.

    Examples
    --------
    >>> from dvl_core import DeterministicUniformSampler
    >>> from dvl_core.games import SizeGame
    >>> game, exact = SizeGame(6), DeterministicUniformSampler()
    >>> DeltaShapleyValuation(game, exact, lower=1, upper=3).fit().result.values.round(6)
    array([4., 4., 4., 4., 4., 4.])
    """

    algorithm = "delta-shapley"
    profile = MethodProfile(
        answers="mean change of the score over coalitions of chosen sizes",
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
        lower: int = 0,
        upper: int | None = None,
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
        self._semivalue = DeltaShapleySemivalue(lower, upper)
        self.lower = lower
        self.upper = upper

    @property
    def semivalue(self) -> DeltaShapleySemivalue:
        """Uniform over the sizes from lower to upper."""
        return self._semivalue

    def default_sampler(self) -> AdjustedSampler:
        """Return the sampler to use when none is given."""
        return AdjustedSampler()
