"""A table with a row for each test point that is computed when, and as far as, it is asked for."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from dvl_core.protocols import Backend
from dvl_influence.attribution import AttributionModel

if TYPE_CHECKING:
    import zarr
    from zarr.abc.store import Store

__all__ = ["Account", "Group", "LazyTable", "as_writable"]


class Group(NamedTuple):
    """Test points whose numbers are in memory together, and what is wanted of them."""

    test: slice
    columns: tuple[slice, ...]
    """Wanted columns, in ascending order."""


class Account(NamedTuple):
    """What an array of zarr says of the numbers in it."""

    content: str
    """What they are, in two words."""
    attributes: dict[str, Any]
    """Their meaning, sign and units."""
    axes: tuple[str, ...]
    identity: dict[str, Any]
    """What decides them, ready for JSON."""
    chunks: tuple[int, int]
    """Rows and columns that come together."""


class LazyTable(ABC):
    """Numbers of test points, a row for each, that are not computed yet.

    Nothing is kept: each method computes what it returns, in groups of test points.
    """

    def __init__(
        self,
        model: AttributionModel,
        *,
        backend: Backend,
        memory_budget: int,
        progress: bool = False,
    ) -> None:
        self.model = model
        self._backend = backend
        self._memory_budget = memory_budget
        self._progress = progress

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Test points, columns, and what further axes there are."""

    @property
    def dtype(self) -> torch.dtype:
        """Type of the numbers."""
        return self.model.objective.dtype

    @abstractmethod
    def group_size(self) -> int:
        """Return for how many test points the numbers fit the memory budget."""

    @abstractmethod
    def groups(self) -> list[Group]:
        """Return groups of test points that fit the memory budget, for all columns."""

    @abstractmethod
    def blocks(
        self, groups: Sequence[Group]
    ) -> Iterator[tuple[slice, slice, np.ndarray[Any, Any]]]:
        """Yield for each group its test points, columns, and their numbers, part by part.

        Each part has all test points of its group, and parts follow each other along the columns.
        Groups must come in the order of the test points.
        """

    @abstractmethod
    def account(self) -> Account:
        """Return what an array of zarr says of the numbers."""

    def compute(self) -> torch.Tensor:
        """Return all numbers, in main memory.

        Returns
        -------
        float tensor of the shape `shape`
            Of torch, as everything that influence models return; ``numpy.asarray`` takes it without
            a copy.
        """
        table = torch.empty(self.shape, dtype=self.dtype)
        for test, columns, block in self.blocks(self.groups()):
            table[test, columns] = as_writable(block)
        return table

    def to_zarr(
        self,
        path: str | os.PathLike[str] | Store,
        overwrite: bool = False,
        *,
        chunks: tuple[int, int] | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> zarr.Array[Any]:
        """Write the numbers, chunk by chunk, and return them as an array of zarr.

        Called again with the same arguments after it was cut off, it goes on where it was; what is
        complete is returned at once. Attributes of the array say what the numbers are.

        Parameters
        ----------
        path : str, path-like or zarr.abc.store.Store
            A folder, a URL that fsspec knows (``"s3://bucket/scores.zarr"``), or a store of zarr
            with the array at its root.
        overwrite : bool
            Replace what is there, if it is an array of zarr.
        chunks : tuple of two int, optional
            Rows and columns in a chunk; None: those of a batch. Chunks are what is written at a
            time, each to an object of its own.
        storage_options : mapping, optional
            What fsspec is told besides the URL.

        Raises
        ------
        CheckpointError
            If there are numbers of another model, method or data, or anything else, or it cannot be
            read or written.
        InvalidOptionError
            If an option is none of these.
        MissingDependencyError
            If a package is missing that this kind of URL needs.
        """
        from dvl_influence.places import place
        from dvl_influence.zarr_output import write_zarr

        where = place(path, storage_options)
        return write_zarr(self, where, overwrite=overwrite, chunks=chunks)


def as_writable(array: np.ndarray[Any, Any]) -> torch.Tensor:
    """Return an array as a tensor, copied if a backend or a file hands it out read-only."""
    return torch.from_numpy(np.require(array, requirements="W"))
