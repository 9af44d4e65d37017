"""The batched form of a model utility."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Self

import numpy as np

from dvl_batched.problem import NotReproducedError
from dvl_core.errors import InvalidOptionError
from dvl_core.protocols import Evaluation
from dvl_core.utilities import ModelUtility
from dvl_core.utilities.fingerprint import fingerprint_object, fingerprint_of
from dvl_core.utilities.wrapper import ModelUtilityWrapper

if TYPE_CHECKING:
    from dvl_batched.takeover import TakeOver
    from dvl_core import Dataset
    from dvl_core.protocols import BoolArray, Utility

__all__ = ["BatchedModelUtility", "batched"]

ANSWERS = 2
"""Part of the fingerprint: to be raised when the last bits of the answers change."""
MEGABYTE = 1e6
MOST_PREPARED = 4


class BatchedModelUtility(ModelUtilityWrapper):
    """A `ModelUtility` that trains and scores many coalitions at once.

    It gives scikit-learn's answers, up to rounding. When it gets its players, it evaluates a
    handful of coalitions in both ways, and refuses if they differ. Coalitions for which rounding
    could matter go to the utility that it wraps: those that lack a class or rows, have collinear
    features, or a prediction on the edge. So failures are the same. Where the coalitions of a batch
    grow from row to row, as along a permutation, models are built up by increments.

    Parameters
    ----------
    utility : ModelUtility
        Its model, score and data must be among those that are reproduced; `batched` leaves others
        as they are.
    memory : float
        Megabytes to use while coalitions are evaluated; a batch that needs more is cut up.

    Raises
    ------
    InvalidOptionError
        If `utility` is no `ModelUtility`, `memory` is not positive, or the answers cannot be
        reproduced; that is known when it has its players.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from dvl_core import Dataset, ModelUtility, SupervisedScorer
    >>> train, test = Dataset.from_sklearn(load_iris(), train_size=0.6, random_state=0)
    >>> plain = ModelUtility(GaussianNB(), SupervisedScorer("accuracy", test)).with_data(train)
    >>> coalitions = np.random.default_rng(0).random((100, 90)) < 0.5
    >>> bool((BatchedModelUtility(plain)(coalitions) == plain(coalitions)).all())
    True
    """

    def __init__(self, utility: ModelUtility, *, memory: float = 256.0) -> None:
        super().__init__(utility)
        if not 0 < memory < np.inf:
            raise InvalidOptionError(f"memory must be a positive number, got {memory!r}")
        self.memory = memory
        if utility.train is not None:
            self._check()

    @property
    def batch_invariant(self) -> bool:
        """Whether a coalition has the same value, to the bit, in whatever batch it comes.

        The last bits of a matrix product depend on the shape of the matrices. Shares of right
        labels do not see them: a label that they could change is left to scikit-learn.
        """
        from dvl_batched.metrics import METRICS

        scoring = getattr(self.utility.scorer, "scoring", None)
        metric = METRICS.get(scoring) if isinstance(scoring, str) else None
        return metric is not None and metric.output == "labels"

    @property
    def fingerprint(self) -> str | None:
        """Digest that tells it from the utility it wraps; None if that has none."""
        own = fingerprint_object(("BatchedModelUtility", ANSWERS, self.memory))
        return fingerprint_of(own, self.utility.fingerprint)

    def with_data(self, train: Dataset) -> Self:
        """Return a copy bound to the players of `train`.

        Raises
        ------
        DataError
            If `train` is not a `Dataset`.
        InvalidOptionError
            If the answers for these data cannot be reproduced.
        """
        bound = self._changed(self.utility.with_data(train))
        bound._check()
        return bound

    def evaluate(self, coalitions: BoolArray) -> Evaluation:
        """Compute utilities, and tell which of them are stand-ins for failures.

        Parameters and errors are those of calling the utility; the store is not used.
        """
        coalitions = np.asarray(coalitions)
        shape_fits = coalitions.ndim == 2 and coalitions.shape[1] == self.n_players
        if coalitions.dtype != bool or not shape_fits or len(coalitions) == 0:
            return self.utility.evaluate(coalitions)
        prepared = self._prepare()
        values = np.empty(len(coalitions))
        good = np.empty(len(coalitions), dtype=bool)
        size = prepared.chunk(self.memory * MEGABYTE)
        for start in range(0, len(coalitions), size):
            part = slice(start, start + size)
            values[part], good[part] = prepared.scores(coalitions[part])
        failed = np.zeros(len(coalitions), dtype=bool)
        if not good.all():
            rest = self._evaluate_rest(prepared, coalitions[~good])
            values[~good], failed[~good] = rest.values, rest.failed
        return Evaluation(values, failed)

    def _evaluate_rest(self, prepared: TakeOver, coalitions: BoolArray) -> Evaluation:
        """Evaluate by the utility itself; of those that fail for the same reason only the first."""
        if self.utility.on_error == "raise":
            return self.utility.evaluate(coalitions)
        reasons = prepared.refusals(coalitions)
        values, failed = np.zeros(len(coalitions)), np.zeros(len(coalitions), dtype=bool)
        for reason in np.unique(reasons[reasons > 0]):
            alike = reasons == reason
            value = prepared.refused(self.utility, int(reason), coalitions[np.argmax(alike)])
            if value is not None:
                values[alike], failed[alike] = value, True
        asked = ~failed
        if asked.any():
            rest = self.utility.evaluate(coalitions[asked])
            values[asked], failed[asked] = rest.values, rest.failed
        return Evaluation(values, failed)

    def _check(self) -> None:
        """Raise unless the answers are reproduced, by what is known and by example."""
        from dvl_batched.takeover import check_by_example

        check_by_example(self.utility, self._prepare())

    def _prepare(self) -> TakeOver:
        """Return what evaluates coalitions, made at first use in each process."""
        if "_prepared" not in self.__dict__:
            self.__dict__["_prepared"] = _prepared(self.utility)
        found: TakeOver = self.__dict__["_prepared"]
        return found


def batched(utility: Utility, *, memory: float = 256.0) -> Utility:
    """Return the batched form of a utility, or the utility itself where there is none.

    Parameters
    ----------
    utility : Utility
        Any utility, with its players.
    memory : float
        Megabytes to use while coalitions are evaluated.
    """
    if type(utility) is not ModelUtility:
        return utility
    try:
        return BatchedModelUtility(utility, memory=memory)
    except NotReproducedError:
        return utility


_cache: OrderedDict[str, TakeOver] = OrderedDict()
_cache_lock = Lock()


def _prepared(utility: ModelUtility) -> TakeOver:
    """Return the preparation for a utility, kept by fingerprint.

    A worker process gets a new copy of the utility with every task.
    """
    from dvl_batched.takeover import take_over

    key = utility.fingerprint
    if key is None:
        return take_over(utility)
    with _cache_lock:
        if key not in _cache:
            _cache[key] = take_over(utility)
        _cache.move_to_end(key)
        while len(_cache) > MOST_PREPARED:
            _cache.popitem(last=False)
        return _cache[key]
