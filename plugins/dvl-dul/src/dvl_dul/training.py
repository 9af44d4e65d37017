"""Learning a utility: evaluate the training coalitions once, fit a model, judge it."""

from __future__ import annotations

import threading
import warnings
from dataclasses import dataclass, field
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core import engine
from dvl_core.errors import DvlError, DvlWarning, RunInterrupted, UtilityError
from dvl_core.threads import single_threaded
from dvl_dul.coalitions import TrainingDesign, training_coalitions

if TYPE_CHECKING:
    from dvl_core.data import Dataset
    from dvl_core.protocols import Backend, BoolArray, FloatArray, Utility
    from dvl_dul.coalitions import Sizes
    from dvl_dul.models import Predictor, UtilityModel

__all__ = ["Learned", "Lesson", "TrainingReport", "predictions"]

CHUNK_ENTRIES = 1 << 22
"""Entries of the matrices that a model is asked about at a time: 32 MiB as float64."""

STREAM = 0x64756C
"""Keeps the draws of training coalitions apart from all else that follows from the same seed."""

LEAST_WITNESSES = 10
"""Held-out coalitions from which it may be said that a model explains nothing."""

SHOWN_CHARACTERS = 100


@dataclass(frozen=True)
class TrainingReport:
    """What a utility was learned from, and how well.

    Parameters
    ----------
    n_evaluations : int
        Training coalitions, that is, values of the wrapped utility that were used.
    n_computed : int
        How many of these were not in the store of the wrapped utility.
    n_failures : int
        How many of those computed are stand-ins for fits that failed.
    n_validation : int
        Coalitions that were held out to judge the model; the model in use learned from these too.
    r2 : float
        Share of the variance of their worth that a model explained which had not seen them; NaN if
        none were held out, or all are worth the same.
    mae : float
        Its mean absolute error on them; NaN if none were held out.
    """

    n_evaluations: int
    n_computed: int
    n_failures: int
    n_validation: int
    r2: float
    mae: float


@dataclass(frozen=True, eq=False)
class Learned:
    """A utility that was learned.

    Parameters
    ----------
    predict : callable
        Worth [b] of coalitions [b, n].
    empty, full : float
        What the wrapped utility gives the empty and the full coalition.
    report : TrainingReport
        How it was learned.
    """

    predict: Predictor
    empty: float
    full: float
    report: TrainingReport


@dataclass(eq=False)
class Lesson:
    """Learns a utility when it is first needed, once, whoever asks.

    Parameters
    ----------
    utility : Utility
        The wrapped one, with players.
    train : Dataset, optional
        Data of the players.
    model : UtilityModel
        What learns.
    seed : int
        Decides the coalitions, the randomness of the utility and that of the model.
    n_training : int
        Number of training coalitions.
    sizes : {"uniform", "binomial"}
        Law of their sizes.
    validation : float
        Share of them to hold out.
    backend : Backend, optional
        Where they are evaluated.
    progress : bool
        Show a progress bar meanwhile.
    """

    utility: Utility
    train: Dataset | None
    model: UtilityModel
    seed: int
    n_training: int
    sizes: Sizes
    validation: float
    backend: Backend | None
    progress: bool
    _learned: Learned | None = None
    _lock: Any = field(default_factory=threading.Lock, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_lock": None, "backend": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    @property
    def learned(self) -> Learned:
        """What was learned."""
        with self._lock:
            if self._learned is None:
                self._learned = self._learn()
            return self._learned

    def _learn(self) -> Learned:
        draws, chances = np.random.SeedSequence([self.seed, STREAM]).spawn(2)
        model_seed = int(chances.generate_state(1)[0])
        n = self.utility.n_players
        assert n is not None
        coalitions = training_coalitions(
            n, self.n_training, self.sizes, np.random.default_rng(draws)
        )
        utilities, n_computed, n_failures = self._evaluate(coalitions, n)
        # Several threads may add up in another order.
        with single_threaded():
            n_validation, r2, mae = self._judge(coalitions, utilities, model_seed)
            predict = self._fit(coalitions, utilities, model_seed)
        report = TrainingReport(len(coalitions), n_computed, n_failures, n_validation, r2, mae)
        self._warn(report)
        return Learned(predict, float(utilities[0]), float(utilities[1]), report)

    def _evaluate(self, coalitions: BoolArray, n_players: int) -> tuple[FloatArray, int, int]:
        """Return what the coalitions are worth, how many were computed, and how many failed."""
        try:
            result = engine.run(
                TrainingDesign(np.packbits(coalitions, axis=1), n_players),
                self.utility,
                seed=self.seed,
                backend=self.backend,
                store=getattr(self.utility, "store", None),
                progress=self.progress,
                algorithm="utility-learning",
            )
        except RunInterrupted:
            # Its partial result is not one of the valuation that waits for this.
            raise KeyboardInterrupt(
                "interrupted while training coalitions were evaluated"
            ) from None
        return result.extras["utilities"], result.n_computed, result.n_failures

    def _judge(
        self, coalitions: BoolArray, utilities: FloatArray, seed: int
    ) -> tuple[int, float, float]:
        """Return the size of the held-out share, and R2 and mean absolute error on it."""
        # Coalitions come in random order, but for the two ends, which are always learned from.
        n_held_out = int(self.validation * (len(coalitions) - 2))
        if n_held_out < 2:
            return 0, np.nan, np.nan
        kept, held_out = slice(None, -n_held_out), slice(-n_held_out, None)
        predict = self._fit(coalitions[kept], utilities[kept], seed)
        truth = utilities[held_out]
        errors = predictions(predict, coalitions[held_out]) - truth
        spread = float(np.square(truth - truth.mean()).sum())
        r2 = 1.0 - float(np.square(errors).sum()) / spread if np.ptp(truth) > 0 else np.nan
        return n_held_out, r2, float(np.abs(errors).mean())

    def _fit(self, coalitions: BoolArray, utilities: FloatArray, seed: int) -> Predictor:
        """Return what the model makes of coalitions and their worth."""
        try:
            return self.model.learn(coalitions, utilities, train=self.train, seed=seed)
        except (DvlError, ImportError, MemoryError):
            raise
        except Exception as error:
            raise UtilityError(
                f"{_shown(self.model)} could not learn from {len(coalitions)} coalitions: "
                f"{type(error).__name__}: {error}"
            ) from error

    def _warn(self, report: TrainingReport) -> None:
        """Say so if what was learned is of no use."""
        if 2 * report.n_failures > report.n_evaluations:
            warnings.warn(
                f"{report.n_failures} of {report.n_evaluations} training coalitions could not be "
                "evaluated, so what is learned is mostly the score that stands in for them",
                DvlWarning,
                stacklevel=4,
            )
        if report.r2 <= 0 and report.n_validation >= LEAST_WITNESSES:
            warnings.warn(
                f"{_shown(self.model)} explains nothing of the worth of {report.n_validation} "
                f"coalitions that it has not seen (R2 = {report.r2:.2g}): raise n_training, or "
                "take another model",
                DvlWarning,
                stacklevel=4,
            )


def predictions(predict: Predictor, coalitions: BoolArray) -> FloatArray:
    """Return predicted worths [b] of coalitions [b, n], computed in chunks of bounded memory.

    Raises
    ------
    UtilityError
        If the model does not give one finite number a coalition.
    """
    step = max(1, CHUNK_ENTRIES // coalitions.shape[1])
    values = np.empty(len(coalitions))
    for start in range(0, len(coalitions), step):
        chunk = coalitions[start : start + step]
        predicted = predict(chunk)
        if np.shape(predicted) != (len(chunk),):
            raise UtilityError(
                f"the learned utility must give one number for each of {len(chunk)} coalitions, "
                f"it gave shape {np.shape(predicted)}"
            )
        values[start : start + step] = predicted
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        members = np.flatnonzero(coalitions[bad[0]])
        shown = ", ".join(map(str, members[:10])) + (", ..." if len(members) > 10 else "")
        raise UtilityError(
            f"the learned utility is {values[bad[0]]} on the coalition of {len(members)} players "
            f"[{shown}]: the model did not converge, take other options or another one"
        )
    return values


def _shown(model: UtilityModel) -> str:
    """Return how messages name a model."""
    return shorten(repr(model), SHOWN_CHARACTERS, placeholder=" ...")
