"""How the permutations of chains are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from dvl_core.protocols import IntArray

__all__ = ["INDEPENDENT", "IndependentOrders", "OrderDraw", "OrdersWithReverse"]


class OrderDraw(Protocol):
    """Draws the orders in which players join."""

    @property
    def identity(self) -> dict[str, Any]:
        """JSON-able description of what decides the draws."""

    @property
    def per_replicate(self) -> int:
        """Permutations that are drawn together: their mean is one independent observation."""

    def __call__(self, rng: np.random.Generator, count: int, n_players: int) -> IntArray:
        """Return `count` replicates [r, count, n] of r permutations, each by itself uniform."""


@dataclass(frozen=True)
class IndependentOrders:
    """Permutations that have nothing to do with each other."""

    @property
    def identity(self) -> dict[str, Any]:
        """Nothing is to be chosen."""
        return {"orders": "independent"}

    @property
    def per_replicate(self) -> int:
        """One."""
        return 1

    def __call__(self, rng: np.random.Generator, count: int, n_players: int) -> IntArray:
        """Return permutations [1, count, n]."""
        return rng.permuted(np.tile(np.arange(n_players), (1, count, 1)), axis=2)


INDEPENDENT = IndependentOrders()


@dataclass(frozen=True)
class OrdersWithReverse:
    """Every permutation is followed by its reverse."""

    @property
    def identity(self) -> dict[str, Any]:
        """Nothing is to be chosen."""
        return {"orders": "with reverse"}

    @property
    def per_replicate(self) -> int:
        """A permutation and its reverse."""
        return 2

    def __call__(self, rng: np.random.Generator, count: int, n_players: int) -> IntArray:
        """Return permutations [2, count, n]."""
        drawn = INDEPENDENT(rng, count, n_players)
        return np.concatenate([drawn, drawn[:, :, ::-1]])
