"""The result of a valuation: values with their errors, and how they came about."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dvl_core.errors import InvalidOptionError, ResultError
from dvl_core.result_arrays import as_names, frozen, positions_of_nan

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike

    from dvl_core.protocols import AnyArray, BoolArray, FloatArray, IntArray, Semivalue
    from dvl_core.result_plots import ResultPlots

__all__ = ["ValuationResult", "ValuedPlayer"]

SortKey = Literal["value", "stderr", "variance", "count", "index", "name"]

ARRAYS = ("values", "stderr", "variances", "counts", "converged", "indices", "names")


@dataclass(frozen=True, slots=True)
class ValuedPlayer:
    """One player of a result."""

    index: int
    name: Any
    value: float
    stderr: float
    count: int


class ValuationResult:
    """Values of players with their standard errors, in some order.

    Parameters
    ----------
    values : float array [n]
        NaN only where a player has no value; its count is then 0.
    stderr : float array [n]
        Standard errors; 0 for exact values, infinite where unknown.
    variances : float array [n]
        Sample variances of the replicates behind each value.
    counts : int array [n]
        Number of replicates (for exact methods: evaluations) behind each value.
    converged : bool array [n]
        Which players are known well enough: all that have a value if the run was complete, else
        those that the stopping rule names. Budgets name none; of two rules, ``|`` takes those that
        either names and ``&`` those that both name, a budget having no say; ``~`` names none. After
        Ctrl-C none is.
    indices : int array [n], optional
        Positions of the players in the training data; None: 0 .. n-1.
    names : sequence [n], optional
        Names of the players; None: their indices.
    algorithm : str
        Name of the method.
    seed : int, optional
        Seed of the run.
    n_evaluations, n_computed, n_failures : int
        Utility values used; those of them trained in this run; those that stand in for failed fits.
    stop_reason : str
        Why the run ended.
    extras : mapping, optional
        What else the method has to say: JSON-able scalars and arrays. Arrays over players stay in
        the order of the training data, whatever the order of the result: `indices` are their
        positions.

    Raises
    ------
    ResultError
        If the arrays do not fit each other.

    Examples
    --------
    >>> result = ValuationResult(
    ...     values=[0.3, -0.1], stderr=[0.1, 0.1], variances=[0.1, 0.1], counts=[10, 10],
    ...     converged=[True, True], names=["ann", "bob"],
    ... )
    >>> [player.name for player in result.sort()]
    ['bob', 'ann']
    """

    def __init__(
        self,
        *,
        values: ArrayLike,
        stderr: ArrayLike,
        variances: ArrayLike,
        counts: ArrayLike,
        converged: ArrayLike,
        indices: ArrayLike | None = None,
        names: Sequence[Any] | AnyArray | None = None,
        algorithm: str = "",
        seed: int | None = None,
        n_evaluations: int = 0,
        n_computed: int = 0,
        n_failures: int = 0,
        stop_reason: str = "",
        extras: Mapping[str, Any] | None = None,
    ) -> None:
        self.values: FloatArray = frozen(values, float)
        n = len(self.values)
        self.stderr: FloatArray = frozen(stderr, float)
        self.variances: FloatArray = frozen(variances, float)
        self.counts: IntArray = frozen(counts, np.int64)
        self.converged: BoolArray = frozen(converged, bool)
        self.indices: IntArray = frozen(np.arange(n) if indices is None else indices, np.int64)
        self.names: AnyArray = frozen(self.indices if names is None else as_names(names), None)
        self.algorithm = algorithm
        self.seed = seed
        self.n_evaluations = int(n_evaluations)
        self.n_computed = int(n_computed)
        self.n_failures = int(n_failures)
        self.stop_reason = stop_reason
        self.extras: dict[str, Any] = dict(extras or {})
        self._validate(n)

    def _validate(self, n: int) -> None:
        """Raise `ResultError` unless the arrays fit each other."""
        for field in ARRAYS:
            shape = getattr(self, field).shape
            if shape != (n,):
                raise ResultError(f"{field} has shape {shape}, but there are {n} values")
        orphans = np.isnan(self.values) & (self.counts > 0)
        if orphans.any():
            first = self.names[np.flatnonzero(orphans)[0]]
            raise ResultError(f"player {first} has the value NaN, yet a count above zero")

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[ValuedPlayer]:
        for position in range(len(self)):
            yield self._player(position)

    def __getitem__(self, key: Any) -> Any:
        """Return a `ValuedPlayer` for an integer, a result for a slice, mask or index array."""
        if isinstance(key, int | np.integer) and not isinstance(key, bool):
            if not -len(self) <= key < len(self):
                raise IndexError(f"position {key} is out of range for {len(self)} players")
            return self._player(int(key))
        return self._rearranged(np.arange(len(self))[key])

    def sort(self, by: SortKey = "value", descending: bool = False) -> ValuationResult:
        """Return the result in another order; ties keep theirs, NaN comes last.

        Parameters
        ----------
        by : str
            "value", "stderr", "variance", "count", "index" or "name".
        descending : bool
            Largest first.
        """
        fields = {
            "value": self.values,
            "stderr": self.stderr,
            "variance": self.variances,
            "count": self.counts,
            "index": self.indices,
            "name": self.names,
        }
        if by not in fields:
            raise InvalidOptionError(f"cannot sort by {by!r}; choose one of {', '.join(fields)}")
        # Ranks, so that "largest first" keeps ties in order for names as well as for numbers.
        _, rank = np.unique(fields[by], return_inverse=True)
        order = np.argsort(-rank if descending else rank, kind="stable")
        if by == "value":
            order = np.concatenate(
                [order[~np.isnan(self.values[order])], positions_of_nan(self.values)]
            )
        return self._rearranged(order)

    def _player(self, position: int) -> ValuedPlayer:
        """Return the player at a position of the current order."""
        name = self.names[position]
        return ValuedPlayer(
            int(self.indices[position]),
            name.item() if isinstance(name, np.generic) else name,
            float(self.values[position]),
            float(self.stderr[position]),
            int(self.counts[position]),
        )

    def _rearranged(self, positions: IntArray) -> ValuationResult:
        """Return the players at `positions`, in that order."""
        return self.replaced(**{field: getattr(self, field)[positions] for field in ARRAYS})

    def replaced(self, **changes: Any) -> ValuationResult:
        """Return a copy with some constructor arguments changed."""
        return ValuationResult(**{**self.arguments(), **changes})

    def arguments(self) -> dict[str, Any]:
        """Return the constructor arguments that make an equal result."""
        scalars = ("algorithm", "seed", "n_evaluations", "n_computed", "n_failures", "stop_reason")
        return {field: getattr(self, field) for field in (*ARRAYS, *scalars, "extras")}

    def confidence_interval(self, level: float = 0.95) -> FloatArray:
        """Return lower and upper ends [n, 2] of two-sided intervals, by Student's t.

        Exact values have intervals of width zero; values with an unknown error infinite ones.

        Parameters
        ----------
        level : float
            Coverage, in (0, 1).
        """
        from scipy.special import stdtrit

        if not 0 < level < 1:
            raise InvalidOptionError(f"level must lie between 0 and 1, got {level}")
        freedom = np.maximum(self.counts - 1, 1).astype(float)
        quantile = stdtrit(freedom, 0.5 + level / 2)
        half = np.where(self.stderr == 0, 0.0, quantile * self.stderr)
        return np.stack([self.values - half, self.values + half], axis=1)

    def to_frame(self) -> pd.DataFrame:
        """Return a pandas frame, one row per player, in the current order."""
        import pandas as pd

        return pd.DataFrame(
            {
                "index": self.indices,
                "name": self.names,
                "value": self.values,
                "stderr": self.stderr,
                "variance": self.variances,
                "count": self.counts,
                "converged": self.converged,
            }
        )

    @property
    def plot(self) -> ResultPlots:
        """Plots: ``plot.values()``, ``plot.histogram()``, ``plot.convergence()``."""
        from dvl_core.result_plots import ResultPlots

        return ResultPlots(self)

    def equals(self, other: ValuationResult) -> bool:
        """Whether all arrays are equal, bit for bit."""
        return all(
            getattr(self, f).shape == getattr(other, f).shape
            and (
                list(self.names) == list(other.names)
                if f == "names"
                else getattr(self, f).tobytes() == getattr(other, f).tobytes()
            )
            for f in ARRAYS
        )

    def merge(self, other: ValuationResult) -> ValuationResult:
        """Return the result of both runs together: counts add, means and spreads pool.

        Where values are means of observations, as they are for permutations, marginals and models
        of an ensemble, that is what one run over both would give, to rounding. Ratios of means and
        least squares (MSR, kernel Banzhaf, least-squares Shapley) are averaged by their counts,
        which is right too, with standard errors that are, but is not what one run would give: what
        these estimators are off by in small samples stays that of the single runs.

        Methods are compared by name, players by position and name; that both runs saw the same data
        and had the same options is for the caller to know.

        Raises
        ------
        ResultError
            If the runs saw the same (same seed, or a model that was fitted before decides all),
            if they are of another method or other players, or if the values of one are exact or
            without standard errors.
        """
        from dvl_core.result_merge import merged

        return merged(self, other)

    def revalue(
        self, semivalue: Semivalue, proxy: Literal["size", "linear", "trees"] | None = None
    ) -> ValuationResult:
        """Return the values by another semivalue, of the coalitions evaluated already.

        Nothing is trained. The result must be that of a `RecordingSampler`. Of every size, the
        evaluated coalitions stand for all; a fitted game is subtracted and its values added back,
        as `AdjustedSampler` does.

        Parameters
        ----------
        semivalue : Semivalue
            For instance ``BanzhafSemivalue()``, ``BetaSemivalue(4, 1)``, a `SizeLawSemivalue`.
        proxy : str, optional
            What is fitted: "size", "linear" or "trees"; None: "linear" for up to 2,000 players,
            else "size".

        Raises
        ------
        ResultError
            If there is no record, or too little in it.
        UnsupportedSemivalueError
            If the semivalue gives weight to sizes of which no coalition was evaluated.

        Warns
        -----
        DvlWarning
            If few of the evaluations count for the semivalue; how many is in the extras as
            ``effective_evaluations``.
        """
        from dvl_core.result_revalue import revalued

        return revalued(self, semivalue, proxy)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a ``.npz`` or ``.parquet`` file, atomically; see `load`."""
        from dvl_core.result_files import save_result

        save_result(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ValuationResult:
        """Read what `save` wrote; nothing is unpickled.

        Raises
        ------
        ResultError
            If the file is missing, damaged or not a saved result.
        """
        from dvl_core.result_files import load_result

        return load_result(path)

    def __repr__(self) -> str:
        name = self.algorithm or "values"
        return (
            f"<ValuationResult {name}: {len(self)} players, {self.n_evaluations:,} evaluations, "
            f"{self.stop_reason or 'unfinished'}>"
        )

    def _repr_html_(self) -> str:
        from dvl_core.result_html import result_html

        return result_html(self)
