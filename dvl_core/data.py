"""The data set of a valuation: rows, and the players that own them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np

from dvl_core.digests import UndigestibleError, digest
from dvl_core.errors import DataError
from dvl_core.labels import (
    check_column,
    feature_names_of,
    numbered_groups,
    player_names,
    player_numbers,
    row_names,
)
from dvl_core.splitting import split_rows
from dvl_core.tabular import as_features, as_pandas, as_target, is_frame, take_rows

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from dvl_core.protocols import AnyArray

__all__ = ["Dataset", "take_rows"]

M = TypeVar("M")


class Dataset:
    """Features and targets, and who the players are: each row, or each group of rows.

    Nothing is copied that need not be, so memory-mapped arrays stay on disk; the arrays must not
    be changed afterwards. Iterating yields `x` and `y`, so that ``model.fit(*data)`` works.

    Parameters
    ----------
    x : array, DataFrame, sparse matrix or list [n_rows, ...]
        Features. Frames stay frames (polars becomes pandas), sparse matrices become CSR, lists of
        rows become arrays; a list of texts or other objects is one object a row.
    y : array-like [n_rows] or [n_rows, t]
        Target or targets; no missing values. A single column becomes [n_rows].
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
        If the data is empty or ragged, lengths differ, or targets or groups are missing.

    Examples
    --------
    >>> data = Dataset([[0.0], [1.0], [2.0]], [0, 1, 1], groups=["b", "a", "b"])
    >>> len(data), data.n_rows, data.names.tolist()
    (2, 3, ['b', 'a'])
    >>> data.drop_indices([1]).y
    array([0, 1])
    """

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
        self.y = as_target(y, self.n_rows)
        self.groups, labels = numbered_groups(groups, self.n_rows)
        self.n_players = self.n_rows if self.groups is None else len(labels)
        if names is None:
            names = labels if self.groups is not None else row_names(self.x)
        self.names = player_names(names, self.n_players)
        self.feature_names = feature_names_of(feature_names, self.x)
        self.target_names = tuple(map(str, () if target_names is None else target_names))

    def __len__(self) -> int:
        """Return the number of players."""
        return self.n_players

    def __iter__(self) -> Iterator[Any]:
        """Yield `x` and `y`."""
        return iter((self.x, self.y))

    def __repr__(self) -> str:
        groups = "" if self.groups is None else f"{self.n_players} groups of "
        shape = " x ".join(map(str, self.x.shape[1:])) or "object"
        features = f"{shape} features ({type(self.x).__name__})"
        return f"Dataset({groups}{self.n_rows} rows, {features}, y {self.y.dtype})"

    @property
    def indices(self) -> NDArray[np.int64]:
        """Numbers of the players [n]."""
        return np.arange(self.n_players, dtype=np.int64)

    @cached_property
    def digest(self) -> str:
        """Digest of the content: x, y, groups and names of features; not the names of players.

        Raises
        ------
        DataError
            If `x` holds objects whose content cannot be read.
        """
        try:
            return digest("Dataset", self.x, self.y, self.groups, self.feature_names)
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
            if chosen.shape != (self.n_players,):
                raise DataError(f"a mask of shape {chosen.shape} does not fit {len(self)} players")
            return np.flatnonzero(chosen if self.groups is None else chosen[self.groups])
        numbers = player_numbers(chosen, len(self))
        if self.groups is None:
            return numbers
        by_group, ends = self._rows_by_group
        return np.concatenate([by_group[ends[i] : ends[i + 1]] for i in numbers] or [numbers])

    @cached_property
    def _rows_by_group(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The rows sorted by group, and where each group begins and ends."""
        assert self.groups is not None
        sizes = np.bincount(self.groups, minlength=self.n_players)
        return np.argsort(self.groups, kind="stable"), np.concatenate([[0], np.cumsum(sizes)])

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
            self.y[rows],
            names=names,
            groups=groups,
            feature_names=self.feature_names or None,
            target_names=self.target_names,
        )

    def fit(self, model: M) -> M:
        """Fit `model` on all rows and return it.

        Examples
        --------
        >>> from sklearn.linear_model import LinearRegression
        >>> Dataset([[0.0], [1.0]], [1.0, 3.0]).fit(LinearRegression()).coef_.round(6)
        array([2.])
        """
        model.fit(self.x, self.y)  # type: ignore[attr-defined]
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

        Rows are split, not groups: a group may have rows on both sides, and each side keeps the
        groups of its rows. Players keep the names that they have in the whole.

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
        try:
            x, y = bunch["data"], bunch["target"]
        except (KeyError, TypeError, IndexError) as error:
            raise DataError(
                "expected what sklearn.datasets.load_* returns, with `data` and `target`"
            ) from error
        features = None if is_frame(x) else bunch.get("feature_names")
        whole = cls(x, y, feature_names=features, target_names=bunch.get("target_names"))
        return whole._split(train_size, random_state, stratify)

    def _split(
        self, train_size: float, random_state: int | None, stratify: bool
    ) -> tuple[Self, Self]:
        """Return two data sets of disjoint rows."""
        labels = self.y if stratify else None
        train, test = split_rows(self.n_rows, train_size, random_state, labels)
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
        frame = as_pandas(frame)
        if not is_frame(frame):
            raise DataError(f"expected a pandas or polars frame, got {type(frame).__name__}")
        targets = [target] if isinstance(target, str) else list(target)
        dropped = [drop] if isinstance(drop, str) else list(drop)
        apart = [*targets, *dropped, *([] if group_by is None else [group_by])]
        for column in apart:
            check_column(column, [str(name) for name in frame.columns])
        features = frame.drop(columns=apart)
        if features.shape[1] == 0:
            raise DataError(f"no features are left beside {', '.join(map(repr, apart))}")
        y = frame[targets[0]] if isinstance(target, str) else frame[targets]
        return cls(features, y, groups=None if group_by is None else frame[group_by])
