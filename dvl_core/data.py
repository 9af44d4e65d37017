"""The data set of a valuation: rows, and the players that own them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import numpy as np

from dvl_core.digests import UndigestibleError, digest
from dvl_core.errors import DataError
from dvl_core.labels import (
    feature_names_of,
    numbered_groups,
    parts_of_frame,
    player_mask,
    player_names,
    player_numbers,
    row_names,
    rows_by_group,
)
from dvl_core.splitting import parts_of_bunch, split_rows
from dvl_core.tabular import as_features, in_memory, take_rows
from dvl_core.target import Target
from dvl_core.travel import Portable

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from dvl_core.protocols import AnyArray

__all__ = ["Dataset", "take_rows"]

M = TypeVar("M")


class Dataset(Portable):
    """Features and targets, and who the players are: each row, or each group of rows.

    Nothing is copied that need not be; arrays must not be changed afterwards. Iterating yields what
    models take, so that ``model.fit(*data)`` works. What Dask holds is computed. Memory-mapped and
    zarr arrays stay on disk, and workers open them. Selecting and splitting read the rows they
    take; slices of mapped arrays read nothing: ``Dataset(x[:n], y[:n])``.

    Parameters
    ----------
    x : array, tensor, DataFrame, sparse matrix, zarr array or list [n_rows, ...]
        Features. Torch tensors stay tensors, in main memory and without their gradient; frames stay
        frames (polars becomes pandas), sparse matrices become CSR, lists of rows arrays; of texts
        or other objects each is a row.
    y : array-like or tensor [n_rows] or [n_rows, t]
        Target or targets; no missing values. The attribute is an array, and [n_rows] for a single
        column. Models are given a tensor where a tensor was given, in its shape and type.
    names : sequence [n], optional
        Names of the players. Default: the labels of the groups, else the index of a frame, else
        the row numbers.
    groups : array-like [n_rows], optional
        Label of the group of each row. The players are then the groups, in the order of their
        first appearance.
    feature_names : sequence of str, optional
        Default: the columns of a frame, else ``x0, x1, ...``.
    target_names : sequence of str, optional
        Names of the classes or of the targets.

    Raises
    ------
    DataError
        If the data is empty or ragged, lengths differ, targets or groups are missing, or a tensor
        is not a dense one in main memory.

    Examples
    --------
    >>> data = Dataset([[0.0], [1.0], [2.0]], [0, 1, 1], groups=["b", "a", "b"])
    >>> len(data), data.n_rows, data.names.tolist()
    (2, 3, ['b', 'a'])
    >>> data.drop_indices([1]).y
    array([0, 1])
    """

    tables: ClassVar[tuple[str, ...]] = ("x",)

    def __init__(
        self,
        x: Any,
        y: Any,
        *,
        names: Sequence[Any] | AnyArray | None = None,
        groups: ArrayLike | None = None,
        feature_names: Sequence[str] | None = None,
        target_names: Sequence[str] | None = None,
    ) -> None:
        self.x = as_features(x)
        self.n_rows = int(self.x.shape[0])
        self._target = Target(y, self.n_rows)
        self.groups, labels = numbered_groups(groups, self.n_rows)
        self.n_players = self.n_rows if self.groups is None else len(labels)
        default = labels or row_names(self.x)
        self.names = player_names(default if names is None else names, self.n_players)
        self.feature_names = feature_names_of(feature_names, self.x)
        self.target_names = tuple(map(str, () if target_names is None else target_names))

    def __len__(self) -> int:
        """Return the number of players."""
        return self.n_players

    def __iter__(self) -> Iterator[Any]:
        """Yield `x`, and `y` as an array, or as a tensor if it was given as one."""
        return iter((self.x, self._target.for_anyone()))

    def __repr__(self) -> str:
        groups = "" if self.groups is None else f"{self.n_players} groups of "
        shape = " x ".join(map(str, self.x.shape[1:])) or "object"
        features = f"{shape} features ({type(self.x).__name__})"
        return f"Dataset({groups}{self.n_rows} rows, {features}, y {self.y.dtype})"

    @property
    def y(self) -> AnyArray:
        """Target [n_rows], or [n_rows, t] where there is more than one."""
        return self._target.values

    @property
    def indices(self) -> NDArray[np.int64]:
        """Numbers of the players [n]."""
        return np.arange(self.n_players, dtype=np.int64)

    @cached_property
    def digest(self) -> str:
        """Digest of the content: x, y, groups and names of features; not the names of players.

        Asking for it raises `DataError` if `x` holds objects whose content cannot be read.
        """
        try:
            return digest("Dataset", self.x, self._target.as_given, self.groups, self.feature_names)
        except UndigestibleError as error:
            raise DataError(f"the content of the data cannot be digested: {error}") from error

    def rows(self, players: ArrayLike) -> NDArray[np.intp]:
        """Return the rows that belong to some players.

        Parameters
        ----------
        players : bool array [n] or int array
            A coalition as a mask, or the numbers of players.

        Returns
        -------
        int array
            For a mask in the order of the data; for numbers in the order given, the rows of a
            group one after the other.
        """
        chosen = np.asarray(players)
        if chosen.dtype == bool:
            mask = player_mask(chosen, len(self))
            return np.flatnonzero(mask if self.groups is None else mask[self.groups])
        numbers = player_numbers(chosen, len(self))
        if self.groups is None:
            return numbers
        by_group, ends = self._rows_by_group
        return np.concatenate([by_group[ends[i] : ends[i + 1]] for i in numbers] or [numbers])

    @cached_property
    def _rows_by_group(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The rows sorted by group, and where each group begins and ends."""
        assert self.groups is not None
        return rows_by_group(self.groups, self.n_players)

    def select(self, indices: ArrayLike) -> Self:
        """Return the data of some players only.

        Parameters
        ----------
        indices : int array or bool array [n]
            Numbers of the players, in the order they shall have, or a mask.

        Raises
        ------
        DataError
            If a number is out of range or repeated, or nobody is left.
        """
        chosen = np.asarray(indices)
        rows = self.rows(chosen)
        if len(rows) == 0:
            raise DataError(f"none of the {len(self)} players is left")
        names = self.names[chosen if chosen.dtype == bool else np.atleast_1d(chosen)]
        return self._with_rows(rows, names)

    def drop_indices(self, indices: ArrayLike) -> Self:
        """Return the data without some players; the others keep their order and names.

        Parameters
        ----------
        indices : int array or bool array [n]
            Numbers of the players to drop, or a mask of them; errors as for `select`.
        """
        chosen = np.asarray(indices)
        if chosen.dtype == bool:
            return self.select(~chosen)
        kept = np.ones(len(self), dtype=bool)
        kept[player_numbers(chosen, len(self))] = False
        return self.select(kept)

    def _with_rows(self, rows: NDArray[np.intp], names: AnyArray | None = None) -> Self:
        """Return the data of these rows; `names` None: the names that the players have."""
        groups = None if self.groups is None else self.groups[rows]
        if names is None:
            first = rows if groups is None else np.array(list(dict.fromkeys(groups.tolist())))
            names = self.names[first]
        return type(self)(
            take_rows(self.x, rows),
            take_rows(self._target.as_given, rows),
            names=names,
            groups=groups,
            feature_names=self.feature_names or None,
            target_names=self.target_names,
        )

    def target_for(self, model: Any) -> Any:
        """Return the target of all rows as `model` takes it.

        A tensor if it was given as one, else `y`; but a single column stays one for models that
        learn with torch, classifiers aside: their losses compare shapes.
        """
        return self._target.for_model(model)

    def fit(self, model: M) -> M:
        """Fit `model` on all rows and return it.

        Examples
        --------
        >>> from sklearn.linear_model import LinearRegression
        >>> Dataset([[0.0], [1.0]], [1.0, 3.0]).fit(LinearRegression()).coef_.round(6)
        array([2.])
        """
        model.fit(in_memory(self.x), self.target_for(model))  # type: ignore[attr-defined]
        return model

    @classmethod
    def from_arrays(
        cls,
        x: Any,
        y: Any,
        train_size: float = 0.8,
        random_state: int | None = None,
        stratify: bool = False,
        groups: ArrayLike | None = None,
    ) -> tuple[Self, Self]:
        """Split rows at random into a training and a test set.

        Rows are split, not groups: each side keeps the groups of its rows. Players keep the names
        that they have in the whole.

        Parameters
        ----------
        x, y, groups : array-like
            As for `Dataset`.
        train_size : float or int
            Share of the rows for training, between 0 and 1, or their number.
        random_state : int, optional
            Seed of the split.
        stratify : bool
            Keep the shares of the classes.

        Returns
        -------
        train, test : Dataset

        Examples
        --------
        >>> train, test = Dataset.from_arrays([[0], [1], [2], [3]], [0, 1, 0, 1], train_size=0.5)
        >>> len(train), len(test)
        (2, 2)
        """
        return cls(x, y, groups=groups)._split(train_size, random_state, stratify)

    @classmethod
    def from_sklearn(
        cls,
        bunch: Any,
        train_size: float = 0.8,
        random_state: int | None = None,
        stratify: bool = False,
    ) -> tuple[Self, Self]:
        """Split a data set of ``sklearn.datasets`` into a training and a test set.

        Parameters
        ----------
        bunch : Bunch
            What ``load_*`` and ``fetch_*`` return: has `data` and `target`.
        train_size, random_state, stratify
            As for `from_arrays`.

        Returns
        -------
        train, test : Dataset

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> train, test = Dataset.from_sklearn(load_iris(), train_size=0.6)
        >>> len(train), len(test)
        (90, 60)
        """
        x, y, features, targets = parts_of_bunch(bunch)
        whole = cls(x, y, feature_names=features, target_names=targets)
        return whole._split(train_size, random_state, stratify)

    def _split(self, train_size: float, seed: int | None, stratify: bool) -> tuple[Self, Self]:
        """Return two data sets of disjoint rows."""
        labels = self.y if stratify else None
        train, test = split_rows(self.n_rows, train_size, seed, labels)
        return self._with_rows(train), self._with_rows(test)

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        target: str | Sequence[str],
        *,
        group_by: str | None = None,
        drop: Sequence[str] = (),
    ) -> Self:
        """Make a data set of a pandas or polars frame.

        Parameters
        ----------
        frame : DataFrame
            One row a data point.
        target : str or sequence of str
            Column or columns to predict.
        group_by : str, optional
            Column whose values are the players; it is no feature.
        drop : sequence of str
            Columns that are no features.

        Raises
        ------
        DataError
            If a column is missing, or no features are left.

        Examples
        --------
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"a": [1, 2], "b": ["u", "v"], "price": [1.0, 2.0]})
        >>> Dataset.from_frame(frame, "price", group_by="b").feature_names
        ('a',)
        """
        x, y, groups = parts_of_frame(frame, target, group_by, drop)
        return cls(x, y, groups=groups)
