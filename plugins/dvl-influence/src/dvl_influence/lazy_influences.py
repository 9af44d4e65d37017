"""Influences that are computed piece by piece, when and where they are asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from dvl_core.errors import DataError, InvalidOptionError
from dvl_core.protocols import Backend
from dvl_influence.attribution import AttributionModel, Mode
from dvl_influence.data import Batch
from dvl_influence.memory import share
from dvl_influence.progress_bar import ProgressBar
from dvl_influence.score_tasks import (
    FactorContext,
    ScoreContext,
    process_to_limit,
    score_block,
    solve_points,
    threads_for,
    without_state,
)
from dvl_influence.streams import Stream
from dvl_influence.trees import rows

if TYPE_CHECKING:
    import zarr

__all__ = ["Chunk", "Group", "LazyInfluences"]


class Chunk(NamedTuple):
    """A part of the influences."""

    test: slice
    """Which test points."""
    train: slice
    """Which training points."""
    scores: torch.Tensor
    """[test points, training points], in mode "perturbation" [., ., *features]."""


class Group(NamedTuple):
    """Test points whose factors are in memory together, and what is wanted of them."""

    test: slice
    train: tuple[slice, ...]
    """Wanted training points, in ascending order."""


class LazyInfluences:
    """Influences [n_test, n_train] that are not computed yet.

    Made by the calculators. Nothing is kept: each of the methods computes what it returns, in
    groups of as many test points as the memory budget allows. Each test point is solved for once,
    and the training data are gone through once for each group.

    Examples
    --------
    >>> from dvl_influence import InfluenceModel, SequentialInfluenceCalculator
    >>> from dvl_influence.testing import batches, half_squares, ridge
    >>> problem = ridge(n=6)
    >>> loader = batches(problem.x, problem.y, 4)
    >>> influence = InfluenceModel(problem.model, half_squares, "identity").fit(loader)
    >>> lazy = SequentialInfluenceCalculator(influence).influences(loader[:1], loader)
    >>> lazy.shape, lazy.compute().shape
    ((4, 6), torch.Size([4, 6]))
    >>> indices, scores = lazy.top_k(2)
    >>> indices.shape, bool((scores[:, 0] >= scores[:, 1]).all())
    (torch.Size([4, 2]), True)
    """

    def __init__(
        self,
        model: AttributionModel,
        test: Stream,
        train: Stream,
        mode: Mode,
        *,
        backend: Backend,
        memory_budget: int,
        progress: bool = False,
    ) -> None:
        self.model = model
        self.test = test
        self.train = train
        self.mode = mode
        self._backend = backend
        self._memory_budget = memory_budget
        self._progress = progress

    @property
    def shape(self) -> tuple[int, ...]:
        """(n_test, n_train), in mode "perturbation" (n_test, n_train, *features).

        The loaders are gone through to count the points.
        """
        return (self.test.n_points, self.train.n_points, *self._features)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the scores."""
        return self.model.objective.dtype

    def __repr__(self) -> str:
        return f"{type(self).__name__}(mode={self.mode!r}, dtype={self.dtype})"

    def __iter__(self) -> Iterator[Chunk]:
        """Yield the influences in parts: a group of test points, a batch of training points."""
        for test, train, block in self.blocks(self.groups()):
            yield Chunk(test, train, _tensor(block))

    def compute(self) -> torch.Tensor:
        """Return all influences, in main memory.

        Returns
        -------
        float tensor [n_test, n_train], in mode "perturbation" [n_test, n_train, *features]
            Of torch, as everything that influence models return; ``numpy.asarray`` takes it without
            a copy.
        """
        scores = torch.empty(self.shape, dtype=self.dtype)
        for chunk in self:
            scores[chunk.test, chunk.train] = chunk.scores
        return scores

    def to_zarr(
        self,
        path: str | Path,
        overwrite: bool = False,
        *,
        chunks: tuple[int, int] | None = None,
    ) -> zarr.Array[Any]:
        """Write the influences to disk, chunk by chunk, and return them as an array of zarr.

        Called again with the same arguments after it was cut off, it goes on where it was; what is
        complete is returned at once. Attributes of the array say what the numbers are.

        Parameters
        ----------
        path : str or Path
            Folder for the array, on this machine.
        overwrite : bool
            Replace what is there, if it is an array of zarr.
        chunks : tuple of two int, optional
            Test and training points in a chunk; None: those of a batch. Chunks are what is written
            at a time, each to a file of its own.

        Raises
        ------
        CheckpointError
            If the folder holds influences of another model, method or data, or anything else.
        """
        from dvl_influence.zarr_output import write_zarr

        return write_zarr(self, path, overwrite=overwrite, chunks=chunks)

    def top_k(self, k: int, largest: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the training points with the most influence on each test point.

        Memory for k scores of each test point is enough. Of equal scores that of the first training
        point comes first.

        Parameters
        ----------
        k : int
            How many.
        largest : bool
            The most helpful ones; False: the most harmful ones, those with the smallest scores.

        Returns
        -------
        indices : int64 tensor [n_test, k]
            Their numbers in the order of the training data, the most extreme one first.
        scores : float tensor [n_test, k]
            Their influences.

        Raises
        ------
        InvalidOptionError
            If there are no k training points, or scores have features.
        """
        if self.mode != "up":
            raise InvalidOptionError('top_k ranks scores, which only mode="up" gives')
        n_test, n_train = self.shape
        if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= n_train:
            raise InvalidOptionError(
                f"k is {k!r}: it must be a whole number from 1 to {n_train}, the number of "
                "training points"
            )
        indices = np.empty((n_test, k), dtype=np.int64)
        scores = np.empty((n_test, k), dtype=_numpy_type(self.dtype))
        for group in self.groups():
            best = _Best(k, largest)
            for _, train, block in self.blocks([group]):
                best.update(train, block)
            indices[group.test], scores[group.test] = best.indices, best.scores
        return torch.from_numpy(indices), torch.from_numpy(scores)

    def group_size(self) -> int:
        """Return for how many test points factors and blocks of scores fit the memory budget."""
        itemsize = self.dtype.itemsize
        # Blocks that may be on their way at the same time, with any backend of bounded look-ahead.
        blocks = 2 * self._backend.n_workers * max(self.train.lengths)
        each = itemsize * (self._factor_length + blocks * int(np.prod(self._features)))
        return share(self._memory_budget, each)

    def groups(self) -> list[Group]:
        """Return groups of test points that fit the memory budget, for all training points."""
        n_test, n_train = self.shape[:2]
        step = self.group_size()
        every = (slice(0, n_train),)
        return [Group(slice(q, min(q + step, n_test)), every) for q in range(0, n_test, step)]

    def blocks(
        self, groups: Sequence[Group]
    ) -> Iterator[tuple[slice, slice, np.ndarray[Any, Any]]]:
        """Yield for each group its test points, training points of a batch, and their influences.

        Batches without a wanted training point are passed over. The groups must follow each other
        in the order of the test points.
        """
        with ProgressBar(self._progress, self._n_blocks(groups)) as bar:
            for group in groups:
                factors = self._factors(group.test)
                for train, block in self._scores(factors, group):
                    yield group.test, train, block
                    bar.advance()

    def _factors(self, test: slice) -> torch.Tensor:
        """Return the factors [., p] of some test points."""
        context = FactorContext(self.model, process_to_limit(self._backend))
        pieces = (
            piece
            for numbers, batch in self.test
            if (piece := _overlap(numbers, batch, test)) is not None
        )
        with threads_for(self._backend):
            found = list(self._backend.map(solve_points, context, pieces))
        return torch.cat([_tensor(part) for part in found]).to(self.model.objective.device)

    def _scores(
        self, factors: torch.Tensor, group: Group
    ) -> Iterator[tuple[slice, np.ndarray[Any, Any]]]:
        """Yield the scores of the wanted batches of training points."""
        process = process_to_limit(self._backend)
        context = ScoreContext(without_state(self.model), self.mode, factors, process)
        sent: deque[slice] = deque()

        def tasks() -> Iterator[Batch]:
            for numbers, batch in self.train:
                if _wanted(numbers, group.train):
                    sent.append(numbers)
                    yield batch

        with threads_for(self._backend):
            results: Any = self._backend.map(score_block, context, tasks())
            try:
                for block in results:
                    yield sent.popleft(), block
            finally:
                results.close()

    def _n_blocks(self, groups: Sequence[Group]) -> int:
        """Return how many blocks the groups are made of."""
        ends = np.cumsum(self.train.lengths).tolist()
        batches = [slice(e - n, e) for e, n in zip(ends, self.train.lengths, strict=True)]
        return sum(_wanted(batch, group.train) for group in groups for batch in batches)

    @cached_property
    def _factor_length(self) -> int:
        """The length of a factor: that of the vector of a training point."""
        _, batch = next(iter(self.train))
        first = _points(batch, slice(0, 1))
        return next(iter(self.model.train_vectors(first))).shape[1]

    @property
    def _features(self) -> tuple[int, ...]:
        """The shape of the gradient by x of one training point; empty for scores."""
        if self.mode == "up":
            return ()
        if self.train.features is None:
            raise DataError(
                'mode="perturbation" needs x of the training points to be one tensor, of the same '
                "shape for every point"
            )
        return self.train.features


class _Best:
    """The k most extreme scores of each row so far.

    Parameters
    ----------
    k : int
        How many.
    largest : bool
        Which end.
    """

    def __init__(self, k: int, largest: bool) -> None:
        self._k = k
        self._sign = -1.0 if largest else 1.0
        self.scores: Any = None
        self.indices: Any = None

    def update(self, train: slice, block: np.ndarray[Any, Any]) -> None:
        """Take in the scores of further training points, later ones than all before."""
        indices = np.broadcast_to(np.arange(train.start, train.stop), block.shape)
        if self.scores is not None:
            block = np.concatenate([self.scores, block], axis=1)
            indices = np.concatenate([self.indices, indices], axis=1)
        order = np.argsort(self._sign * block, axis=1, kind="stable")[:, : self._k]
        self.scores = np.take_along_axis(block, order, axis=1)
        self.indices = np.take_along_axis(indices, order, axis=1)


def _overlap(numbers: slice, batch: Batch, wanted: slice) -> Batch | None:
    """Return the points of a batch whose numbers are wanted, None if there are none."""
    start, stop = max(numbers.start, wanted.start), min(numbers.stop, wanted.stop)
    if start >= stop:
        return None
    return _points(batch, slice(start - numbers.start, stop - numbers.start))


def _points(batch: Batch, part: slice) -> Batch:
    """Return some points of a batch."""
    return Batch(rows(batch.x, part), rows(batch.y, part))


def _wanted(numbers: slice, wanted: Iterable[slice]) -> bool:
    """Return whether some of the numbers are wanted."""
    return any(numbers.start < part.stop and part.start < numbers.stop for part in wanted)


def _tensor(array: np.ndarray[Any, Any]) -> torch.Tensor:
    """Return an array as a tensor, copied if a backend hands it out read-only."""
    return torch.from_numpy(np.require(array, requirements="W"))


def _numpy_type(dtype: torch.dtype) -> np.dtype[Any]:
    return torch.empty(0, dtype=dtype).numpy().dtype
