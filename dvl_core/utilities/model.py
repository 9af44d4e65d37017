"""The utility of machine learning: fit a model on a coalition, score it on test data."""

from __future__ import annotations

import copy
import difflib
import math
import os
from contextlib import ExitStack, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from sklearn import config_context

from dvl_core.data import Dataset, take_rows
from dvl_core.errors import DataError, InvalidOptionError, UtilityError
from dvl_core.ledger import values_through_store
from dvl_core.mapped import is_mapped
from dvl_core.protocols import Evaluation
from dvl_core.seeds import derived_seed
from dvl_core.utilities.degenerate import Diagnosis, predicts_labels
from dvl_core.utilities.fingerprint import fingerprint_model, fingerprint_object, fingerprint_of
from dvl_core.utilities.seeding import copier_of, seeded
from dvl_core.utilities.time_limit import TimeLimitError, time_limit
from dvl_core.utilities.torch_models import torch_seeded, uses_torch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dvl_core.protocols import BoolArray, FloatArray, Scorer, Store

__all__ = ["ModelUtility"]

OnError = Literal["default", "raise", "score"]
ON_ERROR = ("default", "raise", "score")
SHOWN_PLAYERS = 10
ADVICE = {
    "contains NaN": (
        "; fill missing values first, for instance with make_pipeline(SimpleImputer(), model)"
    ),
    "must have the same dtype": "; torch computes in float32: give x as x.astype('float32')",
}


class ModelUtility:
    """What a model scores on test data after it was fitted on a coalition of players.

    Each coalition gets a model of its own: scikit-learn estimators are cloned, others deep-copied.
    The value of a coalition does not depend on which others are evaluated with it.

    Parameters
    ----------
    model : object
        Anything with ``fit(x, y)`` that the scorer can score; it is given arrays, tensors, frames
        or sparse matrices as the data has them.
    scorer : Scorer
        Score of a fitted model, larger is better; its `default` is the utility of the empty
        coalition.
    store : Store, optional
        Ledger of values: what is in it is not computed again.
    on_error : {"default", "raise", "score"}
        What to do when fitting or scoring fails, a score of NaN or infinity included. "default": a
        degenerate coalition (empty, lacking a class or with one in a single row, too few rows)
        scores the scorer's default and counts as failed, any other error stops the run; "raise":
        every error stops it; "score": every error scores the default and counts as failed. The
        empty coalition is never fitted: it scores the default and counts as failed in all three.
    time_limit : float, optional
        Seconds that fitting and scoring may take; more is an error, which `on_error` "score" turns
        into the default. It is kept in worker processes and in serial runs, not in threads, and
        with it no plugin trains coalitions together. Which fits it cuts depends on the machine.

    Raises
    ------
    InvalidOptionError
        If the model has no ``fit``, the scorer is none, `on_error` is unknown, or the time limit is
        not positive.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from dvl_core import Dataset, SupervisedScorer
    >>> train, test = Dataset.from_sklearn(load_iris(), train_size=0.6, random_state=0)
    >>> scorer = SupervisedScorer("accuracy", test)
    >>> utility = ModelUtility(LogisticRegression(max_iter=500), scorer).with_data(train)
    >>> utility(np.ones((1, len(train)), dtype=bool))
    array([0.9...])
    """

    def __init__(
        self,
        model: Any,
        scorer: Scorer,
        *,
        store: Store | None = None,
        on_error: OnError = "default",
        time_limit: float | None = None,
    ) -> None:
        if isinstance(model, type) or not callable(getattr(model, "fit", None)):
            raise InvalidOptionError(
                f"model must be an object with fit(x, y), got {model!r}"
                + ("; create one: call the class" if isinstance(model, type) else "")
            )
        if not callable(scorer) or not _has_default(scorer):
            raise InvalidOptionError(
                f"scorer must be a scorer such as SupervisedScorer('accuracy', test), got "
                f"{scorer!r}"
            )
        if on_error not in ON_ERROR:
            close = difflib.get_close_matches(str(on_error), ON_ERROR, n=1)
            guess = f"; did you mean {close[0]!r}?" if close else ""
            raise InvalidOptionError(
                f"on_error must be one of {', '.join(ON_ERROR)}, got {on_error!r}{guess}"
            )
        self.model = model
        self.scorer = scorer
        self.store = store
        if time_limit is not None and not 0 < time_limit < math.inf:
            raise InvalidOptionError(f"time_limit must be positive seconds, got {time_limit!r}")
        self.on_error = on_error
        self.time_limit = time_limit
        self._parent = os.getpid()
        self.train: Dataset | None = None
        self._torch_seed: int | None = None

    def __repr__(self) -> str:
        bound = "" if self.train is None else f", bound to {len(self.train)} players"
        return f"ModelUtility({type(self.model).__name__}, {self.scorer!r}{bound})"

    def __getstate__(self) -> dict[str, Any]:
        # What follows from the rest does not travel; the fingerprint costs too much to repeat.
        made = {"_x", "_y", "_copy_model", "_diagnosis"}
        return {name: part for name, part in self.__dict__.items() if name not in made}

    @property
    def n_players(self) -> int | None:
        """Number of players; None until bound to data."""
        return None if self.train is None else len(self.train)

    @property
    def batch_invariant(self) -> bool:
        """True: a coalition has the same value in whatever batch it comes."""
        return True

    @cached_property
    def fingerprint(self) -> str | None:
        """Digest of model, scorer and data; None if it is unbound, unseeded or cannot be told."""
        if self.train is None:
            return None
        try:
            data = self.train.digest
        except DataError:
            return None
        if hasattr(self.scorer, "fingerprint"):
            scorer = self.scorer.fingerprint
        else:
            scorer = fingerprint_object(self.scorer)
        model = fingerprint_model(self.model)
        if uses_torch(self.model):
            seed = self._torch_seed
            model = None if seed is None else fingerprint_of("torch", model, str(seed))
        return fingerprint_of("ModelUtility", model, scorer, data)

    def with_data(self, train: Dataset) -> Self:
        """Return a copy bound to the players of `train`.

        Raises
        ------
        DataError
            If `train` is not a `Dataset`.
        """
        if not isinstance(train, Dataset):
            raise DataError(
                f"the training data must be a dvl_core.Dataset, got {type(train).__name__}: wrap "
                "it as Dataset(x, y)"
            )
        return self._changed(train=train)

    def with_seed(self, seed: int) -> Self:
        """Return a copy in which every ``random_state`` of None is fixed.

        A model that learns with torch is fitted and scored with torch's generators seeded.

        Parameters
        ----------
        seed : int
            What the integers that are set follow from; they are the same for every coalition.
        """
        torch_seed = derived_seed(seed) if uses_torch(self.model) else None
        return self._changed(model=seeded(self.model, seed), _torch_seed=torch_seed)

    def _changed(self, **attributes: Any) -> Self:
        """Return a copy with other attributes, and without what followed from the old ones."""
        other = copy.copy(self)
        other.__dict__.pop("fingerprint", None)
        other.__dict__.update(attributes)
        return other

    def __call__(self, coalitions: BoolArray) -> FloatArray:
        """Return the utility of each coalition, through the store if there is one.

        Parameters
        ----------
        coalitions : bool array [b, n]
            One coalition a row.

        Returns
        -------
        float array [b]

        Raises
        ------
        DataError
            If the utility is not bound to data, or `coalitions` has another shape or type.
        UtilityError
            If an error stops the run, see `on_error`; the message names the coalition.
        """
        if self.store is None:
            return self.evaluate(coalitions).values
        _, coalitions = self._checked(coalitions)
        return values_through_store(self, coalitions, self.store)

    def evaluate(self, coalitions: BoolArray) -> Evaluation:
        """Compute utilities, and tell which of them are stand-ins for failures.

        Parameters and errors are those of calling the utility; the store is not used.
        """
        train, coalitions = self._checked(coalitions)
        values = np.empty(len(coalitions))
        failed = np.zeros(len(coalitions), dtype=bool)
        accepted = False
        with ExitStack() as context:
            for i, coalition in enumerate(coalitions):
                rows = train.rows(coalition)
                if len(rows) == 0:
                    values[i], failed[i] = self.scorer.default, True
                    continue
                try:
                    values[i] = self._fit_and_score(rows)
                except MemoryError:
                    raise
                except TimeLimitError as error:
                    if self.on_error != "score":
                        raise UtilityError(self._message(coalition, error)) from error
                    values[i], failed[i] = self.scorer.default, True
                except Exception as error:
                    self._check_excused(coalition, rows, error)
                    values[i], failed[i] = self.scorer.default, True
                else:
                    # The same hyper-parameters were accepted just now: checking them for every
                    # coalition takes 5 % of a small fit.
                    if not accepted:
                        context.enter_context(config_context(skip_parameter_validation=True))
                        accepted = True
        return Evaluation(values, failed)

    def _checked(self, coalitions: BoolArray) -> tuple[Dataset, BoolArray]:
        """Return the data and the coalitions, or say what is wrong with them."""
        if self.train is None:
            raise DataError("the utility has no players yet: bind it with utility.with_data(train)")
        coalitions = np.asarray(coalitions)
        n = len(self.train)
        if coalitions.dtype != bool or coalitions.ndim != 2 or coalitions.shape[1] != n:
            raise DataError(
                f"coalitions must be a bool array of shape [b, {n}], got {coalitions.dtype} of "
                f"shape {coalitions.shape}"
            )
        return self.train, coalitions

    @cached_property
    def _x(self) -> Any:
        """The features in the layout from which rows are taken fastest."""
        assert self.train is not None
        x = self.train.x
        if not isinstance(x, np.ndarray):
            return x
        # A file is never read as a whole.
        return np.asarray(x) if is_mapped(x) else np.ascontiguousarray(x)

    @cached_property
    def _y(self) -> Any:
        """The target as the model takes it."""
        assert self.train is not None
        return self.train.target_for(self.model)

    @cached_property
    def _copy_model(self) -> Any:
        return copier_of(self.model)

    @cached_property
    def _diagnosis(self) -> Diagnosis:
        assert self.train is not None
        labelled = predicts_labels(self.model, self.train.y)
        return Diagnosis(self.train.y, labelled, self._fit_and_score)

    def _fit_and_score(self, rows: NDArray[np.intp]) -> float:
        """Return the score of a fresh model fitted on a copy of these rows, within the time."""
        seeds = nullcontext() if self._torch_seed is None else torch_seeded(self._torch_seed)
        with seeds, time_limit(self.time_limit, self._parent):
            model = self._copy_model(self.model)
            model.fit(take_rows(self._x, rows), take_rows(self._y, rows))
            score = float(self.scorer(model))
        if not math.isfinite(score):
            raise ArithmeticError(f"the scorer returned {score}")
        return score

    def _check_excused(
        self, coalition: BoolArray, rows: NDArray[np.intp], error: Exception
    ) -> None:
        """Return if the default may stand in for the value, else raise what stops the run."""
        if self.on_error == "score":
            return
        if self.on_error == "default" and self._diagnosis.excuses(rows):
            return
        raise UtilityError(self._message(coalition, error)) from error

    def _message(self, coalition: BoolArray, error: Exception) -> str:
        """Return a sentence that names the coalition, what the model said and the way out."""
        assert self.train is not None
        names = self.train.names[coalition]
        shown = ", ".join(str(name) for name in names[:SHOWN_PLAYERS])
        shown += ", ..." if len(names) > SHOWN_PLAYERS else ""
        kind = type(error).__name__
        said = (str(error).strip().splitlines() or [""])[0].rstrip(". ")
        text = (
            f"{type(self.model).__name__} failed on the coalition of {len(names)} of "
            f"{len(self.train)} players [{shown}]: {kind}{': ' if said else ''}{said}"
        )
        if self.on_error == "default" and not self._diagnosis.works_on_all():
            text += "; it fails on all the training data too"
        return text + "".join(advice for words, advice in ADVICE.items() if words in said)


def _has_default(scorer: object) -> bool:
    """Return whether a scorer has a default, without computing it."""
    return hasattr(type(scorer), "default") or "default" in getattr(scorer, "__dict__", {})
