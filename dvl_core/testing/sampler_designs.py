"""The designs that the checks of samplers look at, and runs of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from dvl_core import engine
from dvl_core.backends import SerialBackend
from dvl_core.errors import DvlWarning, UnsupportedSemivalueError
from dvl_core.semivalues import BanzhafSemivalue, BetaSemivalue, LOOSemivalue, ShapleySemivalue
from dvl_core.stopping import MaxEvaluations
from dvl_core.testing.requirements import NotApplicable

if TYPE_CHECKING:
    from dvl_core.protocols import BoolArray, Design, FloatArray, Sampler, Semivalue
    from dvl_core.result import ValuationResult

__all__ = [
    "N_PLAYERS",
    "SEMIVALUES",
    "MakeSampler",
    "anchor_values_of",
    "designs",
    "run",
    "some_design",
]

MakeSampler = Callable[[], "Sampler"]

SEMIVALUES: tuple[Semivalue, ...] = (
    ShapleySemivalue(),
    BanzhafSemivalue(),
    BanzhafSemivalue(0.1),
    BetaSemivalue(4, 1),
    LOOSemivalue(),
)

N_PLAYERS = 4
BUDGET = 4_000


def designs(make: MakeSampler, n_players: int = N_PLAYERS) -> Iterator[tuple[Semivalue, Design]]:
    """Yield the designs of the covered semivalues, those with ruinous weights apart."""
    sampler = make()
    for semivalue in SEMIVALUES:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", DvlWarning)
            try:
                design = sampler.design(n_players, semivalue)
            except UnsupportedSemivalueError:
                continue
        if not any(issubclass(warning.category, DvlWarning) for warning in caught):
            yield semivalue, design


def some_design(make: MakeSampler, n_players: int = N_PLAYERS) -> tuple[Semivalue, Design]:
    """Return the first design that suits its semivalue."""
    for found in designs(make, n_players):
        return found
    raise NotApplicable("its weights are ruinous for every semivalue of the kit, as it warns")


def run(design: Design, game: Any, seed: int = 0, budget: int = BUDGET) -> ValuationResult:
    """Run a design on a game, with a budget if it would not end."""
    stopping = None if design.n_blocks is not None else MaxEvaluations(budget)
    return engine.run(design, game, seed=seed, stopping=stopping, backend=SerialBackend())


def anchor_values_of(design: Design, function: Callable[[BoolArray], FloatArray]) -> FloatArray:
    """Return the utilities of the anchors of a design."""
    anchors = design.anchors()
    return function(anchors) if len(anchors) else np.zeros(0)
