"""Blocks become tasks: what a worker does, and how many blocks it is given at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dvl_core.ledger import Ledger
from dvl_core.seeds import block_generator
from dvl_core.threads import limit_worker

if TYPE_CHECKING:
    from dvl_core.protocols import (
        AnyArray,
        BoolArray,
        ByteArray,
        Design,
        FloatArray,
        Store,
        Utility,
    )

__all__ = ["Block", "BlockQueue", "Context", "TaskResult", "evaluate_anchors", "evaluate_blocks"]

MOST_BLOCKS_A_TASK = 4096
TASKS_OUT_PER_WORKER = 64


@dataclass(frozen=True, slots=True)
class Context:
    """What all tasks of a run share; travels to the workers once, or with each task.

    Parameters
    ----------
    design : Design
        Turns blocks into samples.
    utility : Utility, optional
        None for designs that need none.
    fingerprint : str, optional
        Of the utility; None: the store is not used.
    store : Store, optional
        Looked up, never written, by the workers.
    seed : int
        Of the run.
    anchor_values : float array [a]
        Utilities of ``design.anchors()``.
    process : int
        Process number of the parent.
    """

    design: Design
    utility: Utility | None
    fingerprint: str | None
    store: Store | None
    seed: int
    anchor_values: FloatArray
    process: int


@dataclass(frozen=True, slots=True)
class Block:
    """What came of one block."""

    number: int
    sample: dict[str, AnyArray]
    n_evaluations: int
    n_computed: int
    n_failures: int
    keys: ByteArray
    values: FloatArray


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What came of the blocks of a task, and the seconds it took."""

    blocks: list[Block]
    seconds: float


def evaluate_blocks(context: Context, numbers: range) -> TaskResult:
    """Evaluate the blocks with these `numbers`; runs in a worker."""
    limit_worker(context.process)
    start = time.perf_counter()
    blocks = [_evaluate_block(context, number) for number in numbers]
    return TaskResult(blocks, time.perf_counter() - start)


def evaluate_anchors(context: Context, coalitions: BoolArray) -> Block:
    """Evaluate the coalitions that all blocks need; runs in a worker, as block -1."""
    limit_worker(context.process)
    assert context.utility is not None
    ledger = Ledger(context.utility, context.fingerprint, context.store)
    return _finished(-1, {"anchors": ledger(coalitions)}, ledger)


def _evaluate_block(context: Context, number: int) -> Block:
    """Evaluate one block with the generator of its number."""
    rng = block_generator(context.seed, number)
    # A design that works without a utility never calls it.
    ledger = Ledger(context.utility, context.fingerprint, context.store)  # type: ignore[arg-type]
    sample = context.design.evaluate(number, ledger, rng, context.anchor_values)
    return _finished(number, sample, ledger)


def _finished(number: int, sample: dict[str, AnyArray], ledger: Ledger) -> Block:
    """Return the block with the counts of its ledger."""
    keys, values = ledger.new_records()
    return Block(
        number, sample, ledger.n_evaluations, ledger.n_computed, ledger.n_failures, keys, values
    )


@dataclass
class BlockQueue:
    """Hands out ranges of block numbers, each about as long as the backend wants tasks to be.

    How blocks are grouped does not touch the results: a block is evaluated and folded alone.
    A backend may take tasks faster than their results are folded; the queue therefore ends a
    *wave* when too many are out, and the caller starts the next one when they have come back.

    Parameters
    ----------
    next_block : int
        First block to hand out.
    stop : int, optional
        One past the last block; None if there is no end.
    task_seconds : float
        Duration to aim for; 0: one block a task.
    n_workers : int
        Workers to share the blocks, if their number is finite.
    """

    next_block: int
    stop: int | None
    task_seconds: float
    n_workers: int
    _size: int = field(default=1, init=False)
    _tasks_out: int = field(default=0, init=False)
    _seconds_per_block: float | None = field(default=None, init=False)

    def observe(self, result: TaskResult) -> None:
        """Learn that a task came back, and how long its blocks took."""
        self._tasks_out -= 1
        self._seconds_per_block = result.seconds / max(len(result.blocks), 1)

    def rewind(self, number: int) -> None:
        """Go back to block `number`: nothing from there on is under way."""
        self.next_block = number
        self._size = 1
        self._tasks_out = 0

    def close(self) -> None:
        """Hand out nothing more."""
        self.stop = self.next_block

    def wave(self) -> Iterator[range]:
        """Yield ranges of block numbers; consumed lazily, possibly in another thread."""
        while self._tasks_out < TASKS_OUT_PER_WORKER * self.n_workers:
            if self.next_block == self.stop:
                return
            start = self.next_block
            # At most doubling: one fast block must not make a task of thousands of slow ones.
            self._size = min(self._wanted_size(start), 2 * self._size)
            end = start + self._size
            self.next_block = end if self.stop is None else min(end, self.stop)
            self._tasks_out += 1
            yield range(start, self.next_block)

    def _wanted_size(self, number: int) -> int:
        """Return how many blocks the next task should have."""
        if self.task_seconds == 0 or self._seconds_per_block is None:
            return 1
        size = int(self.task_seconds / max(self._seconds_per_block, 1e-9))
        if self.stop is not None:
            # Towards the end smaller tasks keep all workers busy.
            size = min(size, -(-(self.stop - number) // (2 * self.n_workers)))
        return max(1, min(size, MOST_BLOCKS_A_TASK))
