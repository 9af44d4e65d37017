"""Influences computed on a Dask cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from dvl_core.errors import MissingDependencyError
from dvl_dask.backend import DaskBackend

if TYPE_CHECKING:
    from distributed import Client

    from dvl_dask.lazy_influences import DaskInfluences
    from dvl_influence.attribution import AttributionModel
    from dvl_influence.lazy_factors import LazyFactors
    from dvl_influence.stored_factors import StoredFactors
    from dvl_influence.streams import Stream

__all__ = ["DaskInfluenceCalculator"]


class DaskInfluenceCalculator:
    """Compute influences on the workers of a Dask cluster, from loaders or arrays of Dask.

    The numbers are those of `SequentialInfluenceCalculator`. Workers may have several threads, but
    while a model runs in one of them the others wait: processes with one thread each are faster.

    Parameters
    ----------
    if_model : AttributionModel
        Fitted: an influence model of `dvl_influence` or its plugins. It travels to every worker,
        with the training data if its method reads them at every solve.
    client : distributed.Client, str or DaskBackend, optional
        As for `DaskBackend`; or a backend, with the resources and retries that it was given.
    memory_budget : int
        Bytes for what is computed for test points before training points come in.
    progress : bool
        Show a progress bar on stderr, if that is a terminal.

    Raises
    ------
    MissingDependencyError
        If dvl-influence is not installed.
    NotFittedError
        If the model has not been fitted.
    InvalidOptionError
        If an option is none of these.

    Examples
    --------
    >>> import dask.array as da
    >>> from dvl_dask import local_client
    >>> from dvl_influence import InfluenceModel
    >>> from dvl_influence.testing import batches, half_squares, ridge
    >>> problem = ridge(n=6)
    >>> loader = batches(problem.x, problem.y, 6)
    >>> influence = InfluenceModel(problem.model, half_squares, "identity").fit(loader)
    >>> points = tuple(da.from_array(t.numpy(), chunks=(3, -1)) for t in (problem.x, problem.y))
    >>> with local_client(1, processes=False) as client:
    ...     lazy = DaskInfluenceCalculator(influence, client).influences(points, points)
    ...     lazy.to_dask().chunks, lazy.top_k(2)[0].shape
    (((3, 3), (3, 3)), torch.Size([6, 2]))
    """

    def __init__(
        self,
        if_model: AttributionModel,
        client: Client | str | DaskBackend | None = None,
        *,
        memory_budget: int = 2**30,
        progress: bool = False,
    ) -> None:
        try:
            from dvl_influence.calculators import check_calculator
        except ModuleNotFoundError as error:
            raise MissingDependencyError(
                f"DaskInfluenceCalculator needs the package {error.name}: "
                "pip install 'dvl-dask[influence]'"
            ) from error
        check_calculator(if_model, memory_budget)
        self.if_model = if_model
        self.backend = client if isinstance(client, DaskBackend) else DaskBackend(client)
        self.memory_budget = memory_budget
        self.progress = progress

    def influences(
        self,
        test: Iterable[Any],
        train: Iterable[Any],
        mode: Literal["up", "perturbation"] = "up",
    ) -> DaskInfluences:
        """Return the influences of the training on the test points; nothing is computed yet.

        Parameters
        ----------
        test, train : iterable or tuple of two dask.array.Array
            A loader that yields the same batches every time, or inputs and targets (x, y) as arrays
            of Dask in the same chunks along the first axis, and in one chunk along all others.
        mode : str
            ``"up"``: scores; ``"perturbation"``: their gradients by x of the training points.

        Raises
        ------
        DataError
            If a loader is none, or chunks of arrays are not as they must be.
        InvalidOptionError
            If there is no such mode.
        """
        factors = self.influence_factors(test)
        return self._influences(factors, self._stream(train, "the training data"), mode)

    def influence_factors(self, test: Iterable[Any]) -> LazyFactors:
        """Return the factors of test points; nothing is computed yet.

        Parameters
        ----------
        test : iterable or tuple of two dask.array.Array
            As for `influences`.

        Raises
        ------
        DataError
            If a loader is none, or chunks of arrays are not as they must be.
        """
        from dvl_influence.lazy_factors import LazyFactors

        return LazyFactors(
            self.if_model,
            self._stream(test, "the test data"),
            backend=self.backend,
            memory_budget=self.memory_budget,
            progress=self.progress,
        )

    def influences_from_factors(
        self,
        factors: Any,
        train: Iterable[Any],
        mode: Literal["up", "perturbation"] = "up",
        *,
        storage_options: Mapping[str, Any] | None = None,
    ) -> DaskInfluences:
        """Return the influences of training points on the test points of stored factors.

        No test point is solved for. `to_dask` makes workers read the factors for themselves: they
        must reach the folder or URL that they are in.

        Parameters
        ----------
        factors : zarr.Array, str, path-like, zarr.abc.store.Store, or float array [n_test, k]
            What ``influence_factors(test).to_zarr(path)`` returned, or its path or URL; or plain
            numbers, of numpy or torch.
        train : iterable or tuple of two dask.array.Array
            As for `influences`.
        mode : str
            As for `influences`.
        storage_options : mapping, optional
            What fsspec is told besides a URL.

        Raises
        ------
        CheckpointError
            If the array of zarr is of another model, incomplete, or none of factors.
        DataError
            If plain numbers are not finite or of another length, or training data are none.
        InvalidOptionError
            If `factors` is nothing of that, or there is no such mode.
        """
        from dvl_influence.stored_factors import stored_factors

        points = self._stream(train, "the training data")
        stored = stored_factors(factors, self.if_model, points, storage_options)
        return self._influences(stored, points, mode)

    def _stream(self, points: Iterable[Any], what: str) -> Stream:
        from dvl_dask.array_points import stream

        return stream(points, self.backend, self.if_model, what)

    def _influences(
        self,
        factors: LazyFactors | StoredFactors,
        train: Stream,
        mode: Literal["up", "perturbation"],
    ) -> DaskInfluences:
        from dvl_dask.lazy_influences import DaskInfluences

        return DaskInfluences(
            self.if_model,
            factors,
            train,
            mode,
            backend=self.backend,
            memory_budget=self.memory_budget,
            progress=self.progress,
        )
