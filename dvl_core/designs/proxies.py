"""Simple games that are fitted to a utility, and whose values are known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from dvl_core.designs.size_features import size_features, size_marginals

if TYPE_CHECKING:
    from dvl_core.protocols import BoolArray, FloatArray, IntArray

__all__ = [
    "AdditiveProxy",
    "Proxy",
    "ProxyKind",
    "SizeMoments",
    "SizeProxy",
    "fit_proxy",
]

ProxyKind = Literal["size", "linear", "trees"]
ENTRIES_A_CHUNK = 1 << 22
"""Rows of membership become numbers in chunks of at most so many entries."""
WEIGHT_OF_ENDS = 50.0
"""The utilities of nobody and of all are known: a fitted function of the size passes near them."""


class Proxy(Protocol):
    """A fitted game."""

    def predict(self, coalitions: BoolArray, sizes: IntArray) -> FloatArray:
        """Return the worth [u] of coalitions [u, n] of given sizes [u]."""

    def semivalue(self, law: FloatArray) -> FloatArray:
        """Return the values [n] of the players, for a size law [n]."""


@dataclass(frozen=True, eq=False)
class SizeProxy:
    """A game that looks at the number of members only.

    Parameters
    ----------
    by_size : float array [n + 1]
        Worth of a coalition by its size.
    """

    by_size: FloatArray

    def predict(self, coalitions: BoolArray, sizes: IntArray) -> FloatArray:
        """Return the worth [u]."""
        return self.by_size[sizes]

    def semivalue(self, law: FloatArray) -> FloatArray:
        """Return the value that all players have [n]."""
        return np.full(len(law), size_marginals(self.by_size[:, None], law)[0])


class SizeMoments:
    """What a smooth function of the size is fitted from, gathered step by step.

    Parameters
    ----------
    ends : float array [2]
        Utilities of the empty and the full coalition.
    n_players : int
        n.

    Examples
    --------
    >>> moments = SizeMoments(np.array([1.0, 4.0]), 3)
    >>> moments.add(np.array([1, 2]), np.array([2.0, 3.0]))
    >>> moments.fit().by_size.round(3)
    array([1., 2., 3., 4.])
    """

    def __init__(self, ends: FloatArray, n_players: int) -> None:
        self.features = size_features(n_players)
        h = self.features.shape[1]
        self.gram, self.moments = np.zeros((h, h)), np.zeros(h)
        at_ends = self.features[[0, -1]] * WEIGHT_OF_ENDS
        self._add(at_ends, ends * WEIGHT_OF_ENDS)

    def add(self, sizes: IntArray, values: FloatArray) -> None:
        """Take in utilities [u] of coalitions of some sizes [u]."""
        self._add(self.features[sizes], values)

    def _add(self, rows: FloatArray, values: FloatArray) -> None:
        self.gram += rows.T @ rows
        self.moments += rows.T @ values

    def fit(self) -> SizeProxy:
        """Return the function of least squares; where nothing was seen, the flattest one."""
        # Second differences of neighbouring hats, weighing next to nothing, bridge the gaps.
        bend = np.diff(np.eye(len(self.gram)), 2, axis=0)
        gram = self.gram + 1e-6 * np.trace(self.gram) / len(self.gram) * (bend.T @ bend)
        return SizeProxy(self.features @ np.linalg.lstsq(gram, self.moments, rcond=None)[0])


@dataclass(frozen=True, eq=False)
class AdditiveProxy:
    """A function of the size, and a weight of every player relative to the mean of all.

    Parameters
    ----------
    of_size : SizeProxy
        The function.
    weights : float array [n]
        Of the players.
    """

    of_size: SizeProxy
    weights: FloatArray

    @cached_property
    def _relative(self) -> FloatArray:
        return np.asarray(self.weights - self.weights.mean())

    def predict(self, coalitions: BoolArray, sizes: IntArray) -> FloatArray:
        """Return the worth [u]."""
        return np.asarray(self.of_size.predict(coalitions, sizes) + coalitions @ self._relative)

    def semivalue(self, law: FloatArray) -> FloatArray:
        """Return the values [n]."""
        return self.of_size.semivalue(law) + self._relative


def fit_proxy(
    kind: ProxyKind, coalitions: BoolArray, sizes: IntArray, values: FloatArray, ends: FloatArray
) -> Proxy:
    """Return a proxy fitted to utilities.

    Parameters
    ----------
    kind : str
        "size": a smooth function of the size. "linear": and an additive game. "trees": and boosted
        regression trees for what the two leave.
    coalitions : bool array [u, n]
        Coalitions.
    sizes : int array [u]
        Their sizes.
    values : float array [u]
        Their utilities.
    ends : float array [2]
        Utilities of the empty and the full coalition.

    Examples
    --------
    >>> coalitions = np.eye(4, dtype=bool)
    >>> ends, ones = np.array([0.0, 10.0]), np.ones(4, dtype=int)
    >>> proxy = fit_proxy("linear", coalitions, ones, np.array([1.0, 2.0, 3.0, 4.0]), ends)
    >>> values = proxy.semivalue(np.full(4, 0.25))
    >>> bool((np.diff(values) > 0.4).all())
    True
    """
    n = coalitions.shape[1]
    moments = SizeMoments(ends, n)
    moments.add(sizes, values)
    of_size = moments.fit()
    if kind == "size":
        return of_size
    additive = AdditiveProxy(of_size, _weights(coalitions, sizes, values - of_size.by_size[sizes]))
    if kind == "linear":
        return additive
    from dvl_core.designs.tree_proxy import fit_tree_proxy

    rest = values - additive.predict(coalitions, sizes)
    return fit_tree_proxy(additive, coalitions, rest)


def _weights(coalitions: BoolArray, sizes: IntArray, rest: FloatArray) -> FloatArray:
    """Return the weights [n] of the additive game that explains most of `rest` [u]."""
    n = coalitions.shape[1]
    gram, moments = np.zeros((n, n)), np.zeros(n)
    step = max(1, ENTRIES_A_CHUNK // n)
    for start in range(0, len(rest), step):
        rows = slice(start, start + step)
        centred = coalitions[rows] - sizes[rows, None] / n
        gram += centred.T @ centred
        moments += centred.T @ rest[rows]
    # Fewer coalitions than players say little of each: the fewer, the closer to nothing.
    gram[np.diag_indices_from(gram)] += np.trace(gram) / len(rest)
    return np.asarray(np.linalg.solve(gram, moments))
