"""Influence factors that were solved for earlier, read as they are needed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import zarr
from zarr.abc.store import Store

from dvl_core.errors import CheckpointError, DataError, InvalidOptionError
from dvl_influence.attribution import AttributionModel
from dvl_influence.finite import all_finite
from dvl_influence.lazy_factors import CONTENT
from dvl_influence.lazy_table import as_writable
from dvl_influence.origins import check_identity, model_identity
from dvl_influence.places import place
from dvl_influence.streams import Stream

__all__ = ["StoredFactors", "stored_factors"]


class StoredFactors:
    """Factors [n_test, k] in an array of zarr, or in memory.

    Parameters
    ----------
    array : zarr.Array or array of numpy
        The factors.
    dtype : torch.dtype
        Precision of the model.
    origin : dict
        What decides them besides the model.
    name : str
        Of the array, for messages.
    """

    def __init__(self, array: Any, dtype: torch.dtype, origin: dict[str, str], name: str) -> None:
        self._array = array
        self._dtype = torch.empty(0, dtype=dtype).numpy().dtype
        self._name = name
        self.origin = origin

    @property
    def lengths(self) -> tuple[int, ...]:
        """Numbers of test points that lie together."""
        n_test = self._array.shape[0]
        height = self._array.chunks[0] if isinstance(self._array, zarr.Array) else n_test
        return tuple(min(height, n_test - start) for start in range(0, n_test, height))

    @property
    def length(self) -> int:
        """k, the length of a factor."""
        return int(self._array.shape[1])

    def rows(self, test: slice) -> torch.Tensor:
        """Return the factors [., k] of some test points, in main memory.

        Raises
        ------
        CheckpointError
            If they cannot be read, or some are missing.
        """
        told = "some are missing"
        try:
            found = np.asarray(self._array[test], dtype=self._dtype)
        except Exception as error:
            # Each file system has errors of its own.
            found, told = None, f"{type(error).__name__}: {error}"
        if found is None or not all_finite(found):
            raise CheckpointError(
                f"factors of test points {test.start} to {test.stop - 1} cannot be read from "
                f"{self._name}: {told}; to_zarr(..., overwrite=True) computes all anew"
            )
        return as_writable(found)


def stored_factors(
    factors: Any,
    model: AttributionModel,
    train: Stream,
    storage_options: Mapping[str, Any] | None = None,
) -> StoredFactors:
    """Return factors that are there already, if they are of this model.

    Parameters
    ----------
    factors : zarr.Array, str, path-like, zarr.abc.store.Store, or array [n_test, k]
        What `LazyFactors.to_zarr` returned, or was given; or plain numbers, of numpy or torch.
    model : AttributionModel
        Fitted.
    train : Stream
        Training points; plain numbers must be as long as their vectors.
    storage_options : mapping, optional
        What fsspec is told besides a URL.

    Raises
    ------
    CheckpointError
        If an array is of another model, incomplete, or none of factors.
    DataError
        If plain numbers are not finite, or not as long as vectors of training points.
    InvalidOptionError
        If it is nothing of that.
    """
    if isinstance(factors, np.ndarray | torch.Tensor):
        return _of_numbers(factors, model, train)
    if isinstance(factors, zarr.Array):
        return _of_zarr(factors, str(factors.store_path), model)
    if not isinstance(factors, str | os.PathLike | Store):
        raise InvalidOptionError(
            f"factors is a {type(factors).__name__}: it must be an array [n_test, p], what "
            "influence_factors(test_loader).to_zarr(path) returned, or its path or URL"
        )
    where = place(factors, storage_options)
    array = where.array("r")
    if array is None:
        raise CheckpointError(
            f"there is no array of zarr at {where}: influence_factors(test_loader).to_zarr(...) "
            "writes one"
        )
    return _of_zarr(array, str(where), model)


def _of_zarr(array: zarr.Array[Any], name: str, model: AttributionModel) -> StoredFactors:
    """Return the factors in an array that `LazyFactors.to_zarr` wrote."""
    attributes: Mapping[str, Any] = array.attrs
    if attributes.get("content") != CONTENT or "identity" not in attributes:
        raise CheckpointError(
            f"{name} holds no {CONTENT} that to_zarr wrote; if its numbers are some, give them as "
            "an array of numpy"
        )
    identity: Any = attributes["identity"]
    check_identity(
        identity,
        model_identity(model),
        f"{name} holds {CONTENT}",
        "give the model, fitted to the same data with the same options, that solved for them",
    )
    if not attributes.get("complete"):
        raise CheckpointError(
            f"{name} is incomplete: influence_factors(test_loader).to_zarr(...) with the same test "
            "data goes on where it stopped"
        )
    origin = {"test data": identity["test data"]}
    return StoredFactors(array, model.objective.dtype, origin, name)


def _of_numbers(factors: Any, model: AttributionModel, train: Stream) -> StoredFactors:
    """Return the factors in an array in memory, checked."""
    if isinstance(factors, torch.Tensor):
        factors = factors.detach().cpu()
        # Of which numpy knows nothing.
        factors = (factors.float() if factors.dtype == torch.bfloat16 else factors).numpy()
    if factors.ndim != 2 or not len(factors) or not np.issubdtype(factors.dtype, np.floating):
        raise DataError(
            f"factors are {factors.dtype} {factors.shape}: they must be floating-point numbers "
            "[n_test, p], with a row for each test point"
        )
    length = next(iter(model.train_vectors(train.first_point()))).shape[1]
    if factors.shape[1] != length:
        raise DataError(
            f"factors {factors.shape} must have {length} columns, as the vectors of training "
            f"points have for {type(model).__name__}"
        )
    stored = StoredFactors(factors, model.objective.dtype, {}, "the array")
    content = hashlib.blake2b(digest_size=16)
    # Row by row: a memory-mapped array need not fit into memory.
    for number in range(len(factors)):
        row = np.asarray(factors[number], dtype=stored._dtype)
        if not all_finite(row):
            raise DataError(f"factors of test point {number} hold NaN or infinity")
        content.update(row.tobytes())
    stored.origin["factors"] = content.hexdigest()
    return stored
