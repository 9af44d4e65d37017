"""The least core of coalitions that another run evaluated."""

from __future__ import annotations

import numpy as np

from dvl_core.result import ValuationResult
from dvl_core.result_revalue import RecordedGame
from dvl_least_core.design import Constraints

__all__ = ["least_core_of"]


def least_core_of(
    result: ValuationResult, *, non_negative_subsidy: bool = False
) -> ValuationResult:
    """Return the least core of the coalitions in the record of a result; nothing is trained.

    Parameters
    ----------
    result : ValuationResult
        Of a run whose sampler was a `RecordingSampler`.
    non_negative_subsidy : bool
        Require a subsidy of at least 0.

    Raises
    ------
    ResultError
        If the result has no record.

    Warns
    -----
    DvlWarning
        If there is no solution; the values are NaN then.

    Examples
    --------
    >>> from dvl_core import DeterministicUniformSampler, RecordingSampler
    >>> from dvl_core.games import ShoesGame
    >>> from dvl_shapley import DataShapleyValuation
    >>> sampler = RecordingSampler(DeterministicUniformSampler())
    >>> shapley = DataShapleyValuation(ShoesGame(1, 2), sampler).fit().result
    >>> abs(least_core_of(shapley).values.round(6))
    array([1., 0., 0.])
    """
    game = RecordedGame.of(result)
    n = game.coalitions.shape[1]
    members = np.packbits(game.coalitions, axis=1)
    every = len(np.unique(members, axis=0)) + 2 == 1 << n
    constraints = Constraints(n, every, non_negative_subsidy)
    constraints.fold({"members": members, "values": game.values, "ends": game.ends})
    estimate, extras = constraints.finish()
    record = {k: v for k, v in result.extras.items() if k.startswith("record_")}
    guarantee = "exact" if every else "consistent"
    return result.replaced(
        values=estimate.values[result.indices],
        stderr=estimate.stderr[result.indices],
        variances=estimate.variances[result.indices],
        counts=estimate.counts[result.indices],
        converged=np.full(len(result), every),
        algorithm="least-core",
        n_computed=0,
        stop_reason=f"made of the evaluations of {result.algorithm}",
        extras={"guarantee": guarantee, **extras, **record},
    )
