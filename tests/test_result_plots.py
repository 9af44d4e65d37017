"""Plots draw what the result holds, on the axes that they are given."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from dvl_core import MaxEvaluations, MaxUpdates, ValuationResult
from dvl_core.errors import ResultError
from dvl_core.games import RandomGame
from dvl_shapley import DataShapleyValuation, PermutationSampler


@pytest.fixture(autouse=True)
def no_window() -> Iterator[None]:
    mpl.use("Agg")
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.fixture(scope="module")
def result() -> ValuationResult:
    valuation = DataShapleyValuation(RandomGame(6, 0), PermutationSampler(), MaxUpdates(60), seed=0)
    return valuation.fit().result


def test_values_are_drawn_in_order_on_the_axes_given(result: ValuationResult) -> None:
    import matplotlib.pyplot as plt

    _, ax = plt.subplots()
    assert result.plot.values(ax) is ax
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), np.sort(result.values))
    low, high = result.sort().confidence_interval().T
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert band.min() == pytest.approx(low.min())
    assert band.max() == pytest.approx(high.max())


def test_players_without_a_value_or_an_error_do_not_break_a_plot() -> None:
    partial = ValuationResult(
        values=[1.0, np.nan, 2.0],
        stderr=[0.1, np.inf, np.inf],
        variances=[0, 0, 0],
        counts=[2, 0, 1],
        converged=[False] * 3,
    )
    assert np.isnan(partial.plot.values().lines[0].get_ydata()[-1])
    assert sum(bar.get_height() for bar in partial.plot.histogram(bins=2).patches) == 2


def test_the_histogram_counts_all_players(result: ValuationResult) -> None:
    ax = result.plot.histogram(bins=4)
    assert len(ax.patches) == 4
    assert sum(bar.get_height() for bar in ax.patches) == 6


def test_convergence_draws_the_trace(result: ValuationResult) -> None:
    ax = result.plot.convergence()
    largest, mean = ax.lines
    np.testing.assert_array_equal(largest.get_xdata(), result.extras["trace_n_evaluations"])
    assert largest.get_ydata()[-1] == pytest.approx(result.stderr.max())
    assert mean.get_ydata()[-1] == pytest.approx(result.stderr.mean())
    assert ax.get_xscale() == ax.get_yscale() == "log"


def test_without_a_trace_there_is_nothing_to_draw(result: ValuationResult) -> None:
    with pytest.raises(ResultError, match="no trace"):
        result.replaced(extras={}).plot.convergence()


def test_history_draws_the_values_of_the_lowest_and_the_highest(tmp_path: Path) -> None:
    game = RandomGame(14, 0)
    options = {"seed": 0, "keep_history": True}
    rule = MaxEvaluations(3_000)
    kept = DataShapleyValuation(game, PermutationSampler(), rule, **options).fit().result
    moments, values = kept.extras["history_n_evaluations"], kept.extras["history_values"]
    assert values.shape == (len(moments), 14)
    assert (np.diff(moments) > 0).all()
    assert len(moments) > 20
    np.testing.assert_array_equal(values[-1], kept.values)
    kept.sort().save(tmp_path / "result.npz")
    ax = ValuationResult.load(tmp_path / "result.npz").plot.history(n_players=2)
    finals = [line.get_ydata()[-1] for line in ax.lines]
    ordered = np.sort(kept.values)
    assert sorted(finals) == pytest.approx([*ordered[:2], *ordered[-2:]])
    path = tmp_path / "checkpoint.npz"
    for budget in (1_000, 3_000):
        cut = DataShapleyValuation(
            game, PermutationSampler(), MaxEvaluations(budget), checkpoint=path, **options
        ).fit()
    # Where the first run was cut, there is a moment more.
    for moment, row in zip(moments[moments < 900], values, strict=False):
        i = cut.result.extras["history_n_evaluations"].tolist().index(moment)
        np.testing.assert_array_equal(cut.result.extras["history_values"][i], row)
    np.testing.assert_array_equal(cut.result.extras["history_values"][-1], values[-1])


def test_without_a_history_there_is_nothing_to_draw(result: ValuationResult) -> None:
    with pytest.raises(ResultError, match="keep_history=True"):
        result.plot.history()
