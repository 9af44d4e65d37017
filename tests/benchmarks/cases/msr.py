"""Book-keeping: what drawing coalitions and folding them cost, with a game that is free."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from measure import Arrays, Case, Script
from results import Target

from cases.common import SEED


def make(n: int, n_coalitions: int) -> Arrays:
    """Return the weights of the players."""
    weights = np.random.default_rng(SEED).uniform(0.5, 1.5, n)
    return {"weights": weights, "n_coalitions": np.array(n_coalitions), "seed": np.array(SEED)}


def check(arrays: Arrays, outputs: Mapping[str, Arrays]) -> dict[str, float]:
    """Hold each side to the formula on the coalitions that it drew itself."""
    gaps = {}
    for label, side in outputs.items():
        coalitions = side["coalitions"]
        utilities = np.sqrt(coalitions @ arrays["weights"])
        members = [utilities[column].mean() for column in coalitions.T]
        outsiders = [utilities[~column].mean() for column in coalitions.T]
        gaps[label] = float(np.abs(side["values"] - np.subtract(members, outsiders)).max())
    return gaps


CASE = Case(
    name="msr",
    title="Book-keeping of maximum sample reuse",
    what=(
        "Banzhaf values of {n:,} players by maximum sample reuse, {n_coalitions:,} coalitions of "
        "the game sqrt(sum of the members' weights), which costs next to nothing: what is timed is "
        "drawing and folding. dvl: `DataBanzhafValuation` with `MSRSampler`; it works in blocks of "
        "64 coalitions and evaluates the next whole number of them, slightly more than the others. "
        "pyDVL: `BanzhafValuation` with `MSRSampler`, and its dedicated `MSRBanzhafValuation`. "
        "opendataval: `DataBanzhaf`, with the game as its model. "
        "Floor: the same estimator in a few lines of numpy. Each side draws its own coalitions and "
        f"its values are checked against the formula on exactly those. Seed {SEED}."
    ),
    sides=(
        Script("floor", "floor", "msr", 3),
        Script("dvl", "ours", "msr", 3),
        Script("pyDVL", "peer", "msr", 1),
        Script("pyDVL (dedicated class)", "peer", "msr-dedicated", 1),
        Script("opendataval", "opendataval", "msr", 3),
    ),
    targets=(Target("pyDVL", "dvl", at_least=500),),
    size={"n": 500, "n_coalitions": 1_100},
    tiny={"n": 12, "n_coalitions": 64},
    make=make,
    check=check,
    reference="the formula on the coalitions that the side drew",
    tolerance=1e-9,
)
