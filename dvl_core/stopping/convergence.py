"""Rules that look at the estimates: standard errors, drift, ranks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from dvl_core.errors import InvalidOptionError
from dvl_core.stopping.rules import Progress, StoppingRule, Verdict

if TYPE_CHECKING:
    from dvl_core.protocols import AnyArray, FloatArray

__all__ = ["AbsoluteStandardError", "HistoryDeviation", "RankCorrelation"]


class AbsoluteStandardError(StoppingRule):
    """Stop when the standard errors of enough players are below a threshold.

    Parameters
    ----------
    threshold : float
        In the unit of the utility.
    fraction : float
        Share of the players for which this must hold.
    burn_in : int
        Updates before a standard error is believed: a handful of equal observations has a spread
        of zero and proves nothing.

    Examples
    --------
    >>> AbsoluteStandardError(0.01, fraction=0.9)
    AbsoluteStandardError(threshold=0.01, fraction=0.9)
    """

    def __init__(self, threshold: float, fraction: float = 1.0, burn_in: int = 10) -> None:
        if not threshold > 0:
            raise InvalidOptionError(f"threshold must be positive, got {threshold}")
        check_share("fraction", fraction)
        self.threshold = float(threshold)
        self.fraction = float(fraction)
        self.burn_in = int(burn_in)

    def check(self, progress: Progress) -> Verdict:
        """Return whether enough standard errors are small."""
        estimate = progress.estimate
        certain = (estimate.stderr < self.threshold) & (estimate.counts >= self.burn_in)
        share = float(certain.mean())
        reason = f"standard errors of {self.fraction:.0%} of the players are below {self.threshold}"
        return Verdict(share >= self.fraction, reason, certain, min(1.0, share / self.fraction))


class HistoryDeviation(StoppingRule):
    """Stop when the values have moved little, relative to their size, over the last updates.

    Compares the values v now with those w of `n_steps` updates ago (Ghorbani & Zou 2019, app. A):
    the mean over players of abs(v - w) / abs(v) must fall below `rtol`. Players whose value is zero
    now and was zero then count as still.

    Parameters
    ----------
    n_steps : int
        How many updates (mean over the players) to look back.
    rtol : float
        Mean relative deviation to reach.
    """

    def __init__(self, n_steps: int = 100, rtol: float = 0.05) -> None:
        if n_steps < 1:
            raise InvalidOptionError(f"n_steps must be at least 1, got {n_steps}")
        if not rtol > 0:
            raise InvalidOptionError(f"rtol must be positive, got {rtol}")
        self.n_steps = int(n_steps)
        self.rtol = float(rtol)
        self.start(0)

    def start(self, n_players: int) -> None:
        """Forget the history."""
        self._updates: list[float] = []
        self._values: list[FloatArray] = []

    def check(self, progress: Progress) -> Verdict:
        """Return whether the values stand still."""
        estimate = progress.estimate
        now = float(estimate.counts.mean())
        n = len(estimate.values)
        known = bool(np.isfinite(estimate.values).all())
        # One snapshot per update is enough to look back with, however short the blocks are.
        if known and (not self._updates or now - self._updates[-1] >= 1):
            self._updates.append(now)
            self._values.append(estimate.values.copy())
        while len(self._updates) > 1 and self._updates[1] <= now - self.n_steps:
            del self._updates[0], self._values[0]
        far_enough = known and bool(self._updates) and self._updates[0] <= now - self.n_steps
        reason = f"values moved by less than {self.rtol:.2g} over {self.n_steps} updates"
        if not far_enough:
            return Verdict(False, reason, np.zeros(n, dtype=bool), 0.0)
        change = np.abs(estimate.values - self._values[0])
        size = np.abs(estimate.values)
        relative = np.divide(change, size, out=np.where(change > 0, np.inf, 0.0), where=size > 0)
        deviation = float(relative.mean())
        completion = 1.0 if deviation <= self.rtol else self.rtol / deviation
        return Verdict(deviation < self.rtol, reason, relative < self.rtol, completion)

    def state(self) -> dict[str, AnyArray]:
        """Return the snapshots."""
        return {"updates": np.array(self._updates), "values": np.array(self._values)}

    def restore(self, state: Mapping[str, AnyArray]) -> None:
        """Go back to the saved snapshots."""
        self._updates = [float(u) for u in state["updates"]]
        self._values = [np.array(row, dtype=float) for row in state["values"]]


class RankCorrelation(StoppingRule):
    """Stop when the ranking agrees with the one that half as many updates had given.

    The Spearman correlation between the two must reach ``1 - rtol``. It is looked at whenever the
    updates have grown by a quarter, so that a lucky moment is not found by looking often. A high
    correlation is asked for, not a small change of it: rankings that keep reversing never pass.
    The ranking is judged as a whole: all players are certain once it is stable, none before.

    Parameters
    ----------
    rtol : float
        How far below 1 the correlation may be.
    burn_in : int
        Updates per player before the first look.

    Examples
    --------
    >>> RankCorrelation(rtol=0.05)
    RankCorrelation(rtol=0.05)
    """

    GROWTH = 1.25
    LOOKS_TO_HALF = 3
    """Three steps of 1.25 are a factor of 1.95: about half."""

    def __init__(self, rtol: float = 0.01, burn_in: int = 16) -> None:
        check_share("rtol", rtol)
        self.rtol = float(rtol)
        self.burn_in = int(burn_in)
        self.start(0)

    def start(self, n_players: int) -> None:
        """Forget the history."""
        self._next_look = float(max(self.burn_in, 2))
        self._looks: list[FloatArray] = []

    def check(self, progress: Progress) -> Verdict:
        """Return whether the ranking is stable."""
        estimate = progress.estimate
        now = float(estimate.counts.mean())
        nobody = np.zeros(len(estimate.values), dtype=bool)
        reason = f"ranks correlate by {1 - self.rtol:.3g} with those from half the updates"
        if now < self._next_look or not np.isfinite(estimate.values).all():
            return Verdict(False, reason, nobody, 0.0)
        self._next_look = now * self.GROWTH
        self._looks = [*self._looks[-self.LOOKS_TO_HALF :], estimate.values.copy()]
        if len(self._looks) <= self.LOOKS_TO_HALF:
            return Verdict(False, reason, nobody, 0.0)
        correlation = rank_correlation(self._looks[0], self._looks[-1])
        done = correlation >= 1 - self.rtol
        completion = 1.0 if done else max(correlation, 0.0)
        return Verdict(done, reason, np.full_like(nobody, done), completion)

    def state(self) -> dict[str, AnyArray]:
        """Return the snapshots."""
        return {"next_look": np.array(self._next_look), "looks": np.array(self._looks)}

    def restore(self, state: Mapping[str, AnyArray]) -> None:
        """Go back to the saved snapshots."""
        self._next_look = float(state["next_look"])
        self._looks = [np.array(row, dtype=float) for row in state["looks"]]


def rank_correlation(first: FloatArray, second: FloatArray) -> float:
    """Return Spearman's rank correlation; 1 for a single player, 0 if one ranking is all ties.

    Examples
    --------
    >>> import numpy as np
    >>> float(rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([10.0, 30.0, 20.0])))
    0.5
    """
    from scipy.stats import rankdata  # costs half a second to import: at use

    if len(first) < 2:
        return 1.0
    a, b = rankdata(first), rankdata(second)
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm > 0 else 0.0


def check_share(name: str, value: float) -> None:
    """Raise unless `value` is in (0, 1]."""
    if not 0 < value <= 1:
        raise InvalidOptionError(f"{name} must be above 0 and at most 1, got {value}")
