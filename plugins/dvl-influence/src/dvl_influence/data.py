"""Batches of training and test points, checked, and kept in memory where they fit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from dvl_core.errors import DataError
from dvl_influence.trees import Tree, concatenate, leaves, length, map_tree, rows

__all__ = ["Adapter", "Batch", "Points", "as_batch", "checked_batch", "joined"]

Adapter = Callable[[Any], tuple[Any, Any]]
"""adapter(batch of the loader) -> (x, y): the inputs of the model, and the target of the loss."""


class Batch(NamedTuple):
    """Points of which the model takes `x` and the loss compares its output with `y`."""

    x: Tree
    y: Tree

    @property
    def n_points(self) -> int:
        """The number of points."""
        return len(next(leaves(self.x)))


def as_batch(raw: Any, adapter: Adapter | None) -> Batch:
    """Return what a loader yields as inputs and targets.

    Raises
    ------
    DataError
        If it is no pair and there is no adapter, or the adapter returns no pair.
    """
    pair = raw if adapter is None else adapter(raw)
    if isinstance(pair, Sequence) and len(pair) == 2 and not isinstance(pair, str):
        return Batch(*pair)
    if adapter is not None:
        raise DataError(f"the adapter must return (x, y), not a {type(pair).__name__}")
    raise DataError(
        f"the loader yields a {type(raw).__name__}, not pairs (x, y): give the option adapter, a "
        "function that turns a batch into the inputs of the model and the target of the loss"
    )


def checked_batch(x: Any, y: Any, device: torch.device, dtype: torch.dtype, what: str) -> Batch:
    """Return a batch of finite tensors on the device of the model, as many inputs as targets.

    Parameters
    ----------
    x, y : tree of tensors
        Inputs of the model and targets of the loss.
    device, dtype : torch.device, torch.dtype
        Where the model is, and the precision of floating-point numbers.
    what : str
        Name of the data, for messages.

    Raises
    ------
    DataError
        If lengths differ, tensors lie on another device, or numbers are not finite.
    """
    x, y = map_tree(lambda t: t.detach(), x), map_tree(lambda t: t.detach(), y)
    n_x, n_y = length(x, f"x of {what}"), length(y, f"y of {what}")
    if n_x != n_y:
        raise DataError(f"x of {what} has {n_x} points, but y has {n_y}")
    if n_x == 0:
        raise DataError(f"{what} hold no point")
    for name, tree in (("x", x), ("y", y)):
        for tensor in leaves(tree):
            if tensor.device != device:
                raise DataError(
                    f"{name} of {what} lies on {tensor.device}, but the model on {device}: move "
                    "one of them"
                )
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise DataError(f"{name} of {what} holds NaN or infinity")

    def cast(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    return Batch(map_tree(cast, x), map_tree(cast, y))


class Points:
    """The points of a loader, gone through as often as needed.

    Batches that fit into `memory_budget` together are kept after the first pass.

    Parameters
    ----------
    loader : iterable
        Yields batches, the same points every time, in whatever order and number.
    device, dtype : torch.device, torch.dtype
        Where the model is, and its precision.
    adapter : callable, optional
        Turns what the loader yields into (x, y).
    memory_budget : int
        Bytes.
    what : str
        Name of the data, for messages.

    Raises
    ------
    DataError
        If the loader is exhausted after one pass, or yields nothing, or what `checked_batch`
        refuses.
    """

    def __init__(
        self,
        loader: Iterable[Any],
        device: torch.device,
        dtype: torch.dtype,
        *,
        adapter: Adapter | None = None,
        memory_budget: int = 2**30,
        what: str = "the training data",
    ) -> None:
        if not isinstance(loader, Iterable):
            raise DataError(
                f"{what} must come as batches, from a DataLoader or a list of (x, y), not as a "
                f"{type(loader).__name__}: DataLoader(dataset, batch_size=256) makes them"
            )
        if isinstance(loader, Iterator):
            raise DataError(
                f"{what} come from a {type(loader).__name__}, which can be read once only; "
                "curvature reads them many times: give the loader itself, or a list of batches"
            )
        self._loader = loader
        self._adapter = adapter
        self._device = device
        self._dtype = dtype
        self._what = what
        self._kept: list[Batch] | None = None
        self._digests = 0
        self.n_points = self._first_pass(memory_budget)

    @property
    def digest(self) -> str:
        """Digest of the points, whatever their order and the batches."""
        return f"{self._digests:032x}"

    @property
    def in_memory(self) -> bool:
        """Whether the batches are kept."""
        return self._kept is not None

    def __iter__(self) -> Iterator[Batch]:
        """Yield all batches.

        Raises
        ------
        DataError
            If the loader yields another number of points than before.
        """
        if self._kept is not None:
            yield from self._kept
            return
        count = 0
        for batch in self._read():
            count += batch.n_points
            yield batch
        if count != self.n_points:
            raise DataError(
                f"the loader of {self._what} gave {self.n_points} points at first and {count} now: "
                "it must give the same points every time"
            )

    def sample(self, rng: np.random.Generator, n_points: int) -> Batch:
        """Return random points without replacement; of one random batch if none are kept."""
        if self._kept is not None:
            if len(self._kept) > 1:
                self._kept = joined(self._kept)
            sizes = np.array([batch.n_points for batch in self._kept])
            batch = self._kept[rng.choice(len(sizes), p=sizes / sizes.sum())]
        else:
            batch = self._batch_of(int(rng.integers(self.n_points)))
        chosen = rng.permutation(batch.n_points)[:n_points]
        where = torch.from_numpy(chosen).to(self._device)
        return Batch(rows(batch.x, where), rows(batch.y, where))

    def _batch_of(self, point: int) -> Batch:
        """Return the batch in which the loader yields the point of that number."""
        seen = 0
        for batch in self:
            seen += batch.n_points
            if seen > point:
                break
        return batch

    def _first_pass(self, budget: int) -> int:
        """Count the points, and keep them if they fit."""
        kept: list[Batch] | None = []
        count = held = 0
        for batch in self._read():
            count += batch.n_points
            self._digests = (self._digests + _sum_of_digests(batch)) % 2**128
            held += sum(t.numel() * t.element_size() for t in (*leaves(batch.x), *leaves(batch.y)))
            if held > budget:
                kept = None
            if kept is not None:
                kept.append(batch)
        if count == 0:
            raise DataError(f"{self._what} are empty: the loader yields no batch")
        self._kept = kept
        return count

    def _read(self) -> Iterator[Batch]:
        """Yield checked batches of the loader."""
        for raw in self._loader:
            x, y = as_batch(raw, self._adapter)
            yield checked_batch(x, y, self._device, self._dtype, self._what)


def _sum_of_digests(batch: Batch) -> int:
    """Return the sum of the digests of the points of a batch, as numbers."""
    tensors = [t.reshape(len(t), -1).cpu().contiguous() for tree in batch for t in leaves(tree)]
    width = sum(tensor.view(torch.uint8).shape[1] for tensor in tensors)
    data = np.concatenate([t.view(torch.uint8).numpy() for t in tensors], axis=1).tobytes()
    points = (data[i * width : (i + 1) * width] for i in range(batch.n_points))
    digests = (hashlib.blake2b(point, digest_size=16).digest() for point in points)
    return sum(int.from_bytes(digest, "big") for digest in digests)


def joined(batches: list[Batch]) -> list[Batch]:
    """Return one batch of all points, or the batches as they are if their shapes do not fit."""
    try:
        return [Batch(concatenate([b.x for b in batches]), concatenate([b.y for b in batches]))]
    except RuntimeError:
        return batches
