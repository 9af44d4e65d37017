"""Rules that count: evaluations, updates, seconds."""

from __future__ import annotations

import numpy as np

from dvl_core.errors import InvalidOptionError
from dvl_core.stopping.rules import Progress, StoppingRule, Verdict

__all__ = ["MaxEvaluations", "MaxTime", "MaxUpdates", "MinUpdates", "NoStopping"]


def _verdict(done: bool, reason: str, progress: Progress, used: float, limit: float) -> Verdict:
    """Return a verdict of a budget: it makes no player certain."""
    nobody = np.zeros(len(progress.estimate.counts), dtype=bool)
    return Verdict(done, reason, nobody, float(np.clip(used / limit, 0.0, 1.0)), judges=False)


def _positive(name: str, value: float) -> float:
    """Return `value` after checking that it is a positive number."""
    if not value > 0:
        raise InvalidOptionError(f"{name} must be positive, got {value}")
    return value


class MaxEvaluations(StoppingRule):
    """Stop before a block would take the utility values used past `n_evaluations`.

    The budget is kept, never overdrawn, but for the first block, without which there is nothing.
    A block counts as one evaluation at least, so that blocks that need none come to an end too.

    Parameters
    ----------
    n_evaluations : int
        Utility values to use at the most, cached ones included.

    Examples
    --------
    >>> MaxEvaluations(1000) | MaxUpdates(50)
    (MaxEvaluations(n_evaluations=1000) | MaxUpdates(n_updates=50))
    """

    def __init__(self, n_evaluations: int) -> None:
        self.n_evaluations = int(_positive("n_evaluations", n_evaluations))

    def check(self, progress: Progress) -> Verdict:
        """Return whether the next block still fits."""
        used = max(progress.n_evaluations, progress.n_blocks)
        done = used + progress.block_evaluations > self.n_evaluations
        reason = f"budget of {self.n_evaluations:,} evaluations is used up"
        return _verdict(done, reason, progress, used, self.n_evaluations)


class MaxUpdates(StoppingRule):
    """Stop when any player has had `n_updates` updates.

    Parameters
    ----------
    n_updates : int
        Updates, that is independent observations of a player's marginal.
    """

    def __init__(self, n_updates: int) -> None:
        self.n_updates = int(_positive("n_updates", n_updates))

    def check(self, progress: Progress) -> Verdict:
        """Return whether the most updated player has enough."""
        most = int(progress.estimate.counts.max())
        reason = f"a player has had {self.n_updates:,} updates"
        return _verdict(most >= self.n_updates, reason, progress, most, self.n_updates)


class MinUpdates(StoppingRule):
    """Stop when every player has had at least `n_updates` updates.

    Parameters
    ----------
    n_updates : int
        Updates, that is independent observations of a player's marginal.
    """

    def __init__(self, n_updates: int) -> None:
        self.n_updates = int(_positive("n_updates", n_updates))

    def check(self, progress: Progress) -> Verdict:
        """Return whether the least updated player has enough."""
        least = int(progress.estimate.counts.min())
        reason = f"every player has had {self.n_updates:,} updates"
        return _verdict(least >= self.n_updates, reason, progress, least, self.n_updates)


class MaxTime(StoppingRule):
    """Stop after so many seconds, those before an interruption included.

    Where the clock decides, the same seed need not give the same values.

    Parameters
    ----------
    seconds : float
        Running time.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = float(_positive("seconds", seconds))

    def check(self, progress: Progress) -> Verdict:
        """Return whether the time is up."""
        done = progress.elapsed >= self.seconds
        reason = f"{self.seconds:g} seconds are over"
        return _verdict(done, reason, progress, progress.elapsed, self.seconds)


class NoStopping(StoppingRule):
    """Never stop: run until the method has nothing more to learn, or until interrupted."""

    def check(self, progress: Progress) -> Verdict:
        """Return that there is no reason to stop."""
        return _verdict(False, "never", progress, 0.0, 1.0)
