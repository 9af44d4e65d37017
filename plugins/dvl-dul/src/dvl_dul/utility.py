"""The utility that is learned from a few coalitions (Wang, Yang & Jia 2022)."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, get_args

import numpy as np
from sklearn.linear_model import RidgeCV

from dvl_core.errors import DataError, InvalidOptionError
from dvl_core.options import Described
from dvl_core.protocols import Fingerprinted, Seedable, Utility
from dvl_core.seeds import resolve_seed
from dvl_core.utilities.fingerprint import fingerprint_object, fingerprint_of
from dvl_dul.coalitions import Sizes
from dvl_dul.models import as_utility_model
from dvl_dul.training import Lesson, TrainingReport, predictions

if TYPE_CHECKING:
    from dvl_core.data import Dataset
    from dvl_core.protocols import Backend, BoolArray, FloatArray

__all__ = ["DataUtilityLearning"]

LEAST_TRAINING = 10
DEFAULT_TRAINING_PER_PLAYER = 10
LEAST_DEFAULT_TRAINING = 100


class DataUtilityLearning(Described):
    """What a model predicts that coalitions are worth, having seen the worth of some.

    Training coalitions are drawn at random, no two of them equal, and evaluated with the wrapped
    utility; a model is fitted to them, and from then on every coalition is worth what it predicts.
    All of this follows from the seed and happens once, in this process, before the first block of
    a run, so that all workers have the same model.

    Evaluations that a run counts and limits are predictions; the costly ones are `n_training`. To
    see how good the model is, and to use one for several runs, bind it beforehand and give it a
    seed of its own::

        learned = DataUtilityLearning(utility, seed=0).with_data(train)
        print(learned.training.r2)
        DataShapleyValuation(learned, seed=1).fit()

    A `store` of the wrapped utility serves the training coalitions, so that a resumed run does not
    pay for them again.

    Parameters
    ----------
    utility : Utility
        What is learned.
    model : UtilityModel or regressor, optional
        What learns: `IndicatorUtilityModel`, `DeepSetUtilityModel`, or a scikit-learn regressor,
        which learns from membership. None: ridge regression on membership.
    n_training : int, optional
        Coalitions to evaluate, the empty and the full one among them; at least 10. All are
        evaluated if there are not as many. None: 10 per player, at least 100.
    sizes : {"uniform", "binomial"}
        Law of their sizes. "uniform": as the Shapley value needs; "binomial": all coalitions are as
        likely, as the Banzhaf value needs.
    exact_ends : bool
        Give the empty and the full coalition their true worth, so that Shapley values sum to what
        they should. False: predict these too, better for leave-one-out, whose marginals would else
        all hold the model's error at the full coalition.
    validation : float
        Share of the training coalitions to judge the model by, in [0, 1); it is fitted once without
        them for that.
    seed : int, optional
        Decides coalitions, model and the randomness of the wrapped utility; None: the run's seed.
    backend : Backend, optional
        Where training coalitions are evaluated; None: the active ``joblib.parallel_config`` if
        there is one.
    progress : bool
        Show a progress bar on stderr meanwhile, if that is a terminal.

    Raises
    ------
    InvalidOptionError
        If an option has no sensible value, or the model can neither learn a utility nor ``fit`` and
        ``predict``.

    References
    ----------
    Wang, T., Yang, Y. and Jia, R. (2022). Improving Cooperative Game Theory-based Data Valuation
    via Data Utility Learning. arXiv:2107.06336.

    Examples
    --------
    >>> from dvl_core import FunctionGame
    >>> worth = FunctionGame(12, lambda coalitions: coalitions @ np.arange(12.0))
    >>> learned = DataUtilityLearning(worth, n_training=50, seed=0)
    >>> learned.training.n_evaluations, round(learned.training.r2, 3)
    (50, 1.0)
    >>> learned(np.eye(12, dtype=bool)[10:]).round(1)
    array([10., 11.])
    """

    def __init__(
        self,
        utility: Utility,
        model: Any = None,
        *,
        n_training: int | None = None,
        sizes: Sizes = "uniform",
        exact_ends: bool = True,
        validation: float = 0.2,
        seed: int | None = None,
        backend: Backend | None = None,
        progress: bool = False,
    ) -> None:
        if isinstance(utility, type) or not isinstance(utility, Utility):
            raise InvalidOptionError(
                f"utility must be an object such as ModelUtility(model, scorer), got {utility!r}"
            )
        if n_training is not None and (
            isinstance(n_training, bool)
            or not isinstance(n_training, int | np.integer)
            or n_training < LEAST_TRAINING
        ):
            raise InvalidOptionError(
                f"n_training must be an integer of at least {LEAST_TRAINING}: a model cannot be "
                f"learned from fewer coalitions; got {n_training!r}"
            )
        if sizes not in get_args(Sizes):
            raise InvalidOptionError(
                f"sizes must be one of {', '.join(get_args(Sizes))}, got {sizes!r}"
            )
        if not 0.0 <= validation < 1.0:
            raise InvalidOptionError(f"validation must be in [0, 1), got {validation!r}")
        if seed is not None:
            resolve_seed(seed)
        self.utility = utility
        self.model = model
        self.n_training = n_training
        self.sizes = sizes
        self.exact_ends = exact_ends
        self.validation = validation
        self.seed = seed
        self.backend = backend
        self.progress = progress
        self._train: Dataset | None = None
        self._run_seed: int | None = None
        self._model = as_utility_model(_default_model() if model is None else model)

    def __getstate__(self) -> dict[str, Any]:
        # A backend may hold connections, and workers evaluate nothing but the model.
        return self.__dict__ | {"backend": None}

    @property
    def n_players(self) -> int | None:
        """Number of players; None until the wrapped utility has them."""
        return self.utility.n_players

    @property
    def batch_invariant(self) -> bool:
        """Always false: a prediction may round otherwise in a larger batch."""
        return False

    @cached_property
    def fingerprint(self) -> str | None:
        """Digest of the wrapped utility, model, options and seed; None if one is not known."""
        seed = self._known_seed
        if seed is None or self.n_players is None:
            return None
        utility = (
            self.utility.with_seed(seed) if isinstance(self.utility, Seedable) else self.utility
        )
        wrapped = utility.fingerprint if isinstance(utility, Fingerprinted) else None
        options = (self._n_training, self.sizes, self.exact_ends, seed)
        model = getattr(self._model, "fingerprint", None) or fingerprint_object(self._model)
        return fingerprint_of("DataUtilityLearning", wrapped, model, fingerprint_object(options))

    @property
    def training(self) -> TrainingReport:
        """What was learned from, and how well; learns now if nobody asked before.

        Raises
        ------
        DataError
            If it has no players yet.
        UtilityError
            If the wrapped utility or the model failed.
        """
        return self._lesson.learned.report

    def with_data(self, train: Dataset) -> Self:
        """Return a copy bound to the players of `train`, which has learned nothing yet."""
        return self._changed(utility=self.utility.with_data(train), _train=train)

    def with_seed(self, seed: int) -> Self:
        """Return a copy that has learned with `seed`, or with the seed of its own if it has one.

        Learning happens here and not at the first prediction, which may be in a worker.
        """
        if self.seed is not None:
            if self.n_players is not None:
                # What is learned once serves all copies.
                self._learn()
            return self._copy()
        other = self._changed(_run_seed=resolve_seed(seed))
        if other.n_players is not None:
            other._learn()
        return other

    def __call__(self, coalitions: BoolArray) -> FloatArray:
        """Predict the worth of each coalition.

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
            If it has no players yet, or `coalitions` has another shape or type.
        UtilityError
            If the wrapped utility or the model failed, or a prediction is not finite.
        """
        lesson = self._lesson
        coalitions = np.asarray(coalitions)
        n = self.n_players
        if coalitions.dtype != bool or coalitions.ndim != 2 or coalitions.shape[1] != n:
            raise DataError(
                f"coalitions must be a bool array of shape [b, {n}], got {coalitions.dtype} of "
                f"shape {coalitions.shape}"
            )
        learned = lesson.learned
        values = predictions(learned.predict, coalitions)
        if self.exact_ends:
            sizes = coalitions.sum(axis=1)
            values[sizes == 0] = learned.empty
            values[sizes == n] = learned.full
        return values

    def _learn(self) -> None:
        """Learn now, if it has not happened yet."""
        _ = self._lesson.learned

    @property
    def _known_seed(self) -> int | None:
        """The seed of its own, else that of the run, else none."""
        return self._run_seed if self.seed is None else self.seed

    @property
    def _n_training(self) -> int:
        """The number of training coalitions to draw."""
        if self.n_training is not None:
            return int(self.n_training)
        assert self.n_players is not None
        return max(LEAST_DEFAULT_TRAINING, DEFAULT_TRAINING_PER_PLAYER * self.n_players)

    @cached_property
    def _lesson(self) -> Lesson:
        """What learns, for these data and this seed."""
        if self.n_players is None:
            raise DataError("the utility has no players yet: bind it with utility.with_data(train)")
        return Lesson(
            utility=self.utility,
            # A utility that was bound before it was wrapped may know its data.
            train=getattr(self.utility, "train", None) if self._train is None else self._train,
            model=self._model,
            seed=resolve_seed(self._known_seed),
            n_training=self._n_training,
            sizes=self.sizes,
            validation=self.validation,
            backend=self.backend,
            progress=self.progress,
        )

    def _copy(self) -> Self:
        """Return a copy that shares what was learned."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other

    def _changed(self, **attributes: Any) -> Self:
        """Return a copy with other attributes, and without what followed from the old ones."""
        other = self._copy()
        for name in ("fingerprint", "_lesson"):
            other.__dict__.pop(name, None)
        other.__dict__.update(attributes)
        return other


def _default_model() -> RidgeCV:
    """Return what learns if nothing else is given: it is not at a loss with few coalitions."""
    return RidgeCV(alphas=[10.0**power for power in range(-6, 4)])
