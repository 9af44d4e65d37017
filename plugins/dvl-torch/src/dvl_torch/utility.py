"""The utility of a net that is trained for many coalitions at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

from dvl_batched.problem import NotReproducedError
from dvl_core.errors import InvalidOptionError
from dvl_core.protocols import Evaluation
from dvl_core.threads import one_torch_thread
from dvl_core.utilities import ModelUtility
from dvl_core.utilities.fingerprint import fingerprint_object, fingerprint_of
from dvl_core.utilities.wrapper import ModelUtilityWrapper

if TYPE_CHECKING:
    from dvl_core import Dataset
    from dvl_core.protocols import BoolArray, Utility
    from dvl_torch.takeover import TakeOver

__all__ = ["StackedTorchUtility", "stacked"]

ANSWERS = 1
"""Part of the fingerprint: to be raised when the last bits of the answers change."""
MEGABYTE = 1e6


class StackedTorchUtility(ModelUtilityWrapper):
    """A `ModelUtility` of a net that trains and scores it for many coalitions at once.

    It gives the answers of training one after the other, up to rounding. When it gets its players,
    it evaluates a handful of coalitions in both ways, and refuses if they differ. Coalitions for
    which rounding could matter go to the utility that it wraps, as do those that fail.

    Parameters
    ----------
    utility : ModelUtility
        Its model must be a `TorchClassifier` or `TorchRegressor`, its score and data among those
        that are reproduced; `stacked` leaves others as they are.
    memory : float
        Megabytes to use while coalitions are evaluated, about; a batch that needs more is cut up.
    device : str, optional
        Where the stack is trained. Default: where the model is.

    Raises
    ------
    InvalidOptionError
        If `utility` is no `ModelUtility` of such a model, `memory` is not positive, or the answers
        cannot be reproduced; that is known when it has its players and a seed.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from torch import nn
    >>> from dvl_core import Dataset, SupervisedScorer
    >>> from dvl_torch import TorchClassifier
    >>> train, test = Dataset.from_sklearn(load_iris(), train_size=0.6, random_state=0)
    >>> net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    >>> model = TorchClassifier(net, learning_rate=0.05, epochs=20, classes=[0, 1, 2])
    >>> plain = ModelUtility(model, SupervisedScorer("neg_log_loss", test)).with_data(train)
    >>> coalitions = np.random.default_rng(0).random((20, 90)) < 0.5
    >>> bool(np.abs(StackedTorchUtility(plain)(coalitions) - plain(coalitions)).max() < 1e-9)
    True
    """

    def __init__(
        self, utility: ModelUtility, *, memory: float = 256.0, device: str | None = None
    ) -> None:
        super().__init__(utility)
        if not 0 < memory < np.inf:
            raise InvalidOptionError(f"memory must be a positive number, got {memory!r}")
        self.memory = memory
        self.device = device
        if utility.train is not None:
            self._check()

    @property
    def batch_invariant(self) -> bool:
        """False: the last bits depend on the other coalitions of the batch."""
        return False

    @property
    def fingerprint(self) -> str | None:
        """Digest that tells it from the utility it wraps; None if that has none."""
        own = fingerprint_object(("StackedTorchUtility", ANSWERS, self.memory, self.device))
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

    def with_seed(self, seed: int) -> Self:
        """Return a copy in which a ``random_state`` of None is fixed.

        Raises
        ------
        InvalidOptionError
            If the answers cannot be reproduced, where that could not be told without a seed.
        """
        seeded = self._changed(self.utility.with_seed(seed))
        if seeded.n_players is not None and self._lacks_seed():
            seeded._check()
        return seeded

    def evaluate(self, coalitions: BoolArray) -> Evaluation:
        """Compute utilities on one thread, and tell which of them are stand-ins for failures.

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
        with one_torch_thread():
            for start in range(0, len(coalitions), size):
                part = slice(start, start + size)
                values[part], good[part] = prepared.scores(coalitions[part])
        failed = np.zeros(len(coalitions), dtype=bool)
        if not good.all():
            rest = self.utility.evaluate(coalitions[~good])
            values[~good], failed[~good] = rest.values, rest.failed
        return Evaluation(values, failed)

    def _lacks_seed(self) -> bool:
        from dvl_torch.takeover import lacks_seed

        return lacks_seed(self.utility.model)

    def _check(self) -> None:
        """Raise unless the answers are reproduced, by what is known and by example."""
        from dvl_torch.takeover import check_by_example

        if not self._lacks_seed():
            check_by_example(self.utility, self._prepare())

    def _prepare(self) -> TakeOver:
        """Return what evaluates coalitions, made at first use in each process."""
        from dvl_torch.takeover import take_over

        if "_prepared" not in self.__dict__:
            self.__dict__["_prepared"] = take_over(self.utility, self.device)
        found: TakeOver = self.__dict__["_prepared"]
        return found


def stacked(utility: Utility, *, memory: float = 256.0, device: str | None = None) -> Utility:
    """Return the stacked form of the utility of a net, or the utility itself where there is none.

    Parameters
    ----------
    utility : Utility
        Any utility, with its players.
    memory : float
        Megabytes to use while coalitions are evaluated, about.
    device : str, optional
        Where the stack is trained. Default: where the model is.
    """
    if type(utility) is not ModelUtility:
        return utility
    try:
        found = StackedTorchUtility(utility, memory=memory, device=device)
    except NotReproducedError:
        return utility
    return utility if found._lacks_seed() else found
