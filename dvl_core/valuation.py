"""What valuation methods share: from constructor arguments to a run of the engine.

A method is a subclass that names its semivalue and its default sampler (`SemivalueValuation`), that
makes a design of its own for a utility (`UtilityValuation`) or from the training data alone
(`OneShotValuation`).
"""

from __future__ import annotations

import os
import warnings
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Self

from dvl_core import engine
from dvl_core.checkpoint import saved_seed
from dvl_core.errors import (
    DataError,
    DvlWarning,
    InvalidOptionError,
    NotFittedError,
    RunInterrupted,
    UnsupportedSemivalueError,
)
from dvl_core.options import Described
from dvl_core.protocols import Sampler, Utility
from dvl_core.seeds import resolve_seed
from dvl_core.stopping import MaxEvaluations, StoppingRule

if TYPE_CHECKING:
    from dvl_core.data import Dataset
    from dvl_core.protocols import Backend, Design, Semivalue, Store
    from dvl_core.result import ValuationResult

__all__ = [
    "OneShotValuation",
    "SemivalueValuation",
    "UtilityValuation",
    "covering_design",
    "default_budget",
]

DEFAULT_EVALUATIONS_PER_PLAYER = 50
LEAST_DEFAULT_EVALUATIONS = 1000


class _Fitted(Described):
    """Keeps the result of `fit`."""

    _result: ValuationResult | None = None

    @property
    def result(self) -> ValuationResult:
        """The result of `fit`, in the order of the players.

        Raises
        ------
        NotFittedError
            Before `fit`.
        """
        if self._result is None:
            raise NotFittedError(f"{type(self).__name__} has no result yet: call fit(train) first")
        return self._result

    def values(self, sort: bool = False) -> ValuationResult:
        """Return the result; with ``sort=True`` ascending, worst first."""
        return self.result.sort() if sort else self.result

    def _run(self, design: Design, utility: Utility | None, **options: Any) -> Self:
        """Run the engine and keep the result, also the partial one of an interrupted run."""
        self._result = None
        try:
            self._result = engine.run(design, utility, **options)
        except RunInterrupted as interruption:
            partial: Any = interruption.result
            self._result = partial
            raise
        return self


class UtilityValuation(_Fitted, ABC):
    """Base of the methods that evaluate a utility.

    Parameters
    ----------
    utility : Utility
        The game; bound to the training data by `fit`.
    sampler : Sampler, optional
        Chooses the coalitions; None: the method's default.
    stopping : StoppingRule, optional
        None: a default budget of 50 evaluations per player, at least 1,000, which is announced.
    seed : int, optional
        Decides all randomness; None: a fresh one, kept in the result and in the checkpoint.
    backend : Backend, optional
        Where evaluations run; None: the active ``joblib.parallel_config`` if there is one.
    store : Store, optional
        Ledger of utility values; None: that of the utility, if it has one.
    progress : bool
        Show a progress bar on stderr, if that is a terminal.
    checkpoint : path, optional
        File to resume from and to save the state of the run to.
    keep_history : bool
        Keep the values as the run goes on: ``history_values`` [h, n] and ``history_n_evaluations``
        [h] in the extras of the result, whenever the evaluations have grown by a tenth.
    """

    algorithm: str
    """Name of the method in results."""

    def __init__(
        self,
        utility: Utility,
        sampler: Sampler | None = None,
        stopping: StoppingRule | None = None,
        *,
        seed: int | None = None,
        backend: Backend | None = None,
        store: Store | None = None,
        progress: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
        keep_history: bool = False,
    ) -> None:
        _check_part("utility", utility, Utility, "ModelUtility(model, scorer)")
        if sampler is not None:
            _check_part("sampler", sampler, Sampler, "LOOSampler()")
        if stopping is not None:
            _check_part("stopping", stopping, StoppingRule, "MaxUpdates(100)")
        self.utility = utility
        self.sampler = sampler
        self.stopping = stopping
        self.seed = seed
        self.backend = backend
        self.store = store
        self.progress = progress
        self.checkpoint = checkpoint
        self.keep_history = keep_history

    @abstractmethod
    def design(self, n_players: int) -> Design:
        """Return the design that `fit` runs for that many players."""

    def plan(self, utility: Utility) -> tuple[Utility, Design]:
        """Return the game that `fit` plays, and the design that it runs.

        Here they are the utility itself, and the design for its number of players; methods that
        make a game of their own out of a utility and its data say so by overriding this.

        Parameters
        ----------
        utility : Utility
            Bound to its players.
        """
        assert utility.n_players is not None
        return utility, self.design(utility.n_players)

    def fit(self, train: Dataset | None = None) -> Self:
        """Estimate the values of the players of `train`.

        Parameters
        ----------
        train : Dataset, optional
            Training data; None if the utility already has its players.

        Raises
        ------
        UnsupportedSemivalueError
            If the sampler does not suit the method; nothing was trained.
        UtilityError
            If training or scoring failed on a coalition.
        RunInterrupted
            On Ctrl-C; the partial result is kept.
        """
        utility = self.utility if train is None else self.utility.with_data(train)
        if utility.n_players is None:
            raise DataError(
                "the utility has no players yet: call fit(train) with the training data"
            )
        utility, design = self.plan(utility)
        return self._run(
            design,
            utility,
            seed=_seed(self.seed, self.checkpoint),
            stopping=self.stopping or self._default_stopping(design),
            backend=self.backend,
            store=self.store if self.store is not None else getattr(utility, "store", None),
            checkpoint=self.checkpoint,
            progress=self.progress,
            algorithm=self.algorithm,
            names=None if train is None else train.names,
            keep_history=self.keep_history,
        )

    def _default_stopping(self, design: Design) -> StoppingRule | None:
        """Return the default budget, announced, unless the design ends by itself."""
        if design.n_blocks is not None:
            return None
        budget = default_budget(design.n_players)
        warnings.warn(
            f"no stopping rule was given: stopping after {budget:,} utility evaluations; pass "
            "stopping=MaxEvaluations(...), MinUpdates(...) or AbsoluteStandardError(...)",
            DvlWarning,
            stacklevel=3,
        )
        return MaxEvaluations(budget)


class SemivalueValuation(UtilityValuation, ABC):
    """Base of the methods that estimate a semivalue of a utility.

    Parameters are those of `UtilityValuation`.
    """

    @property
    @abstractmethod
    def semivalue(self) -> Semivalue:
        """The semivalue that this method estimates."""

    @abstractmethod
    def default_sampler(self) -> Sampler:
        """Return the sampler to use when none is given."""

    def design(self, n_players: int) -> Design:
        """Return the design that `fit` runs for that many players.

        Raises
        ------
        UnsupportedSemivalueError
            If the sampler does not cover the semivalue; the message says which samplers would do.
        """
        sampler = self.sampler or self.default_sampler()
        return covering_design(sampler, n_players, self.semivalue)


class OneShotValuation(_Fitted, ABC):
    """Base of the methods that need no sampler: their blocks are test points, trees and the like.

    Subclasses store the options `seed`, `backend`, `progress` and `checkpoint` as attributes of
    these names and make a design from the training data.
    """

    algorithm: str
    """Name of the method in results."""

    seed: int | None
    backend: Backend | None
    progress: bool
    checkpoint: str | os.PathLike[str] | None

    @abstractmethod
    def design(self, train: Dataset, seed: int) -> Design:
        """Return the design that values the players of `train`."""

    def fit(self, train: Dataset | None = None) -> Self:
        """Compute the values of the players of `train`.

        Raises
        ------
        DataError
            If `train` is missing or unsuitable for the method.
        RunInterrupted
            On Ctrl-C; the partial result is kept.
        """
        if train is None:
            raise DataError(f"{type(self).__name__} needs the training data: call fit(train)")
        seed = _seed(self.seed, self.checkpoint)
        return self._run(
            self.design(train, seed),
            None,
            seed=seed,
            backend=self.backend,
            checkpoint=self.checkpoint,
            progress=self.progress,
            algorithm=self.algorithm,
            names=train.names,
        )


def covering_design(sampler: Sampler, n_players: int, semivalue: Semivalue) -> Design:
    """Return the design of a sampler for a semivalue.

    Raises
    ------
    UnsupportedSemivalueError
        If the sampler does not cover the semivalue; the message says which samplers would do.
    """
    try:
        return sampler.design(n_players, semivalue)
    except UnsupportedSemivalueError as error:
        fitting = ", ".join(_samplers_for(n_players, semivalue))
        raise UnsupportedSemivalueError(f"{error}; these would do: {fitting}") from None


def default_budget(n_players: int) -> int:
    """Return the evaluations to use when nobody says how many.

    Examples
    --------
    >>> default_budget(5), default_budget(100)
    (1000, 5000)
    """
    return max(LEAST_DEFAULT_EVALUATIONS, DEFAULT_EVALUATIONS_PER_PLAYER * n_players)


def _seed(seed: int | None, checkpoint: str | os.PathLike[str] | None) -> int:
    """Return the seed of a run: as given, else that of the run to resume, else a fresh one."""
    if seed is None and checkpoint is not None:
        seed = saved_seed(checkpoint)
    return resolve_seed(seed)


def _check_part(name: str, part: object, protocol: type, example: str) -> None:
    """Raise unless `part` is an object that satisfies `protocol`."""
    if isinstance(part, type) or not isinstance(part, protocol):
        raise InvalidOptionError(f"{name} must be an object such as {example}, got {part!r}")


def _samplers_for(n_players: int, semivalue: Semivalue) -> list[str]:
    """Return the names of the installed samplers that cover `semivalue`."""
    from dvl_core.registry import list_plugins

    fitting = []
    for reference in list_plugins("sampler"):
        if reference.status != "ok":
            continue
        # A broken or unsuitable plugin only means that it is not suggested.
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", DvlWarning)
                reference.load()().design(n_players, semivalue)
        except Exception:
            continue
        fitting.append(reference.name)
    return fitting
