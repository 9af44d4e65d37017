"""The games on which estimators are compared: the same code in the environment of every side.

A game maps coalitions (bool [b, n]) to what they are worth (float [b]). All are made from the
arrays of the case, so that every side plays the same one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sides.common import Arrays

Game = Callable[[NDArray[np.bool_]], NDArray[np.float64]]

COALITIONS_A_CHUNK = 256
NEWTON_STEPS = 30
TREE_DEPTH = 3


def unanimity(arrays: Arrays) -> Game:
    """Return the sum of the weights of the carriers that a coalition contains."""
    carriers, weights = arrays["carriers"].astype(float), arrays["weights"]
    sizes = carriers.sum(axis=1)

    def game(coalitions: NDArray[np.bool_]) -> NDArray[np.float64]:
        held: NDArray[np.bool_] = coalitions.astype(float) @ carriers.T >= sizes - 0.5
        return np.asarray(held @ weights)

    return game


def neighbours(arrays: Arrays) -> Game:
    """Return the share, of the K nearest members of test points, that have their label."""
    x, y, x_test, y_test = _split(arrays)
    k = int(arrays["k_neighbours"])
    order = np.argsort(np.square(x_test[:, None] - x[None]).sum(axis=2), axis=1, kind="stable")
    matches = (y[order] == y_test[:, None]).astype(float)

    def game(coalitions: NDArray[np.bool_]) -> NDArray[np.float64]:
        total = np.zeros(len(coalitions))
        for near, match in zip(order, matches, strict=True):
            members = coalitions[:, near]
            total += (members & (np.cumsum(members, axis=1) <= k)) @ match
        return total / (k * len(x_test))

    return _chunked(game)


def noisy_neighbours(arrays: Arrays) -> Game:
    """Return the game of neighbours, and noise that is drawn anew at every evaluation."""
    quiet, deviation = neighbours(arrays), float(arrays["deviation"])
    rng = np.random.default_rng(int(arrays["noise_seed"]))
    return lambda coalitions: quiet(coalitions) + deviation * rng.normal(size=len(coalitions))


def centroid(arrays: Arrays) -> Game:
    """Return the accuracy of the nearest of two centroids."""
    x, y, x_test, y_test = _split(arrays)

    def game(coalitions: NDArray[np.bool_]) -> NDArray[np.float64]:
        squares = []
        for label in (0, 1):
            members = coalitions * (y == label)
            counts = members.sum(axis=1)
            centres = members @ x / np.maximum(counts, 1)[:, None]
            # |t - c|^2 without |t|^2, which both classes share.
            distance = np.square(centres).sum(axis=1)[:, None] - 2 * centres @ x_test.T
            squares.append(np.where(counts[:, None] > 0, distance, np.inf))
        return _accuracy(squares[1] < squares[0], coalitions, y_test)

    return _chunked(game)


def logistic(arrays: Arrays) -> Game:
    """Return the accuracy of logistic regression with an L2 penalty of 1/2 |w|^2."""
    x, y, x_test, y_test = _split(arrays)
    design = np.column_stack([x, np.ones(len(x))])
    design_test = np.column_stack([x_test, np.ones(len(x_test))])

    def game(coalitions: NDArray[np.bool_]) -> NDArray[np.float64]:
        members = coalitions.astype(float)
        ones, sizes = members @ y, members.sum(axis=1)
        mixed = (ones > 0) & (ones < sizes)
        labels = np.repeat(ones[:, None] > 0, len(x_test), axis=1)
        if mixed.any():
            weights = _newton(design, y, members[mixed])
            labels[mixed] = weights @ design_test.T > 0
        return _accuracy(labels, coalitions, y_test)

    return _chunked(game)


def ridge(arrays: Arrays) -> Game:
    """Return minus the mean squared error of ridge regression, its intercept not penalised."""
    x, y, x_test, y_test = _split(arrays)
    outer = np.einsum("ni,nj->nij", x, x).reshape(len(x), -1)
    penalty = float(arrays["alpha"]) * np.eye(x.shape[1])

    def game(coalitions: NDArray[np.bool_]) -> NDArray[np.float64]:
        members = coalitions.astype(float)
        counts = np.maximum(members.sum(axis=1), 1)
        x_mean, y_mean = members @ x / counts[:, None], members @ y / counts
        gram = (members @ outer).reshape(-1, *penalty.shape) + penalty
        gram -= counts[:, None, None] * np.einsum("bi,bj->bij", x_mean, x_mean)
        cross = members @ (x * y[:, None]) - counts[:, None] * x_mean * y_mean[:, None]
        weights = np.linalg.solve(gram, cross[:, :, None])[:, :, 0]
        predicted = weights @ x_test.T + (y_mean - (weights * x_mean).sum(axis=1))[:, None]
        return np.asarray(-np.square(predicted - y_test).mean(axis=1))

    return _chunked(game)


def tree(arrays: Arrays) -> Game:
    """Return the accuracy of a decision tree of three levels, its thresholds among octiles."""
    x, y, x_test, y_test = _split(arrays)
    octiles = np.quantile(x, np.arange(1, 8) / 8, axis=0)
    below = (x[:, None] <= octiles).reshape(len(x), -1).astype(float)
    below_test = (x_test[:, None] <= octiles).reshape(len(x_test), -1)

    def game(coalitions: NDArray[np.bool_]) -> NDArray[np.float64]:
        b = len(coalitions)
        members = coalitions.astype(float)[:, None]
        reached = np.ones((b, 1, len(x_test)), dtype=bool)
        labels = np.zeros((b, 1), dtype=bool)
        for level in range(TREE_DEPTH + 1):
            ones, counts = members @ y, members.sum(axis=2)
            labels = np.where(counts > 0, 2 * ones > counts, labels)
            if level == TREE_DEPTH:
                break
            split = _purest_split(members, y, below, ones, counts)
            left, left_test = below.T[split], below_test.T[split]
            members = np.stack([members * left, members * (1 - left)], axis=2)
            members = members.reshape(b, -1, len(x))
            reached = np.stack([reached & left_test, reached & ~left_test], axis=2)
            reached = reached.reshape(b, -1, len(x_test))
            labels = np.repeat(labels, 2, axis=1)
        return _accuracy((reached & labels[:, :, None]).any(axis=1), coalitions, y_test)

    return _chunked(game)


GAMES: dict[str, Callable[[Arrays], Game]] = {
    "unanimity": unanimity,
    "neighbours": neighbours,
    "noisy-neighbours": noisy_neighbours,
    "centroid": centroid,
    "logistic": logistic,
    "ridge": ridge,
    "tree": tree,
}


def _split(arrays: Arrays) -> tuple[NDArray[Any], ...]:
    return arrays["x_train"], arrays["y_train"], arrays["x_test"], arrays["y_test"]


def _accuracy(
    labels: NDArray[np.bool_], coalitions: NDArray[np.bool_], y_test: NDArray[Any]
) -> NDArray[np.float64]:
    """Return the shares of right labels; nobody is as good as the more frequent label."""
    share = (labels == (y_test == 1)).mean(axis=1)
    guess = max(y_test.mean(), 1 - y_test.mean())
    return np.asarray(np.where(coalitions.any(axis=1), share, guess))


def _purest_split(
    members: NDArray[np.float64],
    y: NDArray[Any],
    below: NDArray[np.float64],
    ones: NDArray[np.float64],
    counts: NDArray[np.float64],
) -> NDArray[np.intp]:
    """Return the columns of `below` [n, c] by which the Gini impurity of nodes falls most."""
    count, one = members @ below, (members * y) @ below
    purity = np.zeros(count.shape)
    for size, positive in (
        (count, one),
        (counts[:, :, None] - count, ones[:, :, None] - one),
    ):
        negative = size - positive
        purity += (np.square(positive) + np.square(negative)) / np.maximum(size, 1)
    return np.argmax(purity, axis=2)


def _newton(
    design: NDArray[Any], y: NDArray[Any], members: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the weights [b, d + 1] that minimise the penalised loss of each row of `members`."""
    d = design.shape[1]
    outer = np.einsum("ni,nj->nij", design, design).reshape(len(design), -1)
    penalty = np.ones(d)
    penalty[-1] = 1e-8  # the intercept is free, up to rounding
    weights = np.zeros((len(members), d))
    for _ in range(NEWTON_STEPS):
        probability = 1 / (1 + np.exp(-np.clip(weights @ design.T, -35, 35)))
        gradient = (members * (probability - y)) @ design + penalty * weights
        curvature = (members * probability * (1 - probability)) @ outer
        curvature = curvature.reshape(-1, d, d) + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient[:, :, None])[:, :, 0]
        # Far from the minimum a full step may overshoot; a bounded one never runs away.
        length = np.abs(step).max(axis=1, keepdims=True)
        weights -= step / np.maximum(length, 1)
        if length.max() < 1e-8:
            break
    return weights


def _chunked(game: Game) -> Game:
    """Return the game, played on few coalitions at a time so that memory stays small."""

    def played(coalitions: NDArray[np.bool_]) -> NDArray[np.float64]:
        coalitions = np.asarray(coalitions, dtype=bool)
        starts = range(0, len(coalitions), COALITIONS_A_CHUNK)
        parts = [game(coalitions[start : start + COALITIONS_A_CHUNK]) for start in starts]
        return np.concatenate(parts) if parts else np.zeros(0)

    return played
