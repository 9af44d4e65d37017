"""What happens when workers die: the work is done again, and what kills them is named.

A lost task takes others with it that were under way, so the first loss says little: its blocks are
handed out again. Blocks that are lost twice are evaluated alone, a few times each, and at last
their coalitions one by one. Nothing of this touches the values: a block is the same wherever and
however often it is evaluated.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np

from dvl_core.errors import UtilityError, WorkerError
from dvl_core.ledger import evaluate, fingerprint_if_known
from dvl_core.protocols import Evaluation, Fingerprinted
from dvl_core.tasks import evaluate_anchors, evaluate_blocks
from dvl_core.threads import limit_worker

if TYPE_CHECKING:
    from dvl_core.data import Dataset
    from dvl_core.protocols import Backend, BoolArray, FloatArray, Utility
    from dvl_core.tasks import Block, Context, TaskResult

__all__ = ["LOST", "Recovery"]

ATTEMPTS = 3
"""How often a task is tried alone before it is blamed for the death of its workers."""

LOST = (WorkerError, MemoryError)
"""What may go well at another time, or with nothing else running: unlike errors of a model."""

T = TypeVar("T")
R = TypeVar("R")
logger = logging.getLogger("dvl")


@dataclass
class Recovery:
    """Decides what to do with blocks that were lost with their workers.

    Parameters
    ----------
    backend : Backend
        Where tasks run.
    context : Context
        What they share.
    """

    backend: Backend
    context: Context
    _suspects_end: int = 0

    def suspects(self, first: int, end: int, error: BaseException) -> range:
        """Return which blocks to evaluate alone after a loss; none at the first loss.

        Parameters
        ----------
        first, end : int
            The blocks that were handed out and did not come back.
        error : exception
            What was said of the loss.
        """
        logger.warning("workers were lost (%s): going on from block %d", error, first)
        again = range(first, max(first, self._suspects_end))
        self._suspects_end = max(end, self._suspects_end)
        return again

    def anchors(self, coalitions: BoolArray) -> Block:
        """Evaluate what all blocks need; errors are those of `block_alone`."""
        try:
            return _alone(self.backend, evaluate_anchors, self.context, coalitions)
        except LOST as error:
            return evaluate_anchors(self._one_by_one(error), coalitions)

    def block_alone(self, number: int) -> TaskResult:
        """Evaluate a block with nothing else under way.

        Raises
        ------
        UtilityError
            If a coalition of the block kills its worker every time; the message names it.
        """
        blocks = range(number, number + 1)
        try:
            return _alone(self.backend, evaluate_blocks, self.context, blocks)
        except LOST as error:
            return evaluate_blocks(self._one_by_one(error), blocks)

    def _one_by_one(self, error: BaseException) -> Context:
        """Return a context whose utility evaluates each coalition in a task of its own."""
        if self.context.utility is None:
            raise error
        utility = _OneByOne(self.backend, self.context, self.context.utility)
        return replace(self.context, utility=utility)


@dataclass
class _OneByOne:
    """A utility of which each coalition is evaluated by a worker, alone."""

    backend: Backend
    context: Context
    utility: Utility

    @property
    def n_players(self) -> int | None:
        """Number of players."""
        return self.utility.n_players

    @property
    def fingerprint(self) -> str | None:
        """That of the utility."""
        return fingerprint_if_known(self.utility)

    @property
    def batch_invariant(self) -> bool:
        """Whether the values are the same, to the bit, as those of whole batches."""
        return isinstance(self.utility, Fingerprinted) and self.utility.batch_invariant

    def with_data(self, train: Dataset) -> Self:
        """Return a copy bound to the players of `train`."""
        return replace(self, utility=self.utility.with_data(train))

    def __call__(self, coalitions: BoolArray) -> FloatArray:
        """Return the utilities [b] of coalitions [b, n]."""
        return self.evaluate(coalitions).values

    def evaluate(self, coalitions: BoolArray) -> Evaluation:
        """Return values and failures [b] of coalitions [b, n].

        Raises
        ------
        UtilityError
            If one of them, or all together, kill their worker.
        """
        parts = [self._alone(coalition[None]) for coalition in coalitions]
        if self.batch_invariant:
            return Evaluation(
                np.concatenate([part.values for part in parts]),
                np.concatenate([part.failed for part in parts]),
            )
        # Each alone went well, but may have other last bits than in the batch.
        return self._alone(coalitions)

    def _alone(self, coalitions: BoolArray) -> Evaluation:
        """Evaluate coalitions in a task of their own."""
        try:
            return _alone(self.backend, _evaluate, self.context, coalitions)
        except LOST as error:
            raise UtilityError(
                f"workers died {ATTEMPTS} times in a row on {_described(coalitions)}: {error}; "
                "what was evaluated before is kept"
            ) from error


def _evaluate(context: Context, coalitions: BoolArray) -> Evaluation:
    """Evaluate coalitions; runs in a worker."""
    limit_worker(context.process)
    assert context.utility is not None
    return evaluate(context.utility, coalitions)


def _alone(backend: Backend, function: Callable[[Any, T], R], shared: Any, task: T) -> R:
    """Run one task, up to three times if it is lost."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return next(iter(backend.map(function, shared, [task])))
        except LOST:
            if attempt == ATTEMPTS:
                raise
    raise AssertionError


def _described(coalitions: BoolArray) -> str:
    """Return which players a coalition has, or how many coalitions there are."""
    if len(coalitions) > 1:
        return f"a batch of {len(coalitions)} coalitions, each of which went well alone"
    members = np.flatnonzero(coalitions[0])
    shown = ", ".join(map(str, members[:10])) + (", ..." if len(members) > 10 else "")
    return f"the coalition of {len(members)} players [{shown}]"
