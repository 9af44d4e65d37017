"""Influence factors of test points, solved for when they are asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch

from dvl_core.protocols import Backend
from dvl_influence.attribution import AttributionModel
from dvl_influence.data import Batch
from dvl_influence.lazy_table import Account, Group, LazyTable, as_writable
from dvl_influence.memory import share
from dvl_influence.origins import model_identity
from dvl_influence.progress_bar import ProgressBar
from dvl_influence.score_tasks import FactorContext, process_to_limit, solve_points, threads_for
from dvl_influence.streams import Stream
from dvl_influence.trees import rows

__all__ = ["FactorRows", "LazyFactors"]

CONTENT = "influence factors"
DESCRIPTION = (
    "(H + lambda I)^-1 grad L_q of test point q, one row for each; methods without curvature have "
    "other vectors in its place. Influences are inner products with those of training points"
)


class FactorRows(NamedTuple):
    """A part of the factors."""

    test: slice
    """Which test points."""
    factors: torch.Tensor
    """[test points, k]."""


class LazyFactors(LazyTable):
    """Influence factors [n_test, k] that are not solved for yet; k = p for most methods.

    Made by the calculators. Written to zarr, they give influences on any training points later,
    without solving again: see `SequentialInfluenceCalculator.influences_from_factors`.

    Examples
    --------
    >>> from dvl_influence import InfluenceModel, SequentialInfluenceCalculator
    >>> from dvl_influence.testing import batches, half_squares, ridge
    >>> problem = ridge(n=6)
    >>> loader = batches(problem.x, problem.y, 4)
    >>> influence = InfluenceModel(problem.model, half_squares, "identity").fit(loader)
    >>> factors = SequentialInfluenceCalculator(influence).influence_factors(loader)
    >>> factors.shape, [part.test for part in factors]
    ((6, 3), [slice(0, 4, None), slice(4, 6, None)])
    """

    def __init__(
        self,
        model: AttributionModel,
        test: Stream,
        *,
        backend: Backend,
        memory_budget: int,
        progress: bool = False,
    ) -> None:
        super().__init__(model, backend=backend, memory_budget=memory_budget, progress=progress)
        self.test = test

    @property
    def shape(self) -> tuple[int, int]:
        """(n_test, k); the loader is gone through to count the points."""
        return self.test.n_points, self.length

    @property
    def lengths(self) -> tuple[int, ...]:
        """The number of points of each batch."""
        return self.test.lengths

    @cached_property
    def length(self) -> int:
        """k, the length of a factor: that of the vector of a test point."""
        _, batch = next(iter(self.test))
        first = _points(batch, slice(0, 1))
        return next(iter(self.model.test_vectors(first))).shape[1]

    @property
    def origin(self) -> dict[str, str]:
        """What decides them besides the model."""
        return {"test data": self.test.digest}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(dtype={self.dtype})"

    def __iter__(self) -> Iterator[FactorRows]:
        """Yield the factors batch by batch, of large ones part by part."""
        for test, _, block in self.blocks(self.groups()):
            yield FactorRows(test, as_writable(block))

    def rows(self, test: slice) -> torch.Tensor:
        """Return the factors [., k] of some test points, in main memory."""
        (found,) = self._solved([test])
        return as_writable(found)

    def group_size(self) -> int:
        """Return how many test points are handed on together: a batch, or what fits the budget."""
        # With what may be on its way at the same time.
        each = self.dtype.itemsize * self.length * (1 + 2 * self._backend.n_workers)
        return min(max(self.lengths), share(self._memory_budget, each))

    def groups(self) -> list[Group]:
        """Return the batches, large ones in parts that fit the memory budget."""
        step = self.group_size()
        every = (slice(0, self.length),)
        ends = np.cumsum(self.lengths).tolist()
        return [
            Group(slice(start, min(start + step, end)), every)
            for end, length in zip(ends, self.lengths, strict=True)
            for start in range(end - length, end, step)
        ]

    def blocks(
        self, groups: Sequence[Group]
    ) -> Iterator[tuple[slice, slice, np.ndarray[Any, Any]]]:
        """Yield the test points of each group, all columns, and their factors."""
        every = slice(0, self.length)
        with ProgressBar(self._progress, len(groups)) as bar:
            found = self._solved([group.test for group in groups])
            for group, factors in zip(groups, found, strict=True):
                yield group.test, every, factors
                bar.advance()

    def account(self) -> Account:
        """Return what an array of zarr says of the factors."""
        return Account(
            content=CONTENT,
            attributes={"description": DESCRIPTION},
            axes=("test", "component"),
            identity={**model_identity(self.model), **self.origin},
            chunks=(self.group_size(), self.length),
        )

    def _solved(self, wanted: Sequence[slice]) -> Iterator[np.ndarray[Any, Any]]:
        """Yield the factors of ranges of test points, which follow each other."""
        context = FactorContext(self.model, process_to_limit(self._backend))
        with threads_for(self._backend):
            results: Any = self._backend.map(solve_points, context, self._pieces(wanted))
            try:
                for test in wanted:
                    parts: list[np.ndarray[Any, Any]] = []
                    while sum(map(len, parts)) < test.stop - test.start:
                        parts.append(next(results))
                    yield parts[0] if len(parts) == 1 else np.concatenate(parts)
            finally:
                results.close()

    def _pieces(self, wanted: Sequence[slice]) -> Iterator[Batch]:
        """Yield the points of ranges, no two of different batches or ranges together."""
        waiting = deque(wanted)
        for numbers, batch in self.test:
            while waiting and waiting[0].start < numbers.stop:
                start, stop = (
                    max(numbers.start, waiting[0].start),
                    min(numbers.stop, waiting[0].stop),
                )
                if start < stop:
                    yield _points(batch, slice(start - numbers.start, stop - numbers.start))
                if waiting[0].stop > numbers.stop:
                    break
                waiting.popleft()


def _points(batch: Batch, part: slice) -> Batch:
    """Return some points of a batch."""
    return Batch(rows(batch.x, part), rows(batch.y, part))
