"""Games: a utility from any function, and reference games whose values are known."""

from __future__ import annotations

from dvl_core.games.allocation import AirportGame, MinerGame, MinimumSpanningTreeGame, ShoesGame
from dvl_core.games.base import ReferenceGame
from dvl_core.games.exact import exact_values
from dvl_core.games.function import FunctionGame
from dvl_core.games.sums import (
    AdditiveGame,
    RandomGame,
    SizeGame,
    SumOfUnanimityGames,
    UnanimityGame,
)
from dvl_core.games.voting import AsymmetricVotingGame, SymmetricVotingGame

__all__ = [
    "AdditiveGame",
    "AirportGame",
    "AsymmetricVotingGame",
    "FunctionGame",
    "MinerGame",
    "MinimumSpanningTreeGame",
    "RandomGame",
    "ReferenceGame",
    "ShoesGame",
    "SizeGame",
    "SumOfUnanimityGames",
    "SymmetricVotingGame",
    "UnanimityGame",
    "exact_values",
]
