"""Influences that are computed piece by piece, when and where they are asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from dvl_core.errors import DataError, InvalidOptionError
from dvl_core.protocols import Backend
from dvl_influence.attribution import AttributionModel, Mode
from dvl_influence.data import Batch
from dvl_influence.lazy_factors import LazyFactors
from dvl_influence.lazy_table import Account, Group, LazyTable, as_writable
from dvl_influence.memory import share
from dvl_influence.origins import model_identity
from dvl_influence.progress_bar import ProgressBar
from dvl_influence.score_tasks import (
    ScoreContext,
    process_to_limit,
    score_block,
    threads_for,
    without_state,
)
from dvl_influence.streams import Stream

if TYPE_CHECKING:
    from dvl_influence.stored_factors import StoredFactors

__all__ = ["Chunk", "LazyInfluences"]

DESCRIPTION = (
    "s[q, i] = grad L_q . (H + lambda I)^-1 . grad L_i: influence of training point i (second "
    "axis) on test point q (first axis), H the mean curvature over the training points"
)
SIGN = (
    "positive: training point i helps test point q; removing it changes the loss L_q by about "
    "+ s[q, i] / n, with n = n_train of the fit"
)
UNITS = {
    "up": "units of the loss, times the number of training points of the fit",
    "perturbation": "units of the loss, times the number of training points of the fit, per unit "
    "of x: the gradient of s[q, i] with respect to x_i",
}


class Chunk(NamedTuple):
    """A part of the influences."""

    test: slice
    """Which test points."""
    train: slice
    """Which training points."""
    scores: torch.Tensor
    """[test points, training points], in mode "perturbation" [., ., *features]."""


class LazyInfluences(LazyTable):
    """Influences [n_test, n_train] that are not computed yet.

    Made by the calculators. Nothing is kept: each of the methods computes what it returns, in
    groups of as many test points as the memory budget allows. Each test point is solved for once,
    or its factors are read from where they were stored, and the training data are gone through once
    for each group.

    Parameters
    ----------
    model : AttributionModel
        Fitted.
    factors : LazyFactors or StoredFactors
        Of the test points.
    train : Stream
        Training points.
    mode : str
        ``"up"`` or ``"perturbation"``.
    backend : Backend
        Where they are computed.
    memory_budget : int
        Bytes for factors, and for scores that are on their way.
    progress : bool
        Show a progress bar on stderr, if that is a terminal.

    Raises
    ------
    InvalidOptionError
        If there is no such mode.

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
        factors: LazyFactors | StoredFactors,
        train: Stream,
        mode: Mode,
        *,
        backend: Backend,
        memory_budget: int,
        progress: bool = False,
    ) -> None:
        if mode not in ("up", "perturbation"):
            raise InvalidOptionError(f"mode is {mode!r}: it must be 'up' or 'perturbation'")
        super().__init__(model, backend=backend, memory_budget=memory_budget, progress=progress)
        self.factors = factors
        self.train = train
        self.mode = mode

    @property
    def shape(self) -> tuple[int, ...]:
        """(n_test, n_train), in mode "perturbation" (n_test, n_train, *features).

        The loaders are gone through to count the points.
        """
        return (sum(self.factors.lengths), self.train.n_points, *self._features)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(mode={self.mode!r}, dtype={self.dtype})"

    def __iter__(self) -> Iterator[Chunk]:
        """Yield the influences in parts: a group of test points, a batch of training points."""
        for test, train, block in self.blocks(self.groups()):
            yield Chunk(test, train, as_writable(block))

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
        each = itemsize * (self.factors.length + blocks * int(np.prod(self._features)))
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

        Batches without a wanted training point are passed over.
        """
        with ProgressBar(self._progress, self._n_blocks(groups)) as bar:
            for group in groups:
                for train, block in self._scores(group):
                    yield group.test, train, block
                    bar.advance()

    def account(self) -> Account:
        """Return what an array of zarr says of the influences."""
        features = self.shape[2:]
        heights = min(max(self.factors.lengths), self.group_size())
        return Account(
            content="influences",
            attributes={
                "description": DESCRIPTION,
                "sign": SIGN,
                "units": UNITS[self.mode],
                "mode": self.mode,
            },
            axes=("test", "train", *(f"feature_{axis}" for axis in range(len(features)))),
            identity={
                "mode": self.mode,
                **model_identity(self.model),
                **self.factors.origin,
                "training data": self.train.digest,
            },
            chunks=(heights, max(self.train.lengths)),
        )

    def _scores(self, group: Group) -> Iterator[tuple[slice, np.ndarray[Any, Any]]]:
        """Yield the scores of the wanted batches of training points."""
        factors = self.factors.rows(group.test).to(self.model.objective.device)
        process = process_to_limit(self._backend)
        context = ScoreContext(without_state(self.model), self.mode, factors, process)
        sent: deque[slice] = deque()

        def tasks() -> Iterator[Batch]:
            for numbers, batch in self.train:
                if _wanted(numbers, group.columns):
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
        return sum(_wanted(batch, group.columns) for group in groups for batch in batches)

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


def _wanted(numbers: slice, wanted: Iterable[slice]) -> bool:
    """Return whether some of the numbers are wanted."""
    return any(numbers.start < part.stop and part.start < numbers.stop for part in wanted)


def _numpy_type(dtype: torch.dtype) -> np.dtype[Any]:
    return torch.empty(0, dtype=dtype).numpy().dtype
