"""The points of a loader in one order, that of the rows or columns of a matrix of scores."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, NamedTuple

import torch

from dvl_core.errors import DataError
from dvl_influence.attribution import AttributionModel
from dvl_influence.data import Batch, as_batch
from dvl_influence.trees import leaves, map_tree, rows

__all__ = ["Stream"]

KEPT_BYTES = 2**30
"""Batches that take no more memory together are read once."""


class _Scan(NamedTuple):
    """What the first pass over a loader found."""

    lengths: tuple[int, ...]
    batch_digests: tuple[str, ...]
    digest: str
    features: tuple[int, ...] | None
    kept: list[Batch] | None


class Stream:
    """The points of a loader, known by number: the same ones in the same order in every pass.

    Parameters
    ----------
    loader : iterable
        Yields batches.
    model : AttributionModel
        Says what a batch is, and on which device and in which precision it must be.
    what : str
        Name of the data, for messages.

    Raises
    ------
    DataError
        If it is no loader, or can be read once only. When it is read: if it is empty, shuffles,
        or changes.
    """

    def __init__(self, loader: Iterable[Any], model: AttributionModel, what: str) -> None:
        if not isinstance(loader, Iterable) or isinstance(loader, torch.Tensor):
            raise DataError(
                f"{what} must come as batches, from a DataLoader or a list of (x, y), not as a "
                f"{type(loader).__name__}: DataLoader(dataset, batch_size=256) makes them"
            )
        if isinstance(loader, Iterator):
            raise DataError(
                f"{what} come from a {type(loader).__name__}, which can be read once only: give "
                "the loader itself, or a list of batches"
            )
        self._loader = loader
        self._model = model
        self._what = what

    @property
    def lengths(self) -> tuple[int, ...]:
        """The number of points of each batch."""
        return self._scan.lengths

    @property
    def n_points(self) -> int:
        """The number of points."""
        return sum(self.lengths)

    @property
    def features(self) -> tuple[int, ...] | None:
        """The shape of x of one point; None if x is no single tensor, or shapes differ."""
        return self._scan.features

    @property
    def digest(self) -> str:
        """Digest of the points and their order, whatever the batches."""
        return self._scan.digest

    def first_point(self) -> Batch:
        """Return the first point, without reading more than its batch."""
        batch = next(self._read(), None)
        if batch is None:
            raise DataError(f"{self._what} are empty: the loader yields no batch")
        return Batch(rows(batch.x, slice(0, 1)), rows(batch.y, slice(0, 1)))

    def __iter__(self) -> Iterator[tuple[slice, Batch]]:
        """Yield the numbers of the points of each batch, and the batch.

        Raises
        ------
        DataError
            If the batches are not those of the first pass.
        """
        known = self._scan
        batches = self._checked() if known.kept is None else known.kept
        start = 0
        for length, batch in zip(known.lengths, batches, strict=True):
            yield slice(start, start + length), batch
            start += length

    @cached_property
    def _scan(self) -> _Scan:
        """Read all batches once, and the first one again."""
        total = _RunningDigest()
        lengths, digests, shapes = [], [], set()
        kept: list[Batch] | None = []
        held = 0
        for batch in self._read():
            lengths.append(batch.n_points)
            digests.append(_batch_digest(batch))
            shapes.add(tuple(batch.x.shape[1:]) if isinstance(batch.x, torch.Tensor) else None)
            total.update(batch)
            held += sum(t.numel() * t.element_size() for tree in batch for t in leaves(tree))
            if held > KEPT_BYTES:
                kept = None
            if kept is not None:
                kept.append(batch)
        if not lengths:
            raise DataError(f"{self._what} are empty: the loader yields no batch")
        features = shapes.pop() if len(shapes) == 1 else None
        scan = _Scan(tuple(lengths), tuple(digests), total.hexdigest(), features, kept)
        self._check(scan.batch_digests, 0, next(self._read(), None))
        return scan

    def _checked(self) -> Iterator[Batch]:
        """Yield the batches again, sure that they are those of the first pass."""
        digests = self._scan.batch_digests
        number = 0
        for number, batch in enumerate(self._read(), start=1):
            self._check(digests, number - 1, batch)
            yield batch
        if number < len(digests):
            self._check(digests, number, None)

    def _check(self, digests: tuple[str, ...], number: int, batch: Batch | None) -> None:
        """Refuse a batch that is not the one that was there before."""
        known = digests[number] if number < len(digests) else None
        if batch is None or _batch_digest(batch) != known:
            raise DataError(
                f"batch {number} of {self._what} is another one than before: rows and columns of "
                "the scores are points in the order of the loader, which must be the same every "
                "time, without shuffle=True and without random transformations"
            )

    def _read(self) -> Iterator[Batch]:
        """Yield the checked batches of the loader."""
        for raw in self._loader:
            x, y = as_batch(raw, self._model.adapter)
            yield self._model.batch(x, y, self._what)


class _RunningDigest:
    """Digest of points that come in batches, the same for batches of any size."""

    def __init__(self) -> None:
        self._layout = hashlib.blake2b(digest_size=16)
        self._signature = ""
        self._count = 0
        self._leaves: list[Any] = []

    def update(self, batch: Batch) -> None:
        """Take in the next points."""
        signature = repr(map_tree(_kind, tuple(batch)))
        if signature != self._signature:
            self._layout.update(f"{self._count}:{signature};".encode())
            self._signature = signature
        self._count += batch.n_points
        for number, tensor in enumerate(leaves(tuple(batch))):
            if number == len(self._leaves):
                self._leaves.append(hashlib.blake2b(digest_size=16))
            self._leaves[number].update(_content(tensor))

    def hexdigest(self) -> str:
        """Return the digest of what has come."""
        total = self._layout.copy()
        for leaf in self._leaves:
            total.update(leaf.digest())
        return total.hexdigest()


def _batch_digest(batch: Batch) -> str:
    one = _RunningDigest()
    one.update(batch)
    return one.hexdigest()


def _kind(tensor: torch.Tensor) -> Any:
    """Return what must be the same of all points."""
    return str(tensor.dtype), tuple(tensor.shape[1:])


def _content(tensor: torch.Tensor) -> memoryview:
    """Return the bytes of a tensor, row by row."""
    return tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy().data
