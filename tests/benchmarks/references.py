"""Reference values of games without a closed form: many permutations, computed once and kept."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sides.common import Arrays

from dvl_core import MaxEvaluations, ShapleySemivalue, engine
from dvl_core.protocols import Utility
from dvl_shapley import AntitheticPermutationSampler

SEED = 99


def shapley_reference(
    name: str, game: Utility, arrays: Arrays, n_evaluations: int, folder: Path
) -> tuple[NDArray[np.float64], float]:
    """Return Shapley values of a game by antithetic permutations, and their own squared error.

    Parameters
    ----------
    name : str
        Of the game.
    game : Utility
        The game, with its players.
    arrays : mapping
        What it is made from.
    n_evaluations : int
        How often the game is played.
    folder : Path
        Where references are kept from one run of the benchmarks to the next.

    Returns
    -------
    values : float array [n]
    error : float
        Sum of their squared standard errors, relative to that of the squared values.
    """
    digest = hashlib.sha256(f"{name} {n_evaluations} {SEED}".encode())
    for key in sorted(arrays):
        digest.update(key.encode() + np.ascontiguousarray(arrays[key]).tobytes())
    digest.update((Path(__file__).parent / "sides" / "games.py").read_bytes())
    file = folder / f"{name}-{digest.hexdigest()[:16]}.npz"
    if not file.exists():
        n = game.n_players
        assert n is not None
        design = AntitheticPermutationSampler().design(n, ShapleySemivalue())
        found = engine.run(design, game, seed=SEED, stopping=MaxEvaluations(n_evaluations))
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(file, values=found.values, stderr=found.stderr)
    with np.load(file, allow_pickle=False) as kept:
        values, stderr = kept["values"], kept["stderr"]
    return values, float(np.square(stderr).sum() / np.square(values).sum())
