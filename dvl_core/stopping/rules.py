"""What a stopping rule sees, what it answers, and how rules compose."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dvl_core.options import Described

if TYPE_CHECKING:
    from dvl_core.protocols import AnyArray, BoolArray
    from dvl_core.statistics import Estimate

__all__ = ["Progress", "StoppingRule", "Verdict"]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands at the end of a block.

    Parameters
    ----------
    estimate : Estimate
        What is known of each player.
    n_evaluations : int
        Utility values used so far.
    block_evaluations : int
        The most utility values that the next block would use.
    elapsed : float
        Seconds of running time, those before an interruption included.
    n_blocks : int
        Blocks so far.
    """

    estimate: Estimate
    n_evaluations: int
    block_evaluations: int
    elapsed: float
    n_blocks: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer of a rule.

    Parameters
    ----------
    done : bool
        Whether to stop.
    reason : str
        Why, in words; shown as `stop_reason` of the result.
    certain : bool array [n]
        Which players the rule holds to be known well enough. Of two rules, ``|`` takes those that
        either names, ``&`` those that both name.
    completion : float
        How far the run has come, between 0 and 1.
    judges : bool
        Whether the rule says anything about players. Budgets and negations do not: they name none,
        and ``&`` leaves it to the other rule.
    """

    done: bool
    reason: str
    certain: BoolArray
    completion: float
    judges: bool = True


class StoppingRule(Described, ABC):
    """Base of all rules.

    The engine works on a copy of the rule and calls `start` once a run, so that one rule serves
    any number of runs. It then calls `check` after every block, in the order of the blocks.
    """

    def start(self, n_players: int) -> None:
        """Forget what was seen before; rules with a memory override this."""

    @abstractmethod
    def check(self, progress: Progress) -> Verdict:
        """Return whether to stop, and why."""

    def state(self) -> dict[str, AnyArray]:
        """Return the arrays that a checkpoint must hold; rules with a memory override this."""
        return {}

    def restore(self, state: Mapping[str, AnyArray]) -> None:
        """Go back to a saved state; rules with a memory override this."""

    def __or__(self, other: StoppingRule) -> StoppingRule:
        return _Any(self, other)

    def __and__(self, other: StoppingRule) -> StoppingRule:
        return _All(self, other)

    def __invert__(self) -> StoppingRule:
        return _Not(self)


class _Pair(StoppingRule):
    """Two rules, checked together so that both keep their memory up to date."""

    symbol = ""

    def __init__(self, left: StoppingRule, right: StoppingRule) -> None:
        self.left = left
        self.right = right

    def __repr__(self) -> str:
        return f"({self.left!r} {self.symbol} {self.right!r})"

    def start(self, n_players: int) -> None:
        self.left.start(n_players)
        self.right.start(n_players)

    def state(self) -> dict[str, AnyArray]:
        return {
            f"{side}.{key}": array
            for side, rule in (("left", self.left), ("right", self.right))
            for key, array in rule.state().items()
        }

    def restore(self, state: Mapping[str, AnyArray]) -> None:
        for side, rule in (("left", self.left), ("right", self.right)):
            prefix = f"{side}."
            rule.restore(
                {key.removeprefix(prefix): a for key, a in state.items() if key.startswith(prefix)}
            )


class _Any(_Pair):
    """Stops when either rule does."""

    symbol = "|"

    def check(self, progress: Progress) -> Verdict:
        left, right = self.left.check(progress), self.right.check(progress)
        reasons = [verdict.reason for verdict in (left, right) if verdict.done]
        return Verdict(
            left.done or right.done,
            "; ".join(reasons),
            left.certain | right.certain,
            max(left.completion, right.completion),
            left.judges or right.judges,
        )


class _All(_Pair):
    """Stops when both rules do."""

    symbol = "&"

    def check(self, progress: Progress) -> Verdict:
        left, right = self.left.check(progress), self.right.check(progress)
        if left.judges and right.judges:
            certain = left.certain & right.certain
        else:
            certain = left.certain | right.certain
        return Verdict(
            left.done and right.done,
            f"{left.reason}; {right.reason}",
            certain,
            min(left.completion, right.completion),
            left.judges or right.judges,
        )


class _Not(StoppingRule):
    """Stops when the rule does not."""

    def __init__(self, rule: StoppingRule) -> None:
        self.rule = rule

    def __repr__(self) -> str:
        return f"~{self.rule!r}"

    def start(self, n_players: int) -> None:
        self.rule.start(n_players)

    def check(self, progress: Progress) -> Verdict:
        verdict = self.rule.check(progress)
        nobody = np.zeros_like(verdict.certain)
        completion = 1.0 - verdict.completion
        return Verdict(not verdict.done, f"not {self.rule!r}", nobody, completion, judges=False)

    def state(self) -> dict[str, AnyArray]:
        return self.rule.state()

    def restore(self, state: Mapping[str, AnyArray]) -> None:
        self.rule.restore(state)
