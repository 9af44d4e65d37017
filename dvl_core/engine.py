"""The one loop behind every valuation method.

Blocks, numbered and seeded by number, are grouped into tasks, evaluated by a backend, folded in the
order of their numbers, checked against the stopping rule at every block boundary, and checkpointed.
Values therefore do not depend on the backend, the number of workers, the grouping, or on whether
the run was interrupted and resumed.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import time
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core import hooks
from dvl_core.backends import default_backend
from dvl_core.checkpoint import load_checkpoint, save_checkpoint
from dvl_core.errors import DvlWarning, RunInterrupted
from dvl_core.interrupts import uninterrupted
from dvl_core.ledger import fingerprint_if_known
from dvl_core.progress import ProgressDisplay, ProgressReport
from dvl_core.protocols import Seedable
from dvl_core.recovery import LOST, Recovery
from dvl_core.run_state import INTERRUPTED, RunState
from dvl_core.stopping import NoStopping
from dvl_core.tasks import Block, BlockQueue, Context, evaluate_blocks
from dvl_core.threads import single_threaded
from dvl_core.trace import ValueHistory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dvl_core.protocols import Backend, Design, Store, Utility
    from dvl_core.result import ValuationResult
    from dvl_core.stopping import StoppingRule

__all__ = ["RunInfo", "run"]

SECONDS_BETWEEN_CHECKPOINTS = 0.5
SHARE_OF_TIME_FOR_CHECKPOINTS = 0.02
SECONDS_BETWEEN_REPORTS = 0.1


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What hooks are told of a run.

    Parameters
    ----------
    algorithm : str
        Name of the method.
    n_players : int
        Number of players.
    seed : int
        Seed of the run.
    """

    algorithm: str
    n_players: int
    seed: int


def run(
    design: Design,
    utility: Utility | None = None,
    *,
    seed: int,
    stopping: StoppingRule | None = None,
    backend: Backend | None = None,
    store: Store | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = False,
    algorithm: str = "",
    names: Sequence[Any] | None = None,
    keep_history: bool = False,
) -> ValuationResult:
    """Run `design` on a bound `utility` until it is complete or `stopping` says so.

    Parameters
    ----------
    design : Design
        How blocks are drawn, evaluated and folded.
    utility : Utility, optional
        Bound to its players; None for designs that need none.
    seed : int
        Decides all randomness.
    stopping : StoppingRule, optional
        None: run until the design is complete.
    backend : Backend, optional
        None: the active joblib context if it has workers, else serial.
    store : Store, optional
        Ledger of utility values.
    checkpoint : path, optional
        File to resume from, if it exists, and to save the state to.
    progress : bool
        Show a progress bar on stderr, if that is a terminal.
    algorithm : str
        Name for the result.
    names : sequence, optional
        Names of the players [n].
    keep_history : bool
        Keep the values as the run goes on, in the extras of the result.

    Returns
    -------
    ValuationResult
        In the order of the players.

    Raises
    ------
    UtilityError
        If training or scoring failed, or killed its worker several times in a row; the state up to
        then is in the checkpoint.
    CheckpointError
        If the checkpoint cannot be used.
    RunInterrupted
        On Ctrl-C; it carries the partial result.
    """
    if isinstance(utility, Seedable):
        utility = utility.with_seed(seed)
    if utility is not None:
        utility = hooks.wrap_utility(utility)
    fingerprint = fingerprint_if_known(utility)
    if utility is not None and fingerprint is None and (store is not None or checkpoint):
        warnings.warn(
            "the utility has no fingerprint (its model, scorer or data cannot be digested or "
            "seeded), so neither the store nor the checkpoint is used",
            DvlWarning,
            stacklevel=2,
        )
        store = checkpoint = None
    context = Context(design, utility, fingerprint, store, seed, np.zeros(0), os.getpid())
    history = ValueHistory() if keep_history else None
    state = RunState(design, copy.deepcopy(stopping or NoStopping()), history)
    info = RunInfo(algorithm, design.n_players, seed)
    loop = _Loop(context, state, backend or default_backend(), checkpoint, info)
    hooks.notify_start(info)
    loop.execute(ProgressDisplay(progress))
    # Some values are made of everything at the end, by sums like those of the blocks.
    with single_threaded():
        result = state.result(algorithm, seed, names)
    hooks.notify_end(info, result)
    if state.stop_reason == INTERRUPTED:
        raise RunInterrupted(result)
    return result


@dataclass
class _Loop:
    """Drives a run: hands out blocks, folds what comes back, saves, reports."""

    context: Context
    state: RunState
    backend: Backend
    checkpoint: str | os.PathLike[str] | None
    info: RunInfo

    def __post_init__(self) -> None:
        self.identity = {
            "design": _digest(self.context.design.identity),
            "utility": self.context.fingerprint,
            "seed": self.context.seed,
            "algorithm": self.info.algorithm,
        }
        self._next_save = 0.0
        self._next_report = 0.0

    def execute(self, display: ProgressDisplay) -> None:
        """Run to the end, to an error or to Ctrl-C; the checkpoint is written in any case."""
        if self.checkpoint is not None:
            saved = load_checkpoint(self.checkpoint, self.identity)
            if saved is not None:
                self.state.restore(saved)
        try:
            # The limit holds for the whole process: set once, for all threads of the run.
            with single_threaded(), display:
                self._evaluate_anchors()
                if not self.state.is_over():
                    self._fold_blocks(display)
        except KeyboardInterrupt:
            self.state.stop_reason = INTERRUPTED
        finally:
            self._save()

    def _evaluate_anchors(self) -> None:
        """Evaluate what all blocks need, as if it were a block of its own, unless restored."""
        state = self.state
        if state.anchor_values is None:
            anchors = self.context.design.anchors()
            if len(anchors) == 0:
                state.anchor_values = np.zeros(0)
            else:
                block = Recovery(self.backend, self.context).anchors(anchors)
                with uninterrupted():
                    state.count(block)
                    self._record(block)
                    state.anchor_values = block.sample["anchors"]
        assert state.anchor_values is not None
        self.context = replace(self.context, anchor_values=state.anchor_values)

    def _fold_blocks(self, display: ProgressDisplay) -> None:
        """Fold blocks, in the order of their numbers, until the run is over."""
        state, backend = self.state, self.backend
        blocks = self.context.design.n_blocks
        queue = BlockQueue(state.next_block, blocks, backend.task_seconds, backend.n_workers)
        recovery = Recovery(backend, self.context)
        while not state.stop_reason:
            try:
                self._fold_wave(queue, display)
            except LOST as error:
                if state.stop_reason:
                    return
                for number in recovery.suspects(state.next_block, queue.next_block, error):
                    if self._fold(recovery.block_alone(number).blocks, display):
                        return
                queue.rewind(state.next_block)

    def _fold_wave(self, queue: BlockQueue, display: ProgressDisplay) -> None:
        """Hand out blocks until too many are out, and fold what comes back."""
        results = self.backend.map(evaluate_blocks, self.context, queue.wave())
        try:
            for result in results:
                queue.observe(result)
                if self._fold(result.blocks, display):
                    # Closing cancels what has not started; what has is discarded.
                    queue.close()
                    return
        finally:
            close = getattr(results, "close", None)
            if close is not None:
                close()

    def _fold(self, blocks: list[Block], display: ProgressDisplay) -> bool:
        """Fold the blocks of a task; return whether the run is over.

        Blocks after the one at which the rule says stop are discarded uncounted.
        """
        state = self.state
        for block in blocks:
            # A block that is half folded would be folded again when the run goes on.
            with uninterrupted():
                self._record(block)
                state.fold(block)
                over = state.is_over()
            self._report(display, over)
            if over:
                return True
            if state.elapsed >= self._next_save:
                self._save()
        return False

    def _record(self, block: Block) -> None:
        """Put what a block computed into the store."""
        if self.context.store is not None and len(block.keys):
            self.context.store.put(block.keys, block.values)

    def _report(self, display: ProgressDisplay, over: bool) -> None:
        """Tell the display and the hooks where the run stands, a few times a second."""
        state = self.state
        elapsed = state.elapsed
        if elapsed < self._next_report and not over:
            return
        self._next_report = elapsed + SECONDS_BETWEEN_REPORTS
        report = ProgressReport(
            n_evaluations=state.n_evaluations,
            n_computed=state.n_computed,
            n_failures=state.n_failures,
            n_blocks=state.next_block,
            elapsed=elapsed,
            completion=state.completion,
            largest_stderr=state.trace.latest,
        )
        display.update(report)
        hooks.notify_progress(self.info, report)

    def _save(self) -> None:
        """Write the checkpoint, and wait longer until the next one if that took long."""
        if self.checkpoint is None:
            return
        start = time.perf_counter()
        save_checkpoint(self.checkpoint, self.state.to_checkpoint(self.identity))
        took = time.perf_counter() - start
        wait = max(SECONDS_BETWEEN_CHECKPOINTS, took / SHARE_OF_TIME_FOR_CHECKPOINTS)
        self._next_save = self.state.elapsed + wait


def _digest(identity: dict[str, Any]) -> str:
    """Return a short digest of a JSON-able description."""
    text = json.dumps(identity, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
