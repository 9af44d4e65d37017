"""Every valuation with every sampler agrees with enumeration, by what the design declares.

The table is made from the registry: a plugin joins it by its entry points alone.
"""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest

from dvl_core import MaxEvaluations, SerialBackend
from dvl_core.component import ComponentRef
from dvl_core.errors import DvlWarning, InvalidOptionError, UnsupportedSemivalueError
from dvl_core.games import RandomGame, exact_values
from dvl_core.options import options_of
from dvl_core.registry import list_plugins
from dvl_core.semivalues import (
    BanzhafSemivalue,
    BetaSemivalue,
    LOOSemivalue,
    ShapleySemivalue,
    SizeLawSemivalue,
)
from dvl_core.valuation import SemivalueValuation

SAMPLERS = [ref for ref in list_plugins("sampler") if ref.status == "ok"]
VALUATIONS = [
    ref
    for ref in list_plugins("valuation")
    if ref.status == "ok"
    and hasattr(ref.load(), "semivalue")
    and "sampler" in {option.name for option in options_of(ref.load())}
]
SIZE_LAW = SizeLawSemivalue((0.1, 0.2, 0.3, 0.4), "of our own")
SEMIVALUES = [
    ShapleySemivalue(),
    BanzhafSemivalue(),
    BanzhafSemivalue(0.3),
    BetaSemivalue(4, 1),
    BetaSemivalue(1, 4),
    BetaSemivalue(0.5, 2),
    LOOSemivalue(),
    SIZE_LAW,
]
N_PLAYERS = 4
ERRORS_ALLOWED = 5.5
"""About 400 comparisons of 4 players: a false alarm once in 10,000 choices of the seeds."""


def ref_name(ref: ComponentRef) -> str:
    return ref.name


class AnySemivalue(SemivalueValuation):
    """A valuation of whatever semivalue it is given."""

    algorithm = "any"
    semivalue = None  # type: ignore[assignment]

    def default_sampler(self) -> None:  # type: ignore[override]
        raise AssertionError("every test names its sampler")


def agrees(valuation: SemivalueValuation) -> None:
    """Fit, and compare with enumeration as the design of the sampler declares."""
    game = valuation.utility
    with warnings.catch_warnings():
        # Uneven weights are part of what is tested here.
        warnings.simplefilter("ignore", DvlWarning)
        try:
            design = valuation.sampler.design(game.n_players, valuation.semivalue)
        except UnsupportedSemivalueError:
            name = re.escape(valuation.semivalue.name)
            with pytest.raises(UnsupportedSemivalueError, match=f"{name}.*these would do: .*all-s"):
                valuation.fit()
            return
        result = valuation.fit().result
    error = np.abs(result.values - exact_values(game, valuation.semivalue))
    if design.guarantee == "exact":
        assert error.max() < 1e-10
        assert not result.stderr.any()
        return
    allowed = ERRORS_ALLOWED * result.stderr + 1e-9
    if design.guarantee == "biased-by-option":
        # The values of a random game differ by at most 2: no truncation can cost more.
        allowed = allowed + 2.0
    assert (error <= allowed).all(), (error, result.stderr)
    assert result.n_evaluations <= 12_000


@pytest.mark.parametrize("sampler", SAMPLERS, ids=ref_name)
@pytest.mark.parametrize("valuation", VALUATIONS, ids=ref_name)
def test_valuation_with_sampler(valuation: ComponentRef, sampler: ComponentRef) -> None:
    game = RandomGame(N_PLAYERS, 21)
    made = valuation.load()(
        game, sampler.load()(), MaxEvaluations(12_000), seed=5, backend=SerialBackend()
    )
    agrees(made)


@pytest.mark.parametrize("semivalue", SEMIVALUES, ids=lambda s: s.name)
@pytest.mark.parametrize("sampler", SAMPLERS, ids=ref_name)
def test_sampler_with_semivalue(sampler: ComponentRef, semivalue: object) -> None:
    game = RandomGame(N_PLAYERS, 22)
    made = AnySemivalue(game, sampler.load()(), MaxEvaluations(12_000), seed=6)
    made.semivalue = semivalue
    agrees(made)


def test_the_table_holds_what_ships() -> None:
    assert {"shapley", "banzhaf", "beta-shapley", "delta-shapley", "loo"} <= {
        ref.name for ref in VALUATIONS
    }
    assert len(SAMPLERS) >= 14


def test_a_size_law_for_another_number_of_players_is_refused() -> None:
    made = AnySemivalue(RandomGame(5, 0), SAMPLERS[0].load()(), seed=0)
    made.semivalue = SIZE_LAW
    with pytest.raises(InvalidOptionError, match="given for 4 players, the game has 5"):
        made.fit()
