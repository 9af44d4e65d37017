"""Leave-one-out values."""

from __future__ import annotations

from dvl_core.profiles import MethodProfile
from dvl_core.samplers import LOOSampler
from dvl_core.semivalues import LOOSemivalue
from dvl_core.valuation import SemivalueValuation

__all__ = ["LOOValuation"]


class LOOValuation(SemivalueValuation):
    """How much the utility drops when a training point is left out: n + 1 evaluations, exact.

    Cheap, but blind to redundancy: a point with a twin has a value near zero.

    Parameters
    ----------
    utility : Utility
        The game; bound to the training data by `fit`.
    sampler : Sampler, optional
        Chooses the coalitions; None: `LOOSampler`.
    stopping : StoppingRule, optional
        None: stop when all points were left out once.
    seed : int, optional
        Decides the randomness of the model; None: a fresh one, kept in the result.
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
    Cook, R. D. (1977). Detection of Influential Observation in Linear Regression. Technometrics 19.

    Examples
    --------
    >>> from dvl_core.games import AdditiveGame
    >>> LOOValuation(AdditiveGame([1.0, 2.0, -1.0])).fit().result.values
    array([ 1.,  2., -1.])
    """

    algorithm = "loo"
    profile = MethodProfile(
        answers="what the score loses without a row",
        guarantee="exact",
        cost="n + 1 fits",
        needs="a utility",
    )

    @property
    def semivalue(self) -> LOOSemivalue:
        """Leave-one-out: the point joins all the others."""
        return LOOSemivalue()

    def default_sampler(self) -> LOOSampler:
        """Return the sampler to use when none is given."""
        return LOOSampler()
