"""One set of evaluations, all values."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from dvl_banzhaf import DataBanzhafValuation, KernelBanzhafSampler
from dvl_core import (
    BanzhafSemivalue,
    BetaSemivalue,
    DeterministicUniformSampler,
    MatchedSampler,
    MaxEvaluations,
    RecordingSampler,
    ShapleySemivalue,
    SizeLawSemivalue,
    ValuationResult,
)
from dvl_core.errors import DvlWarning, ResultError, UnsupportedSemivalueError
from dvl_core.games import FunctionGame, RandomGame, exact_values
from dvl_least_core import LeastCoreValuation, least_core_of
from dvl_shapley import DataShapleyValuation, LeastSquaresSampler, PermutationSampler

SAMPLERS = [PermutationSampler(), LeastSquaresSampler(), MatchedSampler(), None]
SEMIVALUES = [
    ShapleySemivalue(),
    BanzhafSemivalue(),
    BanzhafSemivalue(0.2),
    BetaSemivalue(4, 1),
    BetaSemivalue(1, 4),
    SizeLawSemivalue(tuple(np.arange(1.0, 13.0) / 78), "rising"),
]


def recorded(game: object, sampler: object, budget: int, seed: int) -> ValuationResult:
    wrapped = RecordingSampler(sampler)
    return DataShapleyValuation(game, wrapped, MaxEvaluations(budget), seed=seed).fit().result


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: type(s).__name__)
def test_other_values_and_their_errors_are_right(sampler: object) -> None:
    game = RandomGame(12, 5)
    for semivalue in SEMIVALUES:
        exact = exact_values(game, semivalue)
        z = []
        for seed in range(12):
            # Permutations, players in turn and pairs: budgets at which none is near to all subsets.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DvlWarning)
                result = recorded(game, sampler, 1_200, seed).revalue(semivalue)
            assert result.algorithm == semivalue.name
            assert result.n_computed == 0
            z.append((result.values - exact) / result.stderr)
        # 144 values whose standard errors have between 20 and 100 degrees of freedom.
        assert 0.5 < float(np.square(z).mean()) < 1.8, semivalue.name
        assert np.abs(np.mean(z, axis=0)).max() < 4.5 / np.sqrt(len(z))


def test_recording_changes_nothing_and_survives_files_and_order(tmp_path: Path) -> None:
    game = RandomGame(9, 1)
    plain = DataShapleyValuation(game, PermutationSampler(), MaxEvaluations(800), seed=2).fit()
    kept = recorded(game, PermutationSampler(), 800, 2)
    assert kept.equals(plain.result)
    assert kept.n_evaluations == plain.result.n_evaluations
    kept.save(tmp_path / "kept.npz")
    loaded = ValuationResult.load(tmp_path / "kept.npz").sort()[2:5]
    whole = kept.revalue(BanzhafSemivalue())
    part = loaded.revalue(BanzhafSemivalue())
    np.testing.assert_array_equal(part.values, whole.values[loaded.indices])
    again = whole.revalue(ShapleySemivalue())
    np.testing.assert_allclose(again.values, kept.values, atol=5 * kept.stderr.max())


def test_a_resumed_run_has_the_whole_record(tmp_path: Path) -> None:
    game, path = RandomGame(8, 3), tmp_path / "run.npz"
    for budget in (300, 900):
        DataShapleyValuation(
            game,
            RecordingSampler(PermutationSampler()),
            MaxEvaluations(budget),
            seed=1,
            checkpoint=path,
        ).fit()
    resumed = DataShapleyValuation(
        game, RecordingSampler(PermutationSampler()), MaxEvaluations(900), seed=1, checkpoint=path
    ).fit()
    expected = recorded(game, PermutationSampler(), 900, 1).revalue(BetaSemivalue(4, 1))
    got = resumed.result.revalue(BetaSemivalue(4, 1))
    assert got.values.tobytes() == expected.values.tobytes()


def test_what_the_coalitions_do_not_cover_is_refused() -> None:
    game = FunctionGame(100, lambda c: np.sqrt(c.mean(axis=1)))
    result = recorded(game, PermutationSampler(), 990, 0)
    halves = SizeLawSemivalue(tuple(np.eye(100)[50]), "halves")
    with pytest.warns(DvlWarning, match=r"suit halves badly: of 891 evaluations about \d+ count"):
        result.revalue(halves, proxy="size")
    sampler = RecordingSampler(KernelBanzhafSampler())
    banzhaf = DataBanzhafValuation(game, sampler, MaxEvaluations(1_000), seed=0).fit().result
    with pytest.raises(UnsupportedSemivalueError, match="do not cover semivalue shapley: none of"):
        banzhaf.revalue(ShapleySemivalue())


def test_a_result_without_a_record_says_what_to_do() -> None:
    game = RandomGame(5, 0)
    plain = DataShapleyValuation(game, PermutationSampler(), MaxEvaluations(100), seed=0).fit()
    with pytest.raises(ResultError, match="wrap the sampler in RecordingSampler"):
        plain.result.revalue(BanzhafSemivalue())
    with pytest.raises(ResultError, match="too few for other values"):
        recorded(game, PermutationSampler(), 20, 0).revalue(BanzhafSemivalue())


def test_the_least_core_of_a_record_is_that_of_its_own_run() -> None:
    game = RandomGame(6, 2)
    every = recorded(game, DeterministicUniformSampler(), 100, 0)
    own = LeastCoreValuation(game, DeterministicUniformSampler()).fit().result
    found = least_core_of(every)
    np.testing.assert_allclose(found.values, own.values, atol=1e-9)
    assert found.extras["subsidy"] == pytest.approx(own.extras["subsidy"])
    assert not found.stderr.any()
    some = least_core_of(recorded(game, LeastSquaresSampler(), 50, 0))
    assert np.isinf(some.stderr).all()
    assert some.extras["subsidy"] <= own.extras["subsidy"] + 1e-9
