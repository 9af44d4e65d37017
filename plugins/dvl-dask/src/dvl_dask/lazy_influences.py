"""Influences that a Dask cluster computes when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dask.array as da
import numpy as np
import torch
from dask.delayed import delayed

from dvl_dask.array_points import ArrayStream, as_tensor
from dvl_dask.flight import Box
from dvl_influence.attribution import AttributionModel
from dvl_influence.data import Batch, as_batch
from dvl_influence.lazy_factors import LazyFactors
from dvl_influence.lazy_influences import LazyInfluences
from dvl_influence.score_tasks import (
    FactorContext,
    ScoreContext,
    process_to_limit,
    score_block,
    solve_points,
    without_state,
)
from dvl_influence.streams import Stream

__all__ = ["DaskInfluences"]


class DaskInfluences(LazyInfluences):
    """Influences [n_test, n_train] that are not computed yet, and will be by a Dask cluster.

    `compute`, `top_k`, `to_zarr` and iteration send batches from here to the workers, and keep no
    more results than they return. `to_dask` leaves chunks of arrays and results on the workers.
    """

    def to_dask(self) -> da.Array:
        """Return the influences as an array of Dask, to go on computing with.

        Its chunks are the pairs of chunks of test and training points. Each test point is solved
        for once; stored factors are read by the workers, chunk by chunk. Chunks of arrays are
        computed where they are used; the batches of loaders are read now, and become part of the
        graph, as the model does. Any scheduler of Dask can compute it.

        Returns
        -------
        dask.array.Array [n_test, n_train], in mode "perturbation" [n_test, n_train, *features]
        """
        process = process_to_limit(self._backend)
        scorer = delayed(Box((without_state(self.model), self.mode, process)), pure=False)
        train = list(_arguments(self.train))
        features = self.shape[2:]
        dtype = torch.empty(0, dtype=self.dtype).numpy().dtype
        meta = np.empty((0,) * (2 + len(features)), dtype=dtype)
        rows = [
            da.concatenate(
                [
                    da.from_delayed(
                        delayed(_score)(scorer, factor, *points),
                        shape=(height, width, *features),
                        meta=meta,
                    )
                    for points, width in zip(train, self.train.lengths, strict=True)
                ],
                axis=1,
            )
            for factor, height in zip(self._factors(process), self.factors.lengths, strict=True)
        ]
        return da.concatenate(rows, axis=0)

    def _factors(self, process: int | None) -> Iterator[Any]:
        """Yield the factors of the test points of each chunk, as tasks."""
        if isinstance(self.factors, LazyFactors):
            solver = delayed(Box(FactorContext(self.model, process)), pure=False)
            yield from (
                delayed(_solve)(solver, *points) for points in _arguments(self.factors.test)
            )
            return
        stored = delayed(Box(self.factors), pure=False)
        start = 0
        for length in self.factors.lengths:
            yield delayed(_read)(stored, start, start + length)
            start += length


def _arguments(stream: Stream) -> Iterator[tuple[Any, ...]]:
    """Yield each batch as arguments for tasks: x and y of arrays, or a box."""
    if isinstance(stream, ArrayStream):
        yield from stream.points.chunks()
        return
    for _, batch in stream:
        yield (delayed(Box(batch), pure=False),)


def _solve(solver: Box, *points: Any) -> np.ndarray[Any, Any]:
    """Return the factors of test points; on a worker."""
    context: FactorContext = solver.content
    return solve_points(context, _batch(context.model, points))


def _read(stored: Box, start: int, stop: int) -> np.ndarray[Any, Any]:
    """Return stored factors of test points; on a worker."""
    factors: np.ndarray[Any, Any] = stored.content.rows(slice(start, stop)).numpy()
    return factors


def _score(scorer: Box, factors: np.ndarray[Any, Any], *points: Any) -> np.ndarray[Any, Any]:
    """Return the influences of training points on test points; on a worker."""
    model, mode, process = scorer.content
    context = ScoreContext(model, mode, as_tensor(factors), process)
    return score_block(context, _batch(model, points))


def _batch(model: AttributionModel, points: tuple[Any, ...]) -> Batch:
    """Return a batch from a box, or from the two arrays of a chunk."""
    if len(points) == 1:
        batch: Batch = points[0].content
        return batch
    return as_batch(tuple(as_tensor(part) for part in points), model.adapter)
