"""KNN-Shapley and its relatives (Jia et al. 2019)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from dvl_core.data import Dataset
from dvl_core.errors import DataError, InvalidOptionError, UnsupportedSemivalueError
from dvl_core.protocols import Semivalue
from dvl_core.semivalues import BanzhafSemivalue, ShapleySemivalue
from dvl_core.valuation import OneShotValuation
from dvl_knn.design import KNNDesign
from dvl_knn.games import FixedGame, SoftLabelGame, ThresholdGame
from dvl_knn.pivots import last_pivot, pivots

if TYPE_CHECKING:
    from dvl_core.protocols import Backend
    from dvl_knn.games import KNNGame

__all__ = ["KNNShapleyValuation"]

NAMED_SEMIVALUES: dict[str, Semivalue] = {
    "shapley": ShapleySemivalue(),
    "banzhaf": BanzhafSemivalue(),
}

SOLVED_FOR: dict[str, tuple[Semivalue, ...] | None] = {
    "fixed": None,
    "soft-label": (ShapleySemivalue(),),
    "threshold": (ShapleySemivalue(), BanzhafSemivalue()),
}
"""The semivalues that each game is solved for; None: all."""


class KNNShapleyValuation(OneShotValuation):
    """Exact semivalues of the training points of a nearest-neighbour classifier.

    A game says what a set S of training points is worth for a test point; values are means over the
    test points. All are found at once, by ordering the training points by distance and one
    recursion from the farthest to the nearest, or in closed form.

    Parameters
    ----------
    model : KNeighborsClassifier or int
        Gives K and the metric; an int is K with the Euclidean metric. Weights other than "uniform"
        change the game and are refused.
    test : Dataset or (x, y)
        Test points.
    game : str
        "fixed": S is worth the number of its nearest members, K of them or all if it has fewer,
        that have the label of the test point, divided by K (Jia et al. 2019). "soft-label": divided
        by their number instead; the empty set guesses (Wang & Jia 2023). "threshold": the share of
        matches among the members within `radius`; without any it guesses (Wang et al. 2023).
    semivalue : str or Semivalue
        "shapley", "banzhaf", or an object such as ``BetaSemivalue(4, 1)``. The soft-label game is
        solved for Shapley, the threshold game for Shapley and Banzhaf, the fixed one for all.
    radius : float, optional
        Of the threshold game, in the unit of the model's metric.
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
        If the model is no unweighted k-nearest-neighbour classifier, or the game or the semivalue
        is unknown.
    UnsupportedSemivalueError
        If the game is not solved for the semivalue.

    References
    ----------
    Jia, R. et al. (2019). Efficient Task-Specific Data Valuation for Nearest Neighbor Algorithms.
    PVLDB 12(11), theorem 1. Wang, J. T. and Jia, R. (2023). A Note on "Efficient Task-Specific Data
    Valuation for Nearest Neighbor Algorithms". arXiv:2304.04258, theorem 2. Wang, J. T. et al.
    (2023). Threshold KNN-Shapley: A Linear-Time and Privacy-Friendly Approach to Data Valuation.
    NeurIPS.

    Examples
    --------
    >>> train = Dataset([[0.0], [1.0], [5.0]], ["a", "b", "a"])
    >>> valuation = KNNShapleyValuation(1, Dataset([[0.1]], ["a"])).fit(train)
    >>> valuation.result.values.round(4)
    array([ 0.8333, -0.1667,  0.3333])
    """

    algorithm = "knn-shapley"

    def __init__(
        self,
        model: KNeighborsClassifier | int,
        test: Dataset | tuple[Any, Any],
        *,
        game: Literal["fixed", "soft-label", "threshold"] = "fixed",
        semivalue: str | Semivalue = "shapley",
        radius: float | None = None,
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
        self.seed = seed
        self.backend = backend
        self.progress = progress
        self.checkpoint = checkpoint
        self._k_neighbours, self._metric = _read_model(model)
        self._law = _as_semivalue(semivalue)
        _check_game(game, self._law, radius)
        self.algorithm = f"{'' if game == 'fixed' else f'{game}-'}knn-{self._law.name}"

    @classmethod
    def default_model(cls, classification: bool) -> int:
        """Return K when the user names no model.

        Raises
        ------
        InvalidOptionError
            For regression, which this method does not cover.
        """
        if not classification:
            raise InvalidOptionError(
                "KNN-Shapley needs a target of classes, but this one looks like numbers to predict"
            )
        return 5

    def design(self, train: Dataset, seed: int) -> KNNDesign:
        """Return the design that values the players of `train`.

        Raises
        ------
        DataError
            If features are not finite numbers, differ in number from those of the test set, or
            players are groups.
        """
        if train.groups is not None:
            raise DataError(
                "KNN-Shapley values single rows, but the players of this data are groups"
            )
        x_train, x_test = _features(train, "training"), _features(self.test, "test")
        if x_train.shape[1] != x_test.shape[1]:
            raise DataError(
                f"the training data has {x_train.shape[1]} features, the test data "
                f"{x_test.shape[1]}"
            )
        if train.y.ndim != 1 or train.y.dtype.kind == "f":
            raise DataError("KNN-Shapley needs one class label per row, got other targets")
        y_train, y_test = _encoded(train.y, self.test.y)
        metric, options = self._metric
        solved = self._solved(len(train), len(np.unique(y_train)))
        return KNNDesign(x_train, y_train, x_test, y_test, solved, metric, options)

    def _solved(self, n_players: int, n_classes: int) -> KNNGame:
        """Return the game for that many training points and classes."""
        k = self._k_neighbours
        if self.game == "soft-label":
            return SoftLabelGame(k, n_classes)
        if self.game == "threshold":
            assert self.radius is not None
            squared = self._metric[0] == "sqeuclidean"
            radius = self.radius**2 if squared else self.radius
            return ThresholdGame(radius, n_classes, self._law == BanzhafSemivalue())
        every = pivots(self._law, n_players, k)
        return FixedGame(k, every, last_pivot(self._law, n_players, k))


def _check_game(game: str, semivalue: Semivalue, radius: float | None) -> None:
    """Refuse games that do not exist or are not solved."""
    if game not in SOLVED_FOR:
        raise InvalidOptionError(f"game must be one of {', '.join(SOLVED_FOR)}, got {game!r}")
    solved = SOLVED_FOR[game]
    if solved is not None and semivalue not in solved:
        names = " and ".join(law.name for law in solved)
        raise UnsupportedSemivalueError(
            f"the {game} game is solved for {names}, not for {semivalue.name}; the fixed game is "
            "solved for all"
        )
    if game == "threshold" and (radius is None or not radius >= 0):
        raise InvalidOptionError(f"the threshold game needs a radius of at least 0, got {radius}")
    if game != "threshold" and radius is not None:
        raise InvalidOptionError(f"radius is for the threshold game, the game is {game!r}")


def _read_model(model: KNeighborsClassifier | int) -> tuple[int, tuple[str, dict[str, Any]]]:
    """Return K and the metric of `model`."""
    if isinstance(model, int | np.integer) and not isinstance(model, bool):
        if model < 1:
            raise InvalidOptionError(f"K must be at least 1, got {model}")
        return int(model), ("sqeuclidean", {})
    if isinstance(model, KNeighborsRegressor):
        raise InvalidOptionError("KNN-Shapley needs a classifier, got a KNeighborsRegressor")
    if not isinstance(model, KNeighborsClassifier):
        raise InvalidOptionError(
            "KNN-Shapley needs a KNeighborsClassifier or the number of neighbours, got "
            f"{type(model).__name__}"
        )
    if model.weights not in ("uniform", None):
        raise InvalidOptionError(
            f"KNN-Shapley needs weights='uniform', got {model.weights!r}: weighted votes are "
            "another game"
        )
    return int(model.n_neighbors), _metric_of(model)


def _metric_of(model: KNeighborsClassifier) -> tuple[str, dict[str, Any]]:
    """Return the metric in the words of scipy."""
    options = dict(model.metric_params or {})
    if model.metric in ("minkowski", "euclidean", "l2", "manhattan", "l1"):
        p = {"euclidean": 2, "l2": 2, "manhattan": 1, "l1": 1}.get(model.metric, model.p)
        if p == 2 and not options:
            # Squares are in the same order and cost no roots.
            return "sqeuclidean", {}
        return ("cityblock", options) if p == 1 else ("minkowski", {"p": p, **options})
    if not isinstance(model.metric, str) or model.metric == "precomputed":
        raise InvalidOptionError(f"KNN-Shapley needs the name of a metric, got {model.metric!r}")
    return model.metric, options


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


def _features(data: Dataset, which: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return features as float64 [n, d], or say why distances make no sense on them."""
    x = data.x.toarray() if hasattr(data.x, "toarray") else data.x
    try:
        x = np.ascontiguousarray(x, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"the features of the {which} data are not all numbers ({error}): encode them first"
        ) from error
    if x.ndim != 2:
        raise DataError(f"the features of the {which} data must be a table, got shape {x.shape}")
    bad = ~np.isfinite(x).all(axis=1)
    if bad.any():
        raise DataError(
            f"{int(bad.sum())} rows of the {which} data have missing or infinite features, first "
            f"row {int(np.flatnonzero(bad)[0])}: fill them first"
        )
    return x


def _encoded(y_train: Any, y_test: Any) -> tuple[Any, Any]:
    """Return labels as numbers, equal where the labels are equal."""
    labels, codes = np.unique(np.concatenate([y_train, y_test]), return_inverse=True)
    codes = codes.astype(np.min_scalar_type(len(labels)))
    return codes[: len(y_train)], codes[len(y_train) :]
