"""Class-wise Shapley (Schoch, Xu & Ji 2022)."""

from __future__ import annotations

import copy
import dataclasses
import warnings
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dvl_classwise.design import ClassGame, ClasswiseDesign, OnePair, blocks_to_inform
from dvl_classwise.environments import Environments
from dvl_classwise.scorer import (
    ClasswiseScorer,
    Discount,
    exponential,
    identity,
    one,
    scores_accuracy,
)
from dvl_classwise.utility import ClasswiseUtility
from dvl_core.errors import DataError, DvlWarning, InvalidOptionError
from dvl_core.profiles import MethodProfile
from dvl_core.semivalues import ShapleySemivalue
from dvl_core.utilities import ModelUtility
from dvl_core.utilities.degenerate import predicts_labels
from dvl_core.valuation import UtilityValuation, covering_design

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from dvl_core.data import Dataset
    from dvl_core.protocols import Backend, Design, Sampler, Store, Utility
    from dvl_core.stopping import StoppingRule

__all__ = ["ClasswiseShapleyValuation"]

MOST_ENVIRONMENTS = 1 << 16


class ClasswiseShapleyValuation(UtilityValuation):
    """Shapley values among the points of a class, given points of the other classes.

    A point may help the model with its own class and harm the others, or the other way round. For a
    point of class c, the worth of a coalition S of its class is f(a_in) g(a_out): the model is
    fitted on S and an environment O of points of the other classes; a_in is the share of the test
    points that are of class c and predicted rightly, a_out that of the other classes. The worth of
    no points is 0. The value is the Shapley value of that game, averaged over environments.

    Parameters
    ----------
    utility : ModelUtility
        A model that predicts labels, and ``SupervisedScorer("accuracy", test)``. The class-wise
        games are made of it; the default of its scorer is not used.
    sampler : Sampler, optional
        Chooses the coalitions within a class; None: a permutation and its reverse in each
        environment.
    stopping : StoppingRule, optional
        None: a default budget of 50 evaluations per player, at least 1,000, which is announced.
    normalize : bool
        Scale the values of a class to sum to its in-class accuracy: a_in of the model that is
        fitted on all the training data.
    environments : {"uniform", "all"}, optional
        "uniform": each is drawn, all being equally likely; "all": visit all, at most 65,536 for
        each class. None: all if the sampler is exact and they are not too many, else uniform.
    min_elements_per_label : int
        Points that an environment has of each other class, at least; of a smaller class, all.
    in_class_blocks : int, optional
        Blocks of the sampler that are drawn in an environment; for the default sampler, pairs of
        permutations. None: as few as inform every player of the class. A sampler that ends
        by itself is always drawn to its end.
    in_class_discount : callable, optional
        f, a function of a_in. None: a_in itself.
    out_of_class_discount : callable, optional
        g, a function of a_out. None: the exponential function.
    seed : int, optional
        Decides all randomness; None: a fresh one, kept in the result.
    backend : Backend, optional
        Where evaluations run; None: the active ``joblib.parallel_config`` if there is one.
    store : Store, optional
        Ledger of utility values; None: that of the utility, if it has one.
    progress : bool
        Show a progress bar on stderr, if that is a terminal.
    checkpoint : path, optional
        File to resume from and to save the state of the run to.
    keep_history : bool
        Keep the values as the run goes on, in the extras of the result.

    References
    ----------
    Schoch, S., Xu, H. and Ji, Y. (2022). CS-Shapley: Class-wise Shapley Values for Data Valuation
    in Classification. NeurIPS.

    Examples
    --------
    >>> from dvl_core import Dataset, DeterministicUniformSampler, SupervisedScorer
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> train = Dataset([[0.0], [1.0], [9.0], [2.0]], [0, 0, 1, 1])
    >>> test = Dataset([[0.1], [1.9], [8.0]], [0, 0, 1])
    >>> utility = ModelUtility(KNeighborsClassifier(1), SupervisedScorer("accuracy", test))
    >>> valuation = ClasswiseShapleyValuation(utility, DeterministicUniformSampler())
    >>> valuation.fit(train).result.values.round(3)
    array([0.167, 0.167, 0.233, 0.101])
    """

    algorithm = "classwise-shapley"
    profile = MethodProfile(
        answers="mean change of the score of a row's own class, the others weighing in",
        guarantee="consistent, with standard errors; unbiased if not normalised",
        cost="two fits inform one row once",
        needs="a utility by accuracy; classes",
    )

    def __init__(
        self,
        utility: Utility,
        sampler: Sampler | None = None,
        stopping: StoppingRule | None = None,
        *,
        normalize: bool = True,
        environments: Literal["uniform", "all"] | None = None,
        min_elements_per_label: int = 1,
        in_class_blocks: int | None = None,
        in_class_discount: Discount | None = None,
        out_of_class_discount: Discount | None = None,
        seed: int | None = None,
        backend: Backend | None = None,
        store: Store | None = None,
        progress: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
        keep_history: bool = False,
    ) -> None:
        super().__init__(
            utility,
            sampler,
            stopping,
            seed=seed,
            backend=backend,
            store=store,
            progress=progress,
            checkpoint=checkpoint,
            keep_history=keep_history,
        )
        if environments not in ("uniform", "all", None):
            raise InvalidOptionError(
                f"environments must be 'uniform' or 'all', got {environments!r}"
            )
        for name, value, least in (
            ("min_elements_per_label", min_elements_per_label, 0),
            ("in_class_blocks", 1 if in_class_blocks is None else in_class_blocks, 1),
        ):
            if value < least:
                raise InvalidOptionError(f"{name} must be at least {least}, got {value}")
        self.normalize = normalize
        self.environments = environments
        self.min_elements_per_label = min_elements_per_label
        self.in_class_blocks = in_class_blocks
        self.in_class_discount = in_class_discount
        self.out_of_class_discount = out_of_class_discount

    def design(self, n_players: int) -> Design:
        """Return the design of the coalitions within a class of that many players.

        Raises
        ------
        UnsupportedSemivalueError
            If the sampler does not cover Shapley; the message says which samplers would do.
        """
        if self.sampler is None:
            return OnePair(np.ones(n_players), "antithetic-permutation")
        return covering_design(self.sampler, n_players, ShapleySemivalue())

    def plan(self, utility: Utility) -> tuple[ClasswiseUtility, ClasswiseDesign]:
        """Return the games of all classes, and the design that visits their environments.

        Raises
        ------
        DataError
            If the utility has no labels, or a group of rows is of several classes.
        InvalidOptionError
            If it does not score by accuracy, or its model does not predict labels; if there are too
            many environments to visit all.

        Warns
        -----
        DvlWarning
            If no test point is of a class.
        """
        base = _checked(utility)
        train, test = base.train, base.scorer.test
        labels, owner = _classes_of(train)
        absent = labels[~np.isin(labels, test.y)].tolist()
        if absent:
            warnings.warn(
                f"no test point is of class {', '.join(map(repr, absent))}: its players cannot get "
                "any right, and are worth nothing",
                DvlWarning,
                stacklevel=3,
            )
        f = self.in_class_discount or identity
        g = self.out_of_class_discount or exponential
        judged = [(label, f, g) for label in labels.tolist()]
        if self.normalize:
            judged += [(label, identity, one) for label in labels.tolist()]
        scorers = [ClasswiseScorer(label, test, of_in, of_out) for label, of_in, of_out in judged]
        games = [_with_scorer(base, scorer) for scorer in scorers]
        members = [np.flatnonzero(owner == c) for c in range(len(labels))]
        design = ClasswiseDesign(
            self._class_games(labels.tolist(), members), len(train), self.normalize
        )
        return ClasswiseUtility(games, base.store), design

    def _class_games(
        self, labels: list[Any], members: list[NDArray[np.int64]]
    ) -> tuple[ClassGame, ...]:
        """Return the game of each class, given its players."""
        games = []
        for label, players in zip(labels, members, strict=True):
            others = tuple(other for other in members if other is not players)
            environments = Environments(others, self.min_elements_per_label)
            source = self.design(len(players))
            n_blocks = self._blocks(source, label)
            games.append(ClassGame(label, players, source, n_blocks, environments, every=False))
        few = all(game.environments.count <= MOST_ENVIRONMENTS for game in games)
        if self.environments == "all" and not few:
            raise InvalidOptionError(
                f"there are more than {MOST_ENVIRONMENTS:,} environments of a class, too many to "
                "visit all: use environments='uniform'"
            )
        every = self.environments == "all" or (
            self.environments is None and few and all(game.in_class_exact for game in games)
        )
        return tuple(
            dataclasses.replace(game, every=every or game.environments.count == 1) for game in games
        )

    def _blocks(self, source: Design, label: Any) -> int:
        """Return how many blocks to draw in an environment."""
        needed, given = blocks_to_inform(source), self.in_class_blocks
        if needed is None:
            raise InvalidOptionError(
                f"the sampler leaves players of class {label!r} without a value in an environment, "
                f"however much is drawn: use another one for {source.n_players} players"
            )
        if given is None or source.n_blocks is not None:
            return needed
        if given < needed:
            raise InvalidOptionError(
                f"in_class_blocks={given} is too few for the {source.n_players} players of class "
                f"{label!r}: the sampler takes {needed} blocks to inform them all"
            )
        return given


def _checked(utility: Utility) -> ModelUtility:
    """Return the utility if class-wise games can be made of it, else say what is wrong."""
    if not isinstance(utility, ModelUtility) or utility.train is None:
        raise DataError(
            "class-wise Shapley needs the labels of the players: pass "
            f"ModelUtility(model, SupervisedScorer('accuracy', test)), not {utility!r}"
        )
    if not scores_accuracy(utility.scorer):
        raise InvalidOptionError(
            "class-wise Shapley splits accuracy into that of each class: use "
            f"SupervisedScorer('accuracy', test), not {utility.scorer!r}"
        )
    for y in (utility.train.y, utility.scorer.test.y):
        if not predicts_labels(utility.model, y):
            raise InvalidOptionError(
                "class-wise Shapley needs a single target of classes and a model that predicts "
                f"them, not {type(utility.model).__name__} with y of {y.dtype} {y.shape}"
            )
    return utility


def _classes_of(train: Dataset) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the classes, sorted, and the number of that of each player.

    Raises
    ------
    DataError
        If the rows of a group are of several classes.
    """
    labels, of_row = np.unique(train.y, return_inverse=True)
    if train.groups is None:
        return labels, of_row
    lowest = np.full(len(train), len(labels))
    highest = np.zeros(len(train), dtype=np.int64)
    np.minimum.at(lowest, train.groups, of_row)
    np.maximum.at(highest, train.groups, of_row)
    mixed = np.flatnonzero(lowest < highest)
    if len(mixed):
        first = mixed[0]
        raise DataError(
            f"group {train.names[first]} has rows of the classes {labels[lowest[first]]} and "
            f"{labels[highest[first]]}: class-wise Shapley needs players of one class each, for "
            "instance groups by class"
        )
    return labels, highest


def _with_scorer(utility: ModelUtility, scorer: ClasswiseScorer) -> ModelUtility:
    """Return a copy of a bound utility that is judged by another scorer, and has no store."""
    other = copy.copy(utility)
    other.scorer, other.store = scorer, None
    assert utility.train is not None
    # Binding makes it forget what followed from the old scorer.
    return other.with_data(utility.train)
