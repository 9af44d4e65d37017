"""What a run knows at a block boundary: exactly what a checkpoint saves and a result shows."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core.checkpoint import Checkpoint
from dvl_core.errors import DvlWarning
from dvl_core.protocols import Finishing, Uneven
from dvl_core.result import ValuationResult
from dvl_core.stopping import Progress, StoppingRule, Verdict
from dvl_core.trace import Trace, ValueHistory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dvl_core.protocols import AnyArray, BoolArray, Design, FloatArray
    from dvl_core.tasks import Block

__all__ = ["INTERRUPTED", "RunState"]

INTERRUPTED = "interrupted"
COUNTERS = ("next_block", "n_evaluations", "n_failures")


@dataclass
class RunState:
    """Statistics, rule, counters and trace of a run.

    Parameters
    ----------
    design : Design
        Of the run.
    stopping : StoppingRule
        A copy of the rule that belongs to this run.
    history : ValueHistory, optional
        Where to keep values as the run goes on; None: nowhere.
    """

    design: Design
    stopping: StoppingRule
    history: ValueHistory | None = None
    next_block: int = 0
    n_evaluations: int = 0
    n_computed: int = 0
    n_failures: int = 0
    elapsed_before: float = 0.0
    stop_reason: str = ""
    verdict: Verdict | None = None
    anchor_values: FloatArray | None = None
    trace: Trace = field(default_factory=Trace)

    def __post_init__(self) -> None:
        self.accumulator = self.design.accumulator()
        self.stopping.start(self.design.n_players)
        self._started = time.perf_counter()
        # Looked up once: asking for a protocol takes longer than folding a small block.
        self._uneven = self.design if isinstance(self.design, Uneven) else None

    @property
    def elapsed(self) -> float:
        """Running time in seconds, that before an interruption included."""
        return self.elapsed_before + time.perf_counter() - self._started

    @property
    def complete(self) -> bool:
        """Whether the design has nothing more to say."""
        return self.next_block == self.design.n_blocks

    @property
    def completion(self) -> float:
        """How far the run has come, between 0 and 1."""
        if self.stop_reason:
            return 1.0
        blocks = self.design.n_blocks
        done = self.next_block / blocks if blocks else 0.0
        return max(done, self.verdict.completion if self.verdict else 0.0)

    def count(self, block: Block) -> None:
        """Count what a block used."""
        self.n_evaluations += block.n_evaluations
        self.n_computed += block.n_computed
        self.n_failures += block.n_failures

    def fold(self, block: Block) -> None:
        """Take in the next block."""
        self.count(block)
        self.accumulator.fold(block.sample)
        self.next_block = block.number + 1

    def is_over(self) -> bool:
        """Ask the rule, at a block boundary, whether to stop; note why and how far it got."""
        if self.next_block == 0:
            return False
        estimate = self.accumulator.estimate()
        if self._uneven is None:
            block = self.design.block_evaluations
        else:
            block = self._uneven.evaluations_in(self.next_block)
        progress = Progress(estimate, self.n_evaluations, block, self.elapsed, self.next_block)
        self.verdict = self.stopping.check(progress)
        if self.complete:
            self.stop_reason = "complete"
        elif self.verdict.done:
            self.stop_reason = self.verdict.reason
        over = bool(self.stop_reason)
        self.trace.record(self.n_evaluations, estimate.stderr, last=over)
        if self.history is not None:
            self.history.record(self.n_evaluations, estimate.values, last=over)
        return over

    def to_checkpoint(self, identity: dict[str, Any]) -> Checkpoint:
        """Return what must be saved to go on exactly."""
        arrays = {f"accumulator.{k}": a for k, a in self.accumulator.state().items()}
        arrays |= {f"stopping.{k}": a for k, a in self.stopping.state().items()}
        arrays |= {f"trace.{k}": a for k, a in self.trace.arrays().items()}
        if self.history is not None:
            arrays |= {f"history.{k}": a for k, a in self.history.arrays().items()}
        if self.anchor_values is not None:
            arrays["anchors"] = self.anchor_values
        counters = {name: getattr(self, name) for name in COUNTERS}
        counters |= {"elapsed": self.elapsed, "stopping": repr(self.stopping)}
        return Checkpoint(identity, counters, arrays)

    def restore(self, saved: Checkpoint) -> None:
        """Go back to a saved state."""
        for name in COUNTERS:
            setattr(self, name, saved.counters[name])
        self.elapsed_before = saved.counters["elapsed"]
        self.accumulator.restore(_under("accumulator.", saved.arrays))
        self.trace = Trace.from_arrays(_under("trace.", saved.arrays))
        history = _under("history.", saved.arrays)
        if self.history is not None and history:
            self.history = ValueHistory.from_arrays(history)
        self.anchor_values = saved.arrays.get("anchors")
        # Another rule than before starts without a memory.
        if saved.counters["stopping"] == repr(self.stopping):
            self.stopping.restore(_under("stopping.", saved.arrays))

    def result(self, algorithm: str, seed: int, names: Sequence[Any] | None) -> ValuationResult:
        """Return what is known now."""
        extras: dict[str, Any] = {}
        accumulator = self.accumulator
        history = {} if self.history is None else self.history.arrays()
        if isinstance(accumulator, Finishing):
            estimate, extras = accumulator.finish()
        else:
            estimate = accumulator.estimate()
        unknown = int(np.isnan(estimate.values).sum())
        # What is solved for at the end says itself why there is no solution.
        speaks_for_itself = isinstance(accumulator, Finishing)
        if unknown and not speaks_for_itself and self.stop_reason != INTERRUPTED:
            warnings.warn(
                f"{unknown} of {len(estimate.values)} players have no value (NaN): nothing was "
                f"evaluated that informs them ({self.stop_reason})",
                DvlWarning,
                stacklevel=4,
            )
        return ValuationResult(
            values=estimate.values,
            stderr=estimate.stderr,
            variances=estimate.variances,
            counts=estimate.counts,
            converged=self._converged(estimate.values),
            names=names,
            algorithm=algorithm,
            seed=seed,
            n_evaluations=self.n_evaluations,
            n_computed=self.n_computed,
            n_failures=self.n_failures,
            stop_reason=self.stop_reason,
            extras={
                "elapsed": self.elapsed,
                "guarantee": self.design.guarantee,
                **extras,
                **{f"trace_{key}": array for key, array in self.trace.arrays().items()},
                **{f"history_{key}": array for key, array in history.items()},
            },
        )

    def _converged(self, values: FloatArray) -> BoolArray:
        """Return which players are certain: all of a complete run, else those the rule names."""
        if self.complete:
            return np.isfinite(values)
        if self.verdict is None or self.stop_reason == INTERRUPTED:
            return np.zeros(len(values), dtype=bool)
        return self.verdict.certain


def _under(prefix: str, arrays: dict[str, AnyArray]) -> dict[str, AnyArray]:
    """Return the entries whose key starts with `prefix`, without it."""
    return {k.removeprefix(prefix): a for k, a in arrays.items() if k.startswith(prefix)}
