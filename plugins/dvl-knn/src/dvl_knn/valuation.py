"""KNN-Shapley and its relatives (Jia et al. 2019)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from sklearn.neighbors import KNeighborsRegressor

from dvl_core.backends import JoblibBackend
from dvl_core.data import Dataset
from dvl_core.errors import DataError, InvalidOptionError
from dvl_core.profiles import MethodProfile
from dvl_core.protocols import Semivalue
from dvl_core.semivalues import BanzhafSemivalue, ShapleySemivalue
from dvl_core.utilities.fingerprint import fingerprint_function
from dvl_core.valuation import OneShotValuation
from dvl_knn.design import KNNDesign
from dvl_knn.games import (
    FixedGame,
    GroupedFixedGame,
    RegressionGame,
    SoftLabelGame,
    ThresholdGame,
    WeightedGame,
)
from dvl_knn.games.weighted import inverse_distance
from dvl_knn.inputs import encoded_labels, features_of, numbers_of
from dvl_knn.metric import Metric
from dvl_knn.model import NeighbourModel
from dvl_knn.neighbours import NeighbourSearch

if TYPE_CHECKING:
    from sklearn.neighbors import KNeighborsClassifier

    from dvl_core.protocols import Backend
    from dvl_knn.games import KNNGame

__all__ = ["KNNShapleyValuation"]

NAMED_SEMIVALUES: dict[str, Semivalue] = {
    "shapley": ShapleySemivalue(),
    "banzhaf": BanzhafSemivalue(),
}
GAMES = ("fixed", "soft-label", "threshold", "weighted")
MOST_WEIGHT_BITS = 8


class KNNShapleyValuation(OneShotValuation):
    """Exact semivalues of the training points of a nearest-neighbour model.

    A game says what a set S of training points is worth for a test point; values are means over the
    test points. All are found at once, by ordering the training points by distance and one
    recursion from the farthest to the nearest, in closed form, or by counting coalitions.

    Parameters
    ----------
    model : KNeighborsClassifier, KNeighborsRegressor or int
        Gives K, the metric and the weights; an int is K of a classifier with the Euclidean metric.
    test : Dataset or (x, y)
        Test points.
    game : str, optional
        For classifiers. "fixed": S is worth the number of its nearest members, K of them or all if
        it has fewer, that have the label of the test point, divided by K (Jia et al. 2019).
        "soft-label": divided by their number instead; the empty set guesses (Wang & Jia 2023).
        "threshold": the share of matches among the members within `radius`; without any it guesses
        (Wang et al. 2023). "weighted": 1 if the nearest with the label outweigh those without,
        ties included, else 0 (Wang, Mittal & Jia 2024). None: "weighted" if the model has weights,
        else "fixed". A regressor has one game: minus the squared error of the sum of the targets of
        the nearest, divided by K (Jia et al. 2019).
    semivalue : str or Semivalue
        "shapley", "banzhaf", or an object such as ``BetaSemivalue(4, 1)``: every game is solved for
        every semivalue.
    radius : float, optional
        Of the threshold game, in the unit of the model's metric.
    weight_bits : int
        Of the weighted game: weights are rounded to multiples of the largest, divided by
        2 ** weight_bits - 1.
    fill_value : float or "mean"
        Of the regression game: what a neighbour that a small S lacks predicts; "mean": the mean
        training target. Unless targets are centred, 0 makes every point valuable that fills a
        place.
    tolerance : float
        Of the fixed game: values may be off by so much. Only the nearest training points are then
        looked for, which is faster for very many of them; those that are found are the nearest
        without exception. The error that is possible is in the extras of the result as
        ``error_bound``.
    keep_points : bool
        Keep the values for each test point, ``test_point_values`` [t, n] in the extras of the
        result, in the order of the data.
    n_jobs : int, optional
        Threads to work with if there is no `backend`; -1: one per core.
    seed : int, optional
        Kept in the result; nothing is random.
    backend : Backend, optional
        Where test points are worked on; None: the active ``joblib.parallel_config`` if there is
        one.
    progress : bool
        Show a progress bar on stderr, if that is a terminal.
    checkpoint : path, optional
        File to resume from and to save the state of the run to.

    Raises
    ------
    InvalidOptionError
        If the model is no k-nearest-neighbour model, an option is unknown, or one does not belong
        to the game.

    Notes
    -----
    If the players are groups of training points, their values in the fixed game are exact too, by
    a recursion over the points (a dynamic programme, no sampling); the other games are for single
    points.

    Neighbours come in the order of their distance in double precision, equal distances in the order
    of the data. Test points are worked on in blocks whose memory is bounded; features are not
    copied, except to single precision where there is a `tolerance`, and sparse ones are made dense
    a few rows at a time. Threads share what processes would need once each.

    References
    ----------
    Jia, R. et al. (2019). Efficient Task-Specific Data Valuation for Nearest Neighbor Algorithms.
    PVLDB 12(11), theorems 1, 2 and 6. Wang, J. T. and Jia, R. (2023). A Note on "Efficient
    Task-Specific Data Valuation for Nearest Neighbor Algorithms". arXiv:2304.04258, theorem 2.
    Wang, J. T. et al. (2023). Threshold KNN-Shapley: A Linear-Time and Privacy-Friendly Approach to
    Data Valuation. NeurIPS. Wang, J. T., Mittal, P. and Jia, R. (2024). Efficient Data Shapley for
    Weighted Nearest Neighbor Algorithms. AISTATS.

    Examples
    --------
    >>> train = Dataset([[0.0], [1.0], [5.0]], ["a", "b", "a"])
    >>> valuation = KNNShapleyValuation(1, Dataset([[0.1]], ["a"])).fit(train)
    >>> valuation.result.values.round(4)
    array([ 0.8333, -0.1667,  0.3333])
    """

    algorithm = "knn-shapley"
    profile = MethodProfile(
        answers="share in the answers of a nearest-neighbour model",
        guarantee="exact, or within a stated bound",
        cost="no fits, one sort per test point: under a second for 10,000 x 500 rows",
        needs="numbers as features, a test set",
    )

    def __init__(
        self,
        model: KNeighborsClassifier | KNeighborsRegressor | int,
        test: Dataset | tuple[Any, Any],
        *,
        game: Literal["fixed", "soft-label", "threshold", "weighted"] | None = None,
        semivalue: str | Semivalue = "shapley",
        radius: float | None = None,
        weight_bits: int = 3,
        fill_value: float | Literal["mean"] = 0.0,
        tolerance: float = 0.0,
        keep_points: bool = False,
        n_jobs: int | None = None,
        seed: int | None = None,
        backend: Backend | None = None,
        progress: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> None:
        self.model = model
        self.test = test if isinstance(test, Dataset) else Dataset(*test)
        self.game = game
        self.semivalue = semivalue
        self.radius = radius
        self.weight_bits = weight_bits
        self.fill_value = fill_value
        self.tolerance = tolerance
        self.keep_points = keep_points
        self.n_jobs = n_jobs
        self.seed = seed
        self.backend = backend
        if backend is None and n_jobs is not None:
            # Distances and sorting release the interpreter: threads need no copies of the data.
            self.backend = JoblibBackend(n_jobs, "threading")
        self.progress = progress
        self.checkpoint = checkpoint
        self._read = NeighbourModel.read(model)
        self._law = _as_semivalue(semivalue)
        self._game = _game_of(self._read, game)
        self._check_options()
        prefix = "" if self._game == "fixed" else f"{self._game}-"
        self.algorithm = f"{prefix}knn-{self._law.name}"

    @classmethod
    def default_model(cls, classification: bool) -> int | KNeighborsRegressor:
        """Return the model to use when the user names none: five neighbours."""
        return 5 if classification else KNeighborsRegressor(5)

    def _check_options(self) -> None:
        """Refuse options that make no sense, or that belong to another game."""
        game = self._game
        if game == "threshold" and (self.radius is None or not self.radius >= 0):
            raise InvalidOptionError(
                f"the threshold game needs a radius of at least 0, got {self.radius}"
            )
        if not 1 <= self.weight_bits <= MOST_WEIGHT_BITS:
            raise InvalidOptionError(
                f"weight_bits must lie between 1 and {MOST_WEIGHT_BITS}, got {self.weight_bits}"
            )
        if not self.tolerance >= 0:
            raise InvalidOptionError(f"tolerance must not be negative, got {self.tolerance}")
        if self.fill_value != "mean" and not _is_finite(self.fill_value):
            raise InvalidOptionError(
                f"fill_value must be a finite number or 'mean', got {self.fill_value!r}"
            )
        for option, unset, owner in (
            ("radius", None, "threshold"),
            ("tolerance", 0.0, "fixed"),
            ("fill_value", 0.0, "regression"),
        ):
            if getattr(self, option) != unset and game != owner:
                raise InvalidOptionError(f"{option} is for the {owner} game, the game is {game!r}")

    def design(self, train: Dataset, seed: int) -> KNNDesign:
        """Return the design that values the players of `train`.

        Raises
        ------
        DataError
            If features are not finite numbers, differ in number from those of the test set, or the
            targets or groups do not suit the game.
        """
        if train.groups is not None and self._game != "fixed":
            raise DataError(
                "the players of this data are groups, which only the fixed game can value; the "
                f"game is {self._game!r}: use a method that samples, such as DataShapleyValuation"
            )
        x_train, x_test = features_of(train, "training"), features_of(self.test, "test")
        if x_train.n_features != x_test.n_features:
            raise DataError(
                f"the training data has {x_train.n_features} features, the test data "
                f"{x_test.n_features}"
            )
        self._try_metric(x_train.take(slice(1)), x_test.take(slice(1)))
        if self._read.regression:
            y_train, y_test = numbers_of(train.y), numbers_of(self.test.y)
        else:
            y_train, y_test = encoded_labels(train.y, self.test.y)
        solved = self._solved(train, y_train)
        n_nearest = getattr(solved, "n_nearest", train.n_rows)
        return KNNDesign(
            n_players=len(train),
            search=NeighbourSearch.over(x_train, self._metric, n_nearest),
            y_train=y_train,
            x_test=x_test,
            y_test=y_test,
            game=solved,
            groups=train.groups,
            error_bound=getattr(solved, "error_bound", 0.0),
            keep_points=self.keep_points,
        )

    @property
    def _metric(self) -> Metric:
        """The metric; where only the order counts, squares that cost no roots."""
        metric = self._read.metric
        needs_distances = self._game in ("threshold", "weighted")
        if metric == Metric("euclidean") and not needs_distances:
            return Metric("sqeuclidean")
        return metric

    def _try_metric(self, x_train: Any, x_test: Any) -> None:
        """Refuse metrics that scipy does not know, and options that do not fit them."""
        try:
            self._metric.between(x_test, x_train)
        except DataError:
            raise
        except (TypeError, ValueError) as error:
            raise InvalidOptionError(
                f"no distances can be computed with {self._metric}: {error}"
            ) from error

    def _solved(self, train: Dataset, y_train: Any) -> KNNGame:
        """Return the game for the training data."""
        n, k, law = len(train), self._read.k_neighbours, self._law
        if self._game == "regression":
            fill = float(np.mean(y_train)) if self.fill_value == "mean" else float(self.fill_value)
            return RegressionGame.solve(law, n, k, fill)
        if self._game == "weighted":
            weights = self._read.weights
            if callable(weights):
                name = fingerprint_function(weights)
                return WeightedGame.solve(law, n, k, weights, self.weight_bits, str(name))
            weigh = inverse_distance if weights == "distance" else np.ones_like
            return WeightedGame.solve(law, n, k, weigh, self.weight_bits, weights)
        n_classes = len(np.unique(y_train))
        if self._game == "soft-label":
            return SoftLabelGame.solve(law, n, k, n_classes)
        if self._game == "threshold":
            assert self.radius is not None
            return ThresholdGame.solve(law, n, self.radius, n_classes)
        if train.groups is not None:
            if self.tolerance > 0:
                raise DataError("tolerance is for single points, but these players are groups")
            return GroupedFixedGame.solve(law, n, k, train.groups)
        return FixedGame.solve(law, n, k, self.tolerance)


def _game_of(model: NeighbourModel, game: str | None) -> str:
    """Return the game that is played, or say why it does not exist."""
    if game is not None and game not in GAMES:
        raise InvalidOptionError(f"game must be one of {', '.join(GAMES)}, got {game!r}")
    if model.regression:
        if game is not None:
            raise InvalidOptionError(
                f"game is for classifiers, got {game!r} with a KNeighborsRegressor"
            )
        return "regression"
    weighted = model.weights != "uniform"
    if weighted and game not in (None, "weighted"):
        raise InvalidOptionError(
            f"the {game} game needs weights='uniform', got {model.weights!r}: weighted votes are "
            "the weighted game"
        )
    return game or ("weighted" if weighted else "fixed")


def _as_semivalue(semivalue: str | Semivalue) -> Semivalue:
    """Return the semivalue of that name, or the object itself."""
    if isinstance(semivalue, str):
        if semivalue not in NAMED_SEMIVALUES:
            raise InvalidOptionError(
                f"semivalue must be one of {', '.join(NAMED_SEMIVALUES)} or an object with a "
                f"size_law, got {semivalue!r}"
            )
        return NAMED_SEMIVALUES[semivalue]
    if isinstance(semivalue, type) or not isinstance(semivalue, Semivalue):
        raise InvalidOptionError(f"semivalue must have a name and a size_law, got {semivalue!r}")
    return semivalue


def _is_finite(value: Any) -> bool:
    try:
        return bool(np.isfinite(float(value)))
    except (TypeError, ValueError):
        return False
