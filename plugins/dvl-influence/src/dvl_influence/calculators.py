"""Influences between the points of two loaders, larger than memory if need be."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from dvl_core import create
from dvl_core.backends import default_backend
from dvl_core.errors import InvalidOptionError
from dvl_core.protocols import Backend
from dvl_influence.attribution import AttributionModel, Mode
from dvl_influence.lazy_factors import LazyFactors
from dvl_influence.lazy_influences import LazyInfluences
from dvl_influence.streams import Stream

if TYPE_CHECKING:
    import numpy as np
    import torch
    import zarr
    from zarr.abc.store import Store

    from dvl_influence.stored_factors import StoredFactors

__all__ = ["DEFAULT_FACTOR_BUDGET", "SequentialInfluenceCalculator", "check_calculator"]

DEFAULT_FACTOR_BUDGET = 2**30
"""Bytes for factors of test points, and for scores that are on their way."""


class SequentialInfluenceCalculator:
    """Compute influences batch by batch, from loaders.

    Parameters
    ----------
    if_model : AttributionModel
        Fitted: an `InfluenceModel`, or another method that scores training points.
    backend : Backend, str or dict, optional
        Where batches are worked on; None: joblib if its active ``parallel_config`` has workers,
        else here, one after the other. Several workers use one thread each.
    memory_budget : int
        Bytes for what is computed for test points before training points come in. The larger, the
        fewer times the training data are gone through.
    progress : bool
        Show a progress bar on stderr, if that is a terminal.

    Raises
    ------
    NotFittedError
        If the model has not been fitted.
    InvalidOptionError
        If it is no influence model, or the budget is no positive number.

    Examples
    --------
    >>> from dvl_influence import InfluenceModel
    >>> from dvl_influence.testing import batches, half_squares, ridge
    >>> problem = ridge(n=6)
    >>> loader = batches(problem.x, problem.y, 4)
    >>> influence = InfluenceModel(problem.model, half_squares, "identity").fit(loader)
    >>> SequentialInfluenceCalculator(influence).influences(loader, loader).compute().shape
    torch.Size([6, 6])
    """

    def __init__(
        self,
        if_model: AttributionModel,
        *,
        backend: Backend | str | Mapping[str, Any] | None = None,
        memory_budget: int = DEFAULT_FACTOR_BUDGET,
        progress: bool = False,
    ) -> None:
        check_calculator(if_model, memory_budget)
        self.if_model = if_model
        self.backend = None if backend is None else create("backend", backend)
        self.memory_budget = memory_budget
        self.progress = progress

    def influences(
        self, test_loader: Iterable[Any], train_loader: Iterable[Any], mode: Mode = "up"
    ) -> LazyInfluences:
        """Return the influences of the training on the test points; nothing is computed yet.

        Parameters
        ----------
        test_loader, train_loader : iterable
            Yield batches, the same ones every time: no shuffling. Rows and columns of the result
            are the points in this order. All batches are read once to count points and to know
            them again, and kept if they take less than a gibibyte.
        mode : str
            ``"up"``: scores; ``"perturbation"``: their gradients by x of the training points.

        Raises
        ------
        DataError
            If a loader is none.
        InvalidOptionError
            If there is no such mode.
        """
        return self._influences(
            self.influence_factors(test_loader),
            Stream(train_loader, self.if_model, "the training data"),
            mode,
        )

    def influence_factors(self, test_loader: Iterable[Any]) -> LazyFactors:
        """Return the factors of test points; nothing is computed yet.

        All that is expensive about many test points is solving for their factors: written to zarr,
        they give influences on any training points later.

        Parameters
        ----------
        test_loader : iterable
            Yields batches, the same ones every time: no shuffling.

        Raises
        ------
        DataError
            If the loader is none.
        """
        return LazyFactors(
            self.if_model,
            Stream(test_loader, self.if_model, "the test data"),
            backend=self.backend or default_backend(),
            memory_budget=self.memory_budget,
            progress=self.progress,
        )

    def influences_from_factors(
        self,
        factors: zarr.Array[Any]
        | str
        | os.PathLike[str]
        | Store
        | np.ndarray[Any, Any]
        | torch.Tensor,
        train_loader: Iterable[Any],
        mode: Mode = "up",
        *,
        storage_options: Mapping[str, Any] | None = None,
    ) -> LazyInfluences:
        """Return the influences of training points on the test points of stored factors.

        No test point is solved for. As many factors are read at a time as the memory budget allows.

        Parameters
        ----------
        factors : zarr.Array, str, path-like, zarr.abc.store.Store, or float array [n_test, k]
            What ``influence_factors(test_loader).to_zarr(path)`` returned, or its path or URL; or
            plain numbers, of numpy or torch, in the precision of the model or cast to it.
        train_loader : iterable
            Yields batches, the same ones every time: no shuffling.
        mode : str
            As for `influences`.
        storage_options : mapping, optional
            What fsspec is told besides a URL.

        Raises
        ------
        CheckpointError
            If the array of zarr is of another model, incomplete, or none of factors.
        DataError
            If plain numbers are not finite or of another length, or the loader is none.
        InvalidOptionError
            If `factors` is nothing of that, or there is no such mode.

        Examples
        --------
        >>> from dvl_influence import InfluenceModel
        >>> from dvl_influence.testing import batches, half_squares, ridge
        >>> problem = ridge(n=6)
        >>> loader = batches(problem.x, problem.y, 4)
        >>> influence = InfluenceModel(problem.model, half_squares, "identity").fit(loader)
        >>> calculator = SequentialInfluenceCalculator(influence)
        >>> _ = calculator.influence_factors(loader).to_zarr("memory://factors.zarr")
        >>> lazy = calculator.influences_from_factors("memory://factors.zarr", loader)
        >>> bool((lazy.compute() == calculator.influences(loader, loader).compute()).all())
        True
        """
        from dvl_influence.stored_factors import stored_factors

        train = Stream(train_loader, self.if_model, "the training data")
        stored = stored_factors(factors, self.if_model, train, storage_options)
        return self._influences(stored, train, mode)

    def _influences(
        self, factors: LazyFactors | StoredFactors, train: Stream, mode: Mode
    ) -> LazyInfluences:
        return LazyInfluences(
            self.if_model,
            factors,
            train,
            mode,
            backend=self.backend or default_backend(),
            memory_budget=self.memory_budget,
            progress=self.progress,
        )


def check_calculator(if_model: Any, memory_budget: Any) -> None:
    """Refuse what no calculator can work with."""
    if not isinstance(if_model, AttributionModel):
        raise InvalidOptionError(
            f"if_model is a {type(if_model).__name__}: it must be a fitted influence model, such "
            "as dvl_influence.InfluenceModel(model, loss).fit(train_loader)"
        )
    _ = if_model.objective
    if isinstance(memory_budget, bool) or not isinstance(memory_budget, int) or memory_budget <= 0:
        raise InvalidOptionError(
            f"memory_budget is {memory_budget!r}: it must be a positive number of bytes"
        )
