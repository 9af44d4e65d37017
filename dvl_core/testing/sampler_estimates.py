"""What the estimates of a sampler are worth: its designs are held to what they declare.

Each check takes a factory of the sampler, and asks it for designs of small random games, whose
semivalues are known by enumeration. Designs that warned that their weights are ruinous are left
out: they said so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dvl_core.games import FunctionGame, RandomGame, exact_values
from dvl_core.semivalues import LOOSemivalue
from dvl_core.testing.requirements import ERRORS_ALLOWED, NotApplicable, require
from dvl_core.testing.sampler_designs import (
    N_PLAYERS,
    anchor_values_of,
    designs,
    run,
    some_design,
)
from dvl_core.testing.samples import Recorder, sample_function

if TYPE_CHECKING:
    from dvl_core.protocols import FloatArray, Semivalue
    from dvl_core.testing.sampler_designs import MakeSampler

__all__ = [
    "check_sampler_estimates",
    "check_sampler_size_law",
    "check_sampler_standard_errors",
    "check_sampler_unbiased",
]

N_BLOCKS = 150
N_RUNS = 120
EXACT_TO = 1e-9


def check_sampler_estimates(make: MakeSampler) -> None:
    """Agree with enumeration on random games, within the standard errors that it states."""
    compared = 0
    for n in (1, 2, N_PLAYERS):
        game = RandomGame(n, n)
        for semivalue, design in designs(make, n):
            if design.guarantee == "biased-by-option":
                continue
            compared += 1
            result = run(design, game)
            error = np.abs(result.values - exact_values(game, semivalue))
            allowed = np.full(n, EXACT_TO)
            if design.guarantee != "exact":
                allowed = allowed + ERRORS_ALLOWED * result.stderr
            require(
                bool(np.all(error <= allowed)),
                f"of {n} players, {semivalue.name} ({design.guarantee}) is off by {error.max():.3g}"
                f", its largest standard error is {result.stderr.max():.3g}",
            )
            if design.guarantee == "exact":
                require(not result.stderr.any(), "an exact design must state a standard error of 0")
    if not compared:
        raise NotApplicable("its options make it biased, as it declares")


def check_sampler_unbiased(make: MakeSampler) -> None:
    """Be right on average over blocks, if it declares to be unbiased."""
    game = RandomGame(N_PLAYERS, 11)
    compared = 0
    for semivalue, design in designs(make):
        if design.guarantee != "unbiased":
            continue
        compared += 1
        anchor_values = anchor_values_of(design, game)
        estimates = np.empty((N_BLOCKS, N_PLAYERS))
        for block in range(N_BLOCKS):
            accumulator = design.accumulator()
            rng = np.random.default_rng([5, block])
            accumulator.fold(design.evaluate(block, game, rng, anchor_values))
            estimates[block] = accumulator.estimate().values
        counts = np.isfinite(estimates).sum(axis=0)
        bias = np.nanmean(estimates, axis=0) - exact_values(game, semivalue)
        noise = np.nanstd(estimates, axis=0, ddof=1) / np.sqrt(counts)
        require(
            bool(np.all(np.abs(bias) <= ERRORS_ALLOWED * noise + EXACT_TO)),
            f"over {N_BLOCKS} blocks {semivalue.name} is off by {np.abs(bias).max():.3g} on "
            f"average, which noise of {noise.max():.3g} does not explain",
        )
    if not compared:
        raise NotApplicable("it does not declare to be unbiased")


def check_sampler_standard_errors(make: MakeSampler) -> None:
    """State standard errors that mean what they say, for the semivalue that suits it best."""
    game = RandomGame(N_PLAYERS, 3)
    drawn = {
        semivalue: design
        for semivalue, design in designs(make)
        if design.guarantee in ("unbiased", "consistent") and semivalue != LOOSemivalue()
    }
    if not drawn:
        raise NotApplicable("it is exact, or biased by option, or warns of ruinous weights")

    def spread(of: Semivalue) -> float:
        values = [run(drawn[of], game, seed, 1_500).values for seed in range(20)]
        return float(np.std(values, axis=0).mean())

    # Where weights are uneven, normal approximations need more evaluations than a check affords.
    semivalue = min(drawn, key=spread)
    design = drawn[semivalue]
    exact = exact_values(game, semivalue)
    runs = [run(design, game, seed, 1_500) for seed in range(N_RUNS)]
    errors = np.array([result.values - exact for result in runs])
    stated = np.array([result.stderr for result in runs])
    certain = stated == 0
    require(
        bool((np.abs(errors[certain]) <= EXACT_TO).all()),
        f"for {semivalue.name} it states a standard error of 0 for values that are off",
    )
    if certain.all():
        raise NotApplicable("with so many evaluations of so few players nothing is left to chance")
    z = errors[~certain] / stated[~certain]
    mean_square = float(np.square(z).mean())
    # 120 runs of 4 correlated players: the mean square has a spread of at most 0.13 about 1.
    require(
        0.4 < mean_square < 1.8,
        f"errors for {semivalue.name} are {np.sqrt(mean_square):.2f} times the standard errors "
        "that it states",
    )


def check_sampler_size_law(make: MakeSampler) -> None:
    """Draw coalition sizes as often as the `size_law` of its design says."""
    n = 6
    semivalue, design = some_design(make, n)
    law = getattr(design, "size_law", None)
    if law is None or design.n_blocks is not None:
        raise NotApplicable("its design has no size_law, or enumerates")
    if design.guarantee == "biased-by-option":
        raise NotApplicable("its options cut coalitions off, as it declares")
    expected = _evaluated_sizes(np.asarray(law), n)
    game = FunctionGame(n, sample_function)
    anchor_values = anchor_values_of(design, game)
    surplus = np.empty((N_BLOCKS, n + 1))
    total = 0
    for block in range(N_BLOCKS):
        recorder = Recorder(game)
        design.evaluate(block, recorder, np.random.default_rng([9, block]), anchor_values)
        sizes = np.concatenate([batch.sum(axis=1) for batch in recorder.batches])
        drawn = np.bincount(sizes, minlength=n + 1)
        surplus[block] = drawn - len(sizes) * expected
        total += len(sizes)
    mean, noise = surplus.mean(axis=0), surplus.std(axis=0, ddof=1) / np.sqrt(N_BLOCKS)
    # Of a rare size the sample may hold none, and show no noise: independent draws have this much.
    noise = np.maximum(noise, np.sqrt(total * expected * (1 - expected)) / N_BLOCKS)
    require(
        bool(np.all(np.abs(mean) <= ERRORS_ALLOWED * noise + EXACT_TO)),
        f"for {semivalue.name} it declares the sizes {np.round(expected, 4)}, but draws "
        f"{np.round(mean, 3)} more of them a block than that",
    )


def _evaluated_sizes(law: FloatArray, n_players: int) -> FloatArray:
    """Return the law [n + 1] of the sizes that a design evaluates, anchors apart.

    A law of n + 1 sizes is that of the coalitions themselves. One of n sizes is that of the
    coalition which a player joins: both it and the joined one are evaluated, unless they are the
    empty or the full coalition, which are anchors.
    """
    if len(law) == n_players + 1:
        return law
    sizes = np.zeros(n_players + 1)
    sizes[:-1] += law
    sizes[1:] += law
    sizes[[0, -1]] = 0.0
    return np.asarray(sizes / sizes.sum())
