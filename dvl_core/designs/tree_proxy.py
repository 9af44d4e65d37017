"""Boosted trees as a game: interactions of players, with values in closed form leaf by leaf."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core.semivalues import log_binomials

if TYPE_CHECKING:
    from dvl_core.designs.proxies import AdditiveProxy
    from dvl_core.protocols import BoolArray, FloatArray, IntArray

__all__ = ["TreeProxy", "fit_tree_proxy"]

N_TREES = 300
DEPTH = 4
LEARNING_RATE = 0.1


@dataclass(frozen=True, eq=False)
class TreeProxy:
    """An additive proxy, and leaves: worth of the coalitions with some members and without others.

    Parameters
    ----------
    additive : AdditiveProxy
        What the trees come on top of.
    model : regressor
        Fitted boosted trees on membership, which predict.
    leaves : list of (members, outsiders, worth)
        All leaves of all trees.
    """

    additive: AdditiveProxy
    model: Any
    leaves: list[tuple[IntArray, IntArray, float]]

    def predict(self, coalitions: BoolArray, sizes: IntArray) -> FloatArray:
        """Return the worth [u]."""
        trees = self.model.predict(coalitions.astype(np.float32))
        return np.asarray(self.additive.predict(coalitions, sizes) + trees)

    def semivalue(self, law: FloatArray) -> FloatArray:
        """Return the values [n].

        A leaf that asks for a members and b outsiders is a game that is worth something to nobody
        but them. Whoever is asked for completes it if the others that are asked for do as they
        should, which has the probability of one pattern of a - 1 members and b outsiders among the
        others; whoever must stay out spoils it with that of a members and b - 1 outsiders.
        """
        values = self.additive.semivalue(law)
        patterns = _patterns(law, 2 * DEPTH)
        for members, outsiders, worth in self.leaves:
            a, b = len(members), len(outsiders)
            if a:
                values[members] += worth * patterns[a - 1, b]
            if b:
                values[outsiders] -= worth * patterns[a, b - 1]
        return values


def _patterns(law: FloatArray, most: int) -> FloatArray:
    """Return P(a given others are in, b given others are out) [a, b] for a + b <= `most`.

    Of the n - 1 others s are in with probability p(s), C(n-1-a-b, s-a) of C(n-1, s) ways fit.
    """
    n = len(law)
    sizes = np.arange(n)
    ways = log_binomials(n - 1)
    patterns = np.zeros((most + 1, most + 1))
    for a in range(min(most, n - 1) + 1):
        for b in range(min(most - a, n - 1 - a) + 1):
            fitting = (sizes >= a) & (sizes <= n - 1 - b)
            chosen = sizes[fitting]
            fits = log_binomials(n - 1 - a - b)[chosen - a]
            patterns[a, b] = law[fitting] @ np.exp(fits - ways[chosen])
    return patterns


def fit_tree_proxy(additive: AdditiveProxy, coalitions: BoolArray, rest: FloatArray) -> TreeProxy:
    """Return trees fitted to what an additive proxy leaves of the utilities [u]."""
    from sklearn.ensemble import GradientBoostingRegressor

    model = GradientBoostingRegressor(
        n_estimators=N_TREES,
        max_depth=DEPTH,
        learning_rate=LEARNING_RATE,
        subsample=0.5,
        max_features=0.3,
        random_state=0,
    )
    model.fit(coalitions.astype(np.float32), rest)
    leaves = [
        leaf
        for tree in model.estimators_[:, 0]
        for leaf in _leaves(tree.tree_)
        if len(leaf[0]) + len(leaf[1])
    ]
    return TreeProxy(additive, model, leaves)


def _leaves(tree: Any) -> list[tuple[IntArray, IntArray, float]]:
    """Return who must be in and who out to come to each leaf, and its share of the prediction."""
    found = []
    stack: list[tuple[int, tuple[int, ...], tuple[int, ...]]] = [(0, (), ())]
    while stack:
        node, members, outsiders = stack.pop()
        left, right = tree.children_left[node], tree.children_right[node]
        if left == right:
            worth = LEARNING_RATE * float(tree.value[node, 0, 0])
            found.append((np.array(members, int), np.array(outsiders, int), worth))
            continue
        player = int(tree.feature[node])
        stack.append((left, members, (*outsiders, player)))
        stack.append((right, (*members, player), outsiders))
    return found
