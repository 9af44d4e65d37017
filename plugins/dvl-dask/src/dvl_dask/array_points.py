"""Points in arrays of Dask, a batch for each chunk."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import dask.array as da
import numpy as np
import torch

from dvl_core.errors import DataError
from dvl_dask.backend import DaskBackend
from dvl_influence.attribution import AttributionModel
from dvl_influence.streams import Stream

__all__ = ["ArrayPoints", "ArrayStream", "as_tensor", "stream"]


def stream(points: Any, backend: DaskBackend, model: AttributionModel, what: str) -> Stream:
    """Return the points of a loader or of two arrays of Dask.

    Raises
    ------
    DataError
        If they are neither, or chunks are not as they must be.
    """
    if isinstance(points, tuple | list) and any(isinstance(part, da.Array) for part in points):
        return ArrayStream(ArrayPoints(points, backend, what), model, what)
    return Stream(points, model, what)


class ArrayPoints:
    """A loader that yields the chunks of x and y, each brought here when it is asked for.

    Parameters
    ----------
    pair : tuple of two dask.array.Array
        Inputs and targets.
    backend : DaskBackend
        Computes the chunks.
    what : str
        Name of the data, for messages.

    Raises
    ------
    DataError
        If they are no two arrays of Dask with the same known chunks along the first axis, or have
        several chunks along another.
    """

    def __init__(self, pair: Any, backend: DaskBackend, what: str) -> None:
        _check(pair, what)
        self.x, self.y = pair
        self._backend = backend
        lengths = self.x.chunks[0]
        # Chunks that a selection left empty hold no points.
        self._filled = [number for number, length in enumerate(lengths) if length > 0]
        self.lengths = tuple(int(lengths[number]) for number in self._filled)

    def chunks(self) -> Iterator[tuple[da.Array, da.Array]]:
        """Yield x and y of each chunk, as arrays that are not computed."""
        for number in self._filled:
            yield self.x.blocks[number], self.y.blocks[number]

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        client = self._backend.client
        for chunk in self.chunks():
            x, y = client.gather(client.compute(list(chunk)))
            yield as_tensor(x), as_tensor(y)


class ArrayStream(Stream):
    """The points of arrays, whose number and shape are known before they are computed."""

    def __init__(self, points: ArrayPoints, model: AttributionModel, what: str) -> None:
        super().__init__(points, model, what)
        self.points = points

    @property
    def lengths(self) -> tuple[int, ...]:
        """The number of points of each chunk."""
        return self.points.lengths

    @property
    def features(self) -> tuple[int, ...]:
        """The shape of x of one point."""
        return tuple(self.points.x.shape[1:])


def as_tensor(array: Any) -> torch.Tensor:
    """Return a copy of an array as a tensor: what comes through the network is read-only."""
    return torch.from_numpy(np.array(array))


def _check(pair: Any, what: str) -> None:
    """Refuse what are no two arrays in matching chunks."""
    if len(pair) != 2 or not all(isinstance(part, da.Array) for part in pair):
        kinds = ", ".join(type(part).__name__ for part in pair)
        raise DataError(
            f"{what} must be two arrays of Dask (x, y), or a loader, not ({kinds}): make arrays "
            "with dask.array.from_array(x, chunks=(1000, -1))"
        )
    for name, array in zip("xy", pair, strict=True):
        if array.ndim == 0:
            raise DataError(f"{name} of {what} is a single number: points lie along the first axis")
        if any(math.isnan(length) for length in array.chunks[0]):
            raise DataError(
                f"the chunks of {name} of {what} have unknown lengths: call compute_chunk_sizes()"
            )
        if any(blocks != 1 for blocks in array.numblocks[1:]):
            chunks = (-1,) * (array.ndim - 1)
            raise DataError(
                f"{name} of {what} has several chunks along other axes than the first, "
                f"{array.numblocks} in all, but every point must be in one: use "
                f"{name}.rechunk((1000, {', '.join(map(str, chunks))}))"
            )
    x, y = pair
    if x.chunks[0] != y.chunks[0]:
        raise DataError(
            f"x and y of {what} have different chunks along the first axis, {_short(x)} and "
            f"{_short(y)}: use y.rechunk({{0: x.chunks[0]}})"
        )
    if not x.shape[0]:
        raise DataError(f"{what} are empty")


def _short(array: da.Array) -> str:
    lengths = array.chunks[0]
    return f"({', '.join(map(str, lengths[:4]))}{', ...' if len(lengths) > 4 else ''})"
