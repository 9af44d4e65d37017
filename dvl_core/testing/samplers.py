"""What every sampler must do, whatever it draws: designs, refusals, blocks, budgets.

Each check takes a factory of the sampler. What the estimates are worth is in `sampler_estimates`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from dvl_core.errors import UnsupportedSemivalueError
from dvl_core.games import RandomGame
from dvl_core.protocols import Guarantee
from dvl_core.testing.requirements import NotApplicable, pickled_copy, require
from dvl_core.testing.sampler_designs import (
    N_PLAYERS,
    SEMIVALUES,
    anchor_values_of,
    designs,
    run,
    some_design,
)
from dvl_core.testing.samples import Recorder, sample_function

if TYPE_CHECKING:
    from dvl_core.protocols import Design, FloatArray
    from dvl_core.testing.sampler_designs import MakeSampler

__all__ = [
    "check_sampler_blocks_are_pure",
    "check_sampler_budget",
    "check_sampler_checkpoint",
    "check_sampler_coalitions",
    "check_sampler_covers_or_refuses",
    "check_sampler_design",
    "check_sampler_seed",
]


def check_sampler_covers_or_refuses(make: MakeSampler) -> None:
    """Cover a semivalue, or refuse it with UnsupportedSemivalueError; cover at least one."""
    sampler, refusals = make(), []
    for semivalue in SEMIVALUES:
        try:
            sampler.design(N_PLAYERS, semivalue)
        except UnsupportedSemivalueError as error:
            refusals.append(str(error))
    require(
        len(refusals) < len(SEMIVALUES),
        f"it covers none of the semivalues of the kit; the first refusal says: {refusals[:1]}",
    )


def check_sampler_design(make: MakeSampler) -> None:
    """Give designs with all members, for one player and for many; they say who they are."""
    for n in (1, 2, N_PLAYERS, 30):
        try:
            semivalue, design = some_design(make, n)
        except ValueError:  # "too many players to enumerate" is an honest answer
            if n <= N_PLAYERS:
                raise
            continue
        what = f"the design of {n} players for {semivalue.name}"
        require(design.n_players == n, f"{what} has n_players {design.n_players}")
        require(design.guarantee in get_args(Guarantee), f"{what}: guarantee {design.guarantee!r}")
        blocks = design.n_blocks
        require(blocks is None or (isinstance(blocks, int) and blocks >= 1), f"{what}: {blocks!r}")
        require(design.block_evaluations >= 0, f"{what} has negative block_evaluations")
        anchors = design.anchors()
        require(
            anchors.dtype == np.bool_ and anchors.ndim == 2 and anchors.shape[1] == n,
            f"the anchors of {what} must be bool [a, {n}], got {anchors.dtype} {anchors.shape}",
        )
        again = dict(designs(make, n))[semivalue]
        require(
            json.dumps(again.identity, sort_keys=True)
            == json.dumps(design.identity, sort_keys=True),
            f"{what} has another identity when made again",
        )


def check_sampler_coalitions(make: MakeSampler) -> None:
    """Ask the utility for bool coalitions [b, n], and no more of them than it declares."""
    for n in (1, 2, N_PLAYERS):
        for semivalue, design in designs(make, n):
            recorder = Recorder(sample_function)
            anchor_values = anchor_values_of(design, sample_function)
            rng = np.random.default_rng(3)
            design.evaluate(0, recorder, rng, anchor_values)
            asked = sum(map(len, recorder.batches))
            require(
                asked <= design.block_evaluations,
                f"a block for {semivalue.name} evaluates {asked} coalitions, it declares at most "
                f"{design.block_evaluations}",
            )
            for batch in recorder.batches:
                require(
                    batch.dtype == np.bool_ and batch.ndim == 2 and batch.shape[1] == n,
                    f"coalitions must be bool [b, {n}], got {batch.dtype} {batch.shape}",
                )


def check_sampler_blocks_are_pure(make: MakeSampler) -> None:
    """Draw the same block from the same generator, alone, after others, and in a pickled copy."""
    for semivalue, design in designs(make):
        anchor_values = anchor_values_of(design, sample_function)
        number = 0 if design.n_blocks is not None else 7
        copy = pickled_copy(design)

        def block(of: Design, number: int, anchors: FloatArray = anchor_values) -> dict[str, Any]:
            return of.evaluate(number, sample_function, np.random.default_rng(number), anchors)

        first = block(design, number)
        if design.n_blocks is None:
            block(design, number + 1)
        for how, again in (
            ("drawn again", block(design, number)),
            ("pickled", block(copy, number)),
        ):
            require(
                first.keys() == again.keys()
                and all(np.array_equal(first[key], again[key]) for key in first),
                f"a block for {semivalue.name} has other content when {how}",
            )


def check_sampler_seed(make: MakeSampler) -> None:
    """Give equal bits for equal seeds, and other values for another seed if it draws."""
    semivalue, design = some_design(make)
    game = RandomGame(N_PLAYERS, 1)
    one, same, other = (run(design, game, seed, 400) for seed in (1, 1, 2))
    require(
        one.values.tobytes() == same.values.tobytes(),
        f"two runs for {semivalue.name} with the same seed differ",
    )
    if design.n_blocks is None:
        require(
            not np.array_equal(one.values, other.values),
            f"two seeds give the same values for {semivalue.name}: the generator is not used",
        )


def check_sampler_budget(make: MakeSampler) -> None:
    """Spend no more than MaxEvaluations allows."""
    semivalue, design = some_design(make)
    if design.n_blocks is not None:
        raise NotApplicable("it ends by itself")
    result = run(design, RandomGame(N_PLAYERS, 1), budget=500)
    require(
        0 < result.n_evaluations <= 500,
        f"with a budget of 500 evaluations {semivalue.name} used {result.n_evaluations}",
    )


def check_sampler_checkpoint(make: MakeSampler) -> None:
    """Go on from saved statistics as if there had been no break, to the bit."""
    for semivalue, design in designs(make):
        blocks = min(design.n_blocks or 6, 6)
        anchor_values = anchor_values_of(design, sample_function)
        samples = [
            design.evaluate(b, sample_function, np.random.default_rng(b), anchor_values)
            for b in range(blocks)
        ]
        straight, broken = design.accumulator(), design.accumulator()
        for sample in samples:
            straight.fold(sample)
            broken.fold(sample)
            state, broken = broken.state(), design.accumulator()
            require(
                all(isinstance(array, np.ndarray) for array in state.values()),
                "the state of the statistics must be arrays",
            )
            broken.restore(state)
        require(
            straight.estimate().values.tobytes() == broken.estimate().values.tobytes()
            and straight.estimate().stderr.tobytes() == broken.estimate().stderr.tobytes(),
            f"the statistics for {semivalue.name} differ after a save and a restore",
        )
