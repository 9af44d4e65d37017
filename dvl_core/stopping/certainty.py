"""Rules that answer "is it known yet?": errors against the spread, signs, the set of the worst."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.special import stdtrit

from dvl_core.errors import InvalidOptionError
from dvl_core.stopping.convergence import check_share
from dvl_core.stopping.rules import Progress, StoppingRule, Verdict

if TYPE_CHECKING:
    from dvl_core.protocols import BoolArray, FloatArray
    from dvl_core.statistics import Estimate

__all__ = ["RelativeStandardError", "SignCertainty", "StableSet"]


class RelativeStandardError(StoppingRule):
    """Stop when standard errors are small against the differences between players.

    What decides whether a ranking can be trusted, whatever the unit of the utility. The spread is
    that of the true values as far as it can be told: the variance of the estimates less the mean
    square of their standard errors.

    Parameters
    ----------
    tolerance : float
        Standard errors as a share of the spread.
    fraction : float
        Share of the players for which this must hold.
    burn_in : int
        Updates before a standard error is believed.

    Examples
    --------
    >>> RelativeStandardError(0.1)
    RelativeStandardError(tolerance=0.1)
    """

    def __init__(self, tolerance: float, fraction: float = 1.0, burn_in: int = 10) -> None:
        if not tolerance > 0:
            raise InvalidOptionError(f"tolerance must be positive, got {tolerance}")
        check_share("fraction", fraction)
        self.tolerance = float(tolerance)
        self.fraction = float(fraction)
        self.burn_in = int(burn_in)

    def check(self, progress: Progress) -> Verdict:
        """Return whether enough standard errors are small against the spread."""
        estimate = progress.estimate
        noise = float(np.square(estimate.stderr).mean())
        # Values that are not known yet are NaN, and so is what follows: no player is certain then.
        with np.errstate(invalid="ignore"):
            spread = np.sqrt(max(float(np.var(estimate.values)) - noise, 0.0))
        small = estimate.stderr <= self.tolerance * spread
        certain = small & (estimate.counts >= self.burn_in)
        share = float(certain.mean())
        reason = (
            f"standard errors of {self.fraction:.0%} of the players are below {self.tolerance:g} "
            "of the spread of the values"
        )
        return Verdict(share >= self.fraction, reason, certain, min(1.0, share / self.fraction))


class SignCertainty(StoppingRule):
    """Stop when it is known of enough players whether they help or harm.

    A sign is certain if the confidence interval of the player, by Student's t, lies on one side of
    zero; levels are per player.

    Parameters
    ----------
    level : float
        Confidence, in (0, 1).
    fraction : float
        Share of the players for which this must hold; players worth nothing never come to it.
    burn_in : int
        Updates before a standard error is believed.

    Examples
    --------
    >>> SignCertainty(0.95, fraction=0.8)
    SignCertainty()
    """

    def __init__(self, level: float = 0.95, fraction: float = 0.8, burn_in: int = 10) -> None:
        _check_level(level)
        check_share("fraction", fraction)
        self.level = float(level)
        self.fraction = float(fraction)
        self.burn_in = int(burn_in)

    def check(self, progress: Progress) -> Verdict:
        """Return whether enough signs are certain."""
        estimate = progress.estimate
        half = _half_widths(estimate, 0.5 + self.level / 2)
        certain = (np.abs(estimate.values) > half) & (estimate.counts >= self.burn_in)
        share = float(certain.mean())
        reason = f"the signs of {self.fraction:.0%} of the players are certain at {self.level:.0%}"
        return Verdict(share >= self.fraction, reason, certain, min(1.0, share / self.fraction))


class StableSet(StoppingRule):
    """Stop when it is certain which players have the lowest (or the highest) values.

    The cut lies halfway between the last player inside and the first outside. A player's side is
    certain if its confidence interval does not reach the cut; the intervals are widened so that all
    of them hold together (Bonferroni).

    Parameters
    ----------
    k : int
        Size of the set.
    which : str
        "lowest" or "highest".
    level : float
        Confidence for all players together, in (0, 1).
    burn_in : int
        Updates before a standard error is believed.

    Examples
    --------
    >>> StableSet(20)
    StableSet(k=20)
    """

    def __init__(
        self,
        k: int,
        which: Literal["lowest", "highest"] = "lowest",
        level: float = 0.95,
        burn_in: int = 10,
    ) -> None:
        if k < 1:
            raise InvalidOptionError(f"k must be at least 1, got {k}")
        if which not in ("lowest", "highest"):
            raise InvalidOptionError(f"which must be 'lowest' or 'highest', got {which!r}")
        _check_level(level)
        self.k = int(k)
        self.which = which
        self.level = float(level)
        self.burn_in = int(burn_in)

    def check(self, progress: Progress) -> Verdict:
        """Return whether every player is certainly inside or outside."""
        estimate = progress.estimate
        n = len(estimate.values)
        reason = f"the {self.k} {self.which} values are certain at {self.level:.0%}"
        if n <= self.k:
            everybody = np.ones(n, dtype=bool)
            return Verdict(True, reason, everybody, 1.0)
        certain = self._certain(estimate) & (estimate.counts >= self.burn_in)
        return Verdict(bool(certain.all()), reason, certain, float(certain.mean()))

    def _certain(self, estimate: Estimate) -> BoolArray:
        """Return whose interval does not reach the cut."""
        n = len(estimate.values)
        if not np.isfinite(estimate.values).all():
            return np.zeros(n, dtype=bool)
        position = self.k if self.which == "lowest" else n - self.k
        ordered = np.partition(estimate.values, [position - 1, position])
        cut = (ordered[position - 1] + ordered[position]) / 2
        half = _half_widths(estimate, 1 - (1 - self.level) / (2 * n))
        return np.asarray(np.abs(estimate.values - cut) > half)


def _check_level(level: float) -> None:
    """Refuse a confidence that is none."""
    if not 0 < level < 1:
        raise InvalidOptionError(f"level must lie between 0 and 1, got {level}")


def _half_widths(estimate: Estimate, probability: float) -> FloatArray:
    """Return half the widths [n] of intervals that end at this quantile of Student's t."""
    freedom = np.maximum(estimate.counts - 1, 1).astype(float)
    quantile = stdtrit(freedom, probability)
    return np.where(estimate.stderr == 0, 0.0, quantile * estimate.stderr)
