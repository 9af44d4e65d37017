"""A block is an environment for each class, and what the in-class sampler draws in it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_classwise.moments import ClasswiseMoments
from dvl_core.designs import ChainDesign
from dvl_core.errors import DvlWarning
from dvl_core.protocols import Finishing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dvl_classwise.environments import Environments
    from dvl_core.protocols import Design, Guarantee

    FloatArray = NDArray[np.float64]
    BoolArray = NDArray[np.bool_]

__all__ = ["ClassGame", "ClasswiseDesign", "OnePair", "blocks_to_inform"]

MOST_BLOCKS = 256
"""Blocks in which an in-class sampler must have informed every player of a class."""


@dataclass(frozen=True, eq=False)
class OnePair(ChainDesign):
    """One permutation and its reverse a block: the next is better spent in another environment."""

    antithetic: bool = True

    @property
    def replicates_per_block(self) -> int:
        """One pair."""
        return 1


def blocks_to_inform(source: Design) -> int | None:
    """Return how many blocks of a design it takes until every player has a value.

    All that a finite design has; of others, what a trial run on a game without models takes. None
    if `MOST_BLOCKS` do not do.

    Examples
    --------
    >>> from dvl_core import BanzhafSemivalue, UniformSampler
    >>> blocks_to_inform(UniformSampler().design(40, BanzhafSemivalue()))
    2
    """
    if source.n_blocks is not None:
        return source.n_blocks
    rng = np.random.default_rng(0)
    accumulator = source.accumulator()
    anchor_values = _root_of_size(source.anchors())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DvlWarning)
        for block in range(MOST_BLOCKS):
            accumulator.fold(source.evaluate(block, _root_of_size, rng, anchor_values))
            if np.isfinite(_values_of(accumulator)).all():
                return block + 1
    return None


def _root_of_size(coalitions: BoolArray) -> FloatArray:
    return np.asarray(np.sqrt(coalitions.sum(axis=1)))


def _values_of(accumulator: Any) -> FloatArray:
    """Return the values [n] of an accumulator that is not fed any more for now."""
    if isinstance(accumulator, Finishing):
        return accumulator.finish()[0].values
    values: FloatArray = accumulator.estimate().values
    return values


@dataclass(frozen=True, eq=False)
class ClassGame:
    """The game of the players of one class.

    Parameters
    ----------
    label : scalar
        The class.
    players : int array [k]
        Its players.
    source : Design
        Of the in-class sampler, for k players.
    n_blocks : int
        Blocks of it that are drawn in an environment.
    environments : Environments
        Of the class.
    every : bool
        Visit the environments one after the other, instead of drawing them.
    """

    label: Any
    players: NDArray[np.int64]
    source: Design
    n_blocks: int
    environments: Environments
    every: bool

    @property
    def in_class_exact(self) -> bool:
        """Whether the value in an environment is known without error."""
        # What a single player is worth is known whatever is drawn.
        return self.source.guarantee == "exact" or len(self.players) == 1

    @property
    def exact(self) -> bool:
        """Whether a round of all environments tells all there is to know."""
        return self.every and self.in_class_exact

    @property
    def round_length(self) -> int:
        """Environments whose mean is one observation: all, or the one that was drawn."""
        return self.environments.count if self.every else 1

    @property
    def block_evaluations(self) -> int:
        """The most utility values that an environment takes."""
        anchors = int(self.source.anchors().any(axis=1).sum())
        return anchors + self.n_blocks * self.source.block_evaluations

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the coalitions of a block."""
        return {
            "players": self.players.tolist(),
            "in_class": self.source.identity,
            "n_blocks": self.n_blocks,
            "least_others": self.environments.least,
            "every": self.every,
        }

    def environment(self, visit: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the players of the other classes at a visit."""
        if self.every:
            return self.environments[visit % self.environments.count]
        return self.environments.draw(rng)

    def values(
        self,
        visit: int,
        worth: Callable[[BoolArray], FloatArray],
        rng: np.random.Generator,
    ) -> FloatArray:
        """Return an estimate [k] of the values in the environment of `worth`."""
        anchor_values = worth(self.source.anchors())
        accumulator = self.source.accumulator()
        # Designs in which players take turns go on where the last visit ended.
        first = 0 if self.source.n_blocks is not None else visit * self.n_blocks
        for block in range(first, first + self.n_blocks):
            accumulator.fold(self.source.evaluate(block, worth, rng, anchor_values))
        return _values_of(accumulator)


@dataclass(frozen=True, eq=False)
class ClasswiseDesign:
    """For each class an environment, and the values of its players in it.

    Within an environment O, the worth of a coalition S of players of the class is that of a model
    fitted on both, and 0 if S is empty. An environment with all that is drawn in it is a single
    observation: what it holds is common to the values of all players.

    Parameters
    ----------
    games : tuple of ClassGame
        One a class. The utility plays game c for class c and, if values are normalised, has behind
        them as many more, whose worth is the in-class accuracy of class c.
    n_players : int
        Number of players, of all classes together.
    normalize : bool
        Scale the values of a class to sum to its in-class accuracy.
    """

    games: tuple[ClassGame, ...]
    n_players: int
    normalize: bool

    @property
    def n_blocks(self) -> int | None:
        """Blocks until all environments were visited, if that tells all there is to know."""
        if not all(game.exact for game in self.games):
            return None
        return max(game.round_length for game in self.games)

    @property
    def block_evaluations(self) -> int:
        """The most utility values that one block uses."""
        return sum(game.block_evaluations for game in self.games)

    @property
    def guarantee(self) -> Guarantee:
        """Exact, or what the in-class sampler allows.

        The bias of a ratio within an environment does not fall with the number of environments, so
        an in-class sampler that is only consistent makes a value that its options bias.
        """
        if self.n_blocks is not None:
            return "exact"
        if not all(g.in_class_exact or g.source.guarantee == "unbiased" for g in self.games):
            return "biased-by-option"
        return "consistent" if self.normalize else "unbiased"

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the coalitions of a block, and what they are folded into."""
        return {
            "method": "classwise",
            "n_players": self.n_players,
            "normalize": self.normalize,
            "games": [game.identity for game in self.games],
        }

    def anchors(self) -> BoolArray:
        """Return all players, once a class, for the in-class accuracies; else nothing."""
        if not self.normalize:
            return np.zeros((0, self.n_players + len(self.games)), dtype=bool)
        everybody = np.ones((1, self.n_players), dtype=bool)
        return np.concatenate(
            [self._rows(everybody, len(self.games) + c) for c in range(len(self.games))]
        )

    def evaluate(
        self,
        block: int,
        utility: Callable[[BoolArray], FloatArray],
        rng: np.random.Generator,
        anchor_values: FloatArray,
    ) -> dict[str, NDArray[Any]]:
        """Visit an environment of each class.

        ``values`` [n], which classes were ``visited`` [c], the ``evaluations`` [c] that took, and
        the in-class ``accuracies`` [c], if values are normalised.
        """
        values = np.zeros(self.n_players)
        visited = np.zeros(len(self.games), dtype=bool)
        evaluations = np.zeros(len(self.games), dtype=np.int64)
        for c, game in enumerate(self.games):
            if game.exact and block >= game.round_length:
                continue
            environment = game.environment(block, rng)

            def worth(
                coalitions: BoolArray,
                c: int = c,
                game: ClassGame = game,
                environment: NDArray[np.int64] = environment,
            ) -> FloatArray:
                some = coalitions.any(axis=1)
                players = np.zeros((int(some.sum()), self.n_players), dtype=bool)
                players[:, game.players] = coalitions[some]
                players[:, environment] = True
                result = np.zeros(len(coalitions))
                if some.any():
                    result[some] = utility(self._rows(players, c))
                    evaluations[c] += len(players)
                return result

            values[game.players] = game.values(block, worth, rng)
            visited[c] = True
        return {
            "values": values,
            "visited": visited,
            "evaluations": evaluations,
            "accuracies": anchor_values,
        }

    def accumulator(self) -> ClasswiseMoments:
        """Return the moments of the values over environments."""
        owner = np.zeros(self.n_players, dtype=np.int64)
        for c, game in enumerate(self.games):
            owner[game.players] = c
        return ClasswiseMoments(
            owner,
            [game.label for game in self.games],
            np.array([game.round_length for game in self.games]),
            np.array([game.exact for game in self.games]),
            self.normalize,
        )

    def _rows(self, players: BoolArray, game: int) -> BoolArray:
        """Return coalitions [b, n] with the columns of the games behind them, `game` true."""
        n_games = len(self.games) * (2 if self.normalize else 1)
        columns = np.zeros((len(players), n_games), dtype=bool)
        columns[:, game] = True
        return np.concatenate([players, columns], axis=1)
