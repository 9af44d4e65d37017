"""Errors of estimators of Shapley and Banzhaf values, on games whose values are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from accuracy import AccuracyCase, Bound, Entrant, PlayedGame
from numpy.typing import NDArray
from peers import ENVIRONMENTS
from references import shapley_reference
from sides.common import Arrays
from sides.games import GAMES
from sklearn.datasets import load_breast_cancer, load_diabetes

from dvl_core import BanzhafSemivalue, Dataset, ShapleySemivalue
from dvl_core.games import FunctionGame, SumOfUnanimityGames
from dvl_core.protocols import Semivalue
from dvl_knn import KNNShapleyValuation

REFERENCES = ENVIRONMENTS / "references"
DEFAULT = "adjusted, linear"
MULTIPLES = (10, 40, 100)
FLIPPED = 0.1
NOISE = 0.02

OURS = [
    Entrant("dvl", name)
    for name in (
        DEFAULT,
        "adjusted, size",
        "least squares",
        "one sample fits all",
        "complementary",
        "quasi-permutation",
        "antithetic permutation",
        "permutation",
    )
]
TREES = Entrant("dvl", "adjusted, trees", 1, (10, 40))
PYDVL = [
    Entrant("pyDVL", name)
    for name in (
        "permutation",
        "antithetic permutation",
        "Owen",
        "Owen, grid",
        "Owen, antithetic",
        "stratified",
        "VRDS",
    )
]
SHAPIQ = [
    Entrant("shapiq", name)
    for name in (
        "permutation",
        "Owen",
        "stratified",
        "KernelSHAP",
        "KernelSHAP, paired",
        "unbiased KernelSHAP",
        "unbiased KernelSHAP, paired",
    )
]
SVARM = [Entrant("shapiq", "SVARM"), Entrant("shapiq", "SVARM, paired")]
BEST_PEERS = [
    *(Entrant("pyDVL", name, 3) for name in ("antithetic permutation", "Owen, grid", "VRDS")),
    *(
        Entrant("shapiq", name, 3)
        for name in ("permutation", "Owen", "KernelSHAP, paired", "unbiased KernelSHAP, paired")
    ),
    Entrant("shapiq", "SVARM", 1, (10, 40)),
]
"""On the larger games: those that are best at some budget on one of the others."""


def seeded(entrants: Sequence[Entrant], seeds: int) -> list[Entrant]:
    """Return entrants with other numbers of seeds."""
    return [entrant._replace(seeds=seeds) for entrant in entrants]


def shapley_bounds(
    over_permutations: float | None, multiples: Sequence[int] = MULTIPLES
) -> list[Bound]:
    """Return bounds on the default: over permutations at 40n, over the best peer everywhere."""
    bounds = [Bound(DEFAULT, None, multiple, 1.2) for multiple in multiples]
    if over_permutations is not None:
        bounds.insert(0, Bound(DEFAULT, "permutation", 40, over_permutations))
    return bounds


def gaussian(n: int, n_test: int, d: int, seed: int) -> Arrays:
    """Return points of two classes by the sum of two features, a tenth of the labels flipped."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n + n_test, d))
    y = (x[:, 0] + x[:, 1] > 0).astype(int)
    y[:n] ^= rng.random(n) < FLIPPED
    return split(x, y, n)


def noisy_line(n: int, n_test: int, d: int, seed: int) -> Arrays:
    """Return points of two classes by a noisy line, a tenth of the labels flipped."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n + n_test, d))
    y = (x @ rng.normal(size=d) + 0.5 * rng.normal(size=n + n_test) > 0).astype(int)
    y[:n] ^= rng.random(n) < FLIPPED
    return split(x, y, n)


def breast_cancer(n: int, n_test: int, seed: int) -> Arrays:
    """Return ten features, standardised over all rows, a tenth of the training labels flipped."""
    x, y = load_breast_cancer(return_X_y=True)
    x = x[:, :10]
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(x))[: n + n_test]
    y = y[rows]
    y[:n] ^= rng.random(n) < FLIPPED
    return split(x[rows], y, n)


def diabetes(n: int, n_test: int, seed: int) -> Arrays:
    """Return standardised features and target."""
    x, y = load_diabetes(return_X_y=True)
    rows = np.random.default_rng(seed).permutation(len(x))[: n + n_test]
    x, y = x / x.std(axis=0), (y - y.mean()) / y.std()
    return {**split(x[rows], y[rows], n), "alpha": np.array(1.0)}


def split(x: NDArray[np.float64], y: NDArray[np.generic], n: int) -> dict[str, NDArray[np.generic]]:
    """Return the first n rows for training, the others for testing."""
    return {"x_train": x[:n], "y_train": y[:n], "x_test": x[n:], "y_test": y[n:]}


def neighbours(
    n: int, semivalue: Semivalue, noise: float = 0.0
) -> Callable[[Path], tuple[Arrays, float]]:
    """Return what makes a game of neighbours with its exact values."""

    def make(_: Path) -> tuple[Arrays, float]:
        arrays = {
            **gaussian(n, 20, 4, 0),
            "k_neighbours": np.array(5),
            "deviation": np.array(noise),
        }
        test = (arrays["x_test"], arrays["y_test"])
        valuation = KNNShapleyValuation(5, test, semivalue=semivalue)
        result = valuation.fit(Dataset(arrays["x_train"], arrays["y_train"])).result
        return {**arrays, "truth": result.values}, 0.0

    return make


def unanimity(n: int, seed: int) -> Callable[[Path], tuple[Arrays, float]]:
    """Return what makes a sum of 200 unanimity games with its exact values."""

    def make(_: Path) -> tuple[Arrays, float]:
        game = SumOfUnanimityGames.random(n, 200, seed=seed)
        arrays = {"carriers": game.carriers, "weights": game.weights}
        return {**arrays, "truth": game.shapley_values()}, 0.0

    return make


def sampled(
    kind: str, arrays: Mapping[str, NDArray[np.generic]], n_evaluations: int
) -> Callable[[Path], tuple[Arrays, float]]:
    """Return what makes a game with its values by very many permutations."""

    def make(folder: Path) -> tuple[Arrays, float]:
        game = FunctionGame(len(arrays["x_train"]), GAMES[kind](arrays))
        values, error = shapley_reference(kind, game, arrays, n_evaluations, folder)
        return {**arrays, "truth": values}, error

    return make


FLIPS = "a tenth of the training labels flipped"


def model_game(
    title: str, what: str, kind: str, arrays: Arrays, n_evaluations: int, over_permutations: float
) -> PlayedGame:
    """Return a game of 100 players and a model."""
    return PlayedGame(
        title=title,
        what=what,
        kind=kind,
        n=100,
        make=sampled(kind, arrays, n_evaluations),
        multiples=MULTIPLES,
        seeds=5,
        entrants=[*OURS, TREES, *BEST_PEERS],
        bounds=shapley_bounds(over_permutations),
    )


GAMES_PLAYED = [
    PlayedGame(
        title="Nearest neighbours",
        what=(
            "The share, of the 5 nearest members of 20 test points, that have their label; 4 "
            f"Gaussian features, 2 classes, {FLIPS}. Exact values by `KNNShapleyValuation`."
        ),
        kind="neighbours",
        n=100,
        make=neighbours(100, ShapleySemivalue()),
        multiples=MULTIPLES,
        seeds=5,
        entrants=[
            *OURS,
            TREES,
            *seeded(PYDVL, 3),
            *seeded(SHAPIQ, 3),
            *seeded(SVARM, 1),
        ],
        bounds=shapley_bounds(0.1),
    ),
    PlayedGame(
        title="Nearest neighbours with noise",
        what=(
            "The same game, and Gaussian noise with a standard deviation of "
            f"{NOISE} that is drawn anew at every evaluation: a model that is not seeded."
        ),
        kind="noisy-neighbours",
        n=100,
        make=neighbours(100, ShapleySemivalue(), NOISE),
        multiples=MULTIPLES,
        seeds=5,
        entrants=[*OURS, *BEST_PEERS],
        bounds=shapley_bounds(None),
    ),
    model_game(
        "Nearest centroid",
        "Accuracy of the nearest of two centroids on 100 test points; 5 Gaussian features, "
        f"{FLIPS}.",
        "centroid",
        noisy_line(100, 100, 5, 1),
        1_000_000,
        1 / 3,
    ),
    model_game(
        "Logistic regression",
        "Accuracy on 200 test points of scikit-learn's breast cancer data, the first 10 features; "
        f"{FLIPS}.",
        "logistic",
        breast_cancer(100, 200, 0),
        1_000_000,
        1 / 3,
    ),
    model_game(
        "Decision tree",
        "Accuracy of a tree of three levels, its thresholds among the octiles of the features, on "
        "the same data.",
        "tree",
        breast_cancer(100, 200, 0),
        1_000_000,
        1 / 2,
    ),
    model_game(
        "Ridge regression",
        "Minus the mean squared error on 200 test points of scikit-learn's diabetes data, penalty "
        "1: with few members it is very bad.",
        "ridge",
        diabetes(100, 200, 0),
        2_000_000,
        1 / 3,
    ),
    *(
        PlayedGame(
            title=f"Unanimity games {seed + 1}",
            what="The sum of 200 unanimity games of random carriers with weights from -1 to 1.",
            kind="unanimity",
            n=24,
            make=unanimity(24, seed),
            multiples=(10, 40, 200),
            seeds=20,
            entrants=[
                *OURS,
                TREES,
                *seeded(PYDVL, 5),
                *SHAPIQ,
                *SVARM,
                Entrant("shapiq", "kADD-SHAP"),
            ],
            bounds=shapley_bounds(None, (10, 40, 200)),
        )
        for seed in (0, 1)
    ),
    PlayedGame(
        title="Few nearest neighbours",
        what="The game of nearest neighbours with 20 players.",
        kind="neighbours",
        n=20,
        make=neighbours(20, ShapleySemivalue()),
        multiples=MULTIPLES,
        seeds=20,
        entrants=[*OURS, *seeded(PYDVL, 5), *SHAPIQ, *SVARM],
        bounds=shapley_bounds(None),
    ),
    PlayedGame(
        title="Many nearest neighbours",
        what="The game of nearest neighbours with 1,000 players.",
        kind="neighbours",
        n=1_000,
        make=neighbours(1_000, ShapleySemivalue()),
        multiples=(10, 40),
        seeds=2,
        entrants=[
            *(e for e in OURS if e.estimator != "complementary"),
            Entrant("pyDVL", "antithetic permutation", 1),
            Entrant("shapiq", "permutation", 1),
            Entrant("shapiq", "KernelSHAP, paired", 1),
        ],
        bounds=shapley_bounds(0.1, (10, 40)),
    ),
    PlayedGame(
        title="Banzhaf values of nearest neighbours",
        what="The first game; exact Banzhaf values by `KNNShapleyValuation`.",
        kind="neighbours",
        n=100,
        make=neighbours(100, BanzhafSemivalue()),
        multiples=MULTIPLES,
        seeds=5,
        entrants=[
            *(
                Entrant("dvl", f"Banzhaf, {name}")
                for name in ("kernel", "adjusted", "MSR, size control", "MSR")
            ),
            *(Entrant("pyDVL", f"Banzhaf, {name}", 3) for name in ("MSR", "uniform", "antithetic")),
        ],
        bounds=[
            Bound("Banzhaf, kernel", "Banzhaf, MSR", 40, 1 / 8),
            *(Bound("Banzhaf, kernel", None, multiple, 1.2) for multiple in MULTIPLES),
        ],
    ),
]

CASE = AccuracyCase(
    name="estimators",
    title="Errors of estimators",
    what=(
        "Relative squared error, that is the sum of squared errors over the sum of squared values: "
        "mean over seeds ± standard deviation, by the number of evaluations in multiples of the "
        "number of players n. All sides play the same games, made of the same arrays; the budget "
        "counts all evaluations. The last column is what an evaluation costs outside the game, "
        "drawing, folding and solving included, at the largest budget. dvl's default is "
        f'`AdjustedSampler`, in the tables "{DEFAULT}", and for Banzhaf values '
        '`KernelBanzhafSampler`, "kernel". Where no exact values are known, the reference is the '
        "mean of antithetic permutations over one or two million evaluations. Left out: pyDVL's "
        "MSR for Shapley values (its weights are ruinous), shapiq's SPEX and ProxySPEX (they look "
        "for sparse interactions); SVARM of 100 players takes minutes and has fewer seeds."
    ),
    games=GAMES_PLAYED,
    lines={
        f"dvl: {DEFAULT}": "dvl, default",
        "dvl: permutation": "dvl, permutation",
        "pyDVL: antithetic permutation": "pyDVL, antithetic permutation",
        "pyDVL: VRDS": "pyDVL, VRDS",
        "shapiq: KernelSHAP, paired": "shapiq, KernelSHAP, paired",
        "shapiq: SVARM": "shapiq, SVARM",
        "dvl: Banzhaf, kernel": "dvl, Banzhaf default",
        "pyDVL: Banzhaf, MSR": "pyDVL, Banzhaf MSR",
    },
    references=REFERENCES,
)
