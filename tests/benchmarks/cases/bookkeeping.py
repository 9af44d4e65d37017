"""Book-keeping of all samplers: what drawing and folding cost, by evaluations and by players."""

from __future__ import annotations

from overheads import Job, OverheadCase

CHAINS_AND_COINS = 10
FIXED_SIZES = 30
MULTIPLE = 100
PLAYERS = (20, 50, 100, 200, 500, 1_000)
LONGEST = 100_000
"""Evaluations times players up to which a run of the peer's MSR goes."""


def pydvl_msr(n: int) -> Job:
    """Return a run of the peer's MSR, which takes a tenth of a second for 500 players."""
    return Job("pyDVL", "MSR", n, min(MULTIPLE * n, LONGEST // n))


CASE = OverheadCase(
    name="bookkeeping",
    title="Book-keeping of all samplers",
    what=(
        "Drawing coalitions and folding what they are worth, from the start of a run to its "
        "values, with a game that costs next to nothing: the sum of the members' weights. dvl: "
        "`engine.run` with the design of a sampler, for Banzhaf values (MSR, uniform marginals) "
        "or Shapley values (all others), serial; one BLAS thread. The game itself takes "
        '0.3 µs an evaluation with 500 players and 1 µs with 2,000. "adjusted, linear" and '
        '"least squares" solve linear systems and have no target. pyDVL: `ShapleyValuation` with '
        "`PermutationSampler`, and `MSRBanzhafValuation`, whose cost for each evaluation is such "
        "that fewer were made; in the chart against players its seconds are scaled up."
    ),
    rows=(
        (Job("dvl", "MSR", 500, 50_000, 5), CHAINS_AND_COINS),
        (Job("dvl", "permutation", 500, 50_000, 5), CHAINS_AND_COINS),
        (Job("dvl", "antithetic permutation", 500, 50_000, 5), CHAINS_AND_COINS),
        (Job("dvl", "uniform marginals", 500, 50_000, 5), CHAINS_AND_COINS),
        (Job("dvl", "adjusted, size", 2_000, 20_000, 5), FIXED_SIZES),
        (Job("dvl", "matched marginals", 2_000, 20_000, 5), FIXED_SIZES),
        (Job("dvl", "one sample fits all", 200, 20_000, 5), None),
        (Job("dvl", "adjusted, linear", 100, 10_000, 3), None),
        (Job("dvl", "adjusted, linear", 500, 20_000, 3), None),
        (Job("dvl", "least squares", 100, 10_000, 3), None),
        (Job("dvl", "least squares", 500, 20_000, 3), None),
        (Job("pyDVL", "permutation", 500, 50_000), None),
        (pydvl_msr(500), None),
    ),
    by_evaluations=[
        Job("dvl", sampler, 100, n_evaluations, 3)
        for sampler in ("MSR", "permutation", "adjusted, linear")
        for n_evaluations in (1_000, 3_000, 10_000, 30_000, 100_000)
    ],
    by_players=[
        *(
            Job("dvl", sampler, n, MULTIPLE * n)
            for sampler in (
                "permutation",
                "MSR",
                "adjusted, size",
                "adjusted, linear",
                "least squares",
            )
            for n in PLAYERS
        ),
        *(Job("pyDVL", "permutation", n, MULTIPLE * n) for n in PLAYERS),
        *(pydvl_msr(n) for n in PLAYERS if n <= 500),
    ],
    multiple=MULTIPLE,
)
