"""The report: one file, plain words that are true, nothing that runs."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from dvl_core import ValuationResult
from dvl_core.games import AdditiveGame
from dvl_core.report import RemovalCurve, removal_curve
from dvl_core.report.page import ReportData, render_report
from dvl_core.report.words import summary_sentences
from dvl_core.run_state import INTERRUPTED

N = 40
LINE = np.linspace(0, 1, N)


def result(**changes: object) -> ValuationResult:
    arguments: dict = {
        "values": np.linspace(-1, 2, N),
        "stderr": np.full(N, 0.05),
        "variances": np.full(N, 0.1),
        "counts": np.full(N, 40),
        "converged": np.ones(N, dtype=bool),
        "algorithm": "shapley",
        "seed": 3,
        "n_evaluations": 1234,
        "n_computed": 1200,
        "stop_reason": "enough",
    }
    return ValuationResult(**{**arguments, **changes})


RUN = {
    "command": "dvl value d.csv --target label --out report",
    "judge": {"model": "LogisticRegression()", "scorer": "accuracy"},
    "data": {"file": "d.csv", "target": "label", "group_by": None},
    "score_of_all": 0.875,
    "seed": 3,
    "valuation": "DataShapleyValuation()",
    "versions": {"dvl-core": "0.1.0"},
    "notes": [],
}


def said(**changes: object) -> str:
    data: dict = {"result": result(), "run": RUN, **changes}
    return " ".join(summary_sentences(ReportData(**data)))


class Elements(HTMLParser):
    """Collects tags, attributes and the text of the page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_page_refers_to_nothing_outside_itself_and_runs_nothing() -> None:
    worst = [{"name": "7", "value": -1.0, "stderr": 0.1, "cells": {"label": "good", "x": 1.5}}]
    curve = removal_curve(AdditiveGame(np.linspace(-1, 2, N)), result(), n_random=3)
    trace = {"n_evaluations": [10, 20], "max_stderr": [1, 0.5], "mean_stderr": [0.5, 0.2]}
    page = render_report(
        ReportData(result=result(), run=RUN, worst_rows=worst, removal=curve, trace=trace)
    )
    elements = Elements(page)
    assert not {"script", "link", "iframe", "img", "object"} & {tag for tag, _ in elements.tags}
    for _, attributes in elements.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#")
    assert not re.search(r"url\((?!#)|@import", page)
    assert sum(tag == "svg" for tag, _ in elements.tags) == 3
    titles = re.findall(r"<h2[^>]*>(.*?)</h2>", page)
    assert titles[:5] == [
        "Summary",
        "Distribution of the values",
        "Lowest values",
        "What removing them does",
        "Convergence",
    ]
    assert RUN["command"] in page


def test_names_from_the_data_are_text() -> None:
    evil = "<script>alert('x')</script>"
    worst = [{"name": evil, "value": -1.0, "stderr": 0.1, "cells": {evil: evil}}]
    run = {**RUN, "data": {"file": evil, "target": evil, "group_by": evil}, "notes": [evil]}
    page = render_report(ReportData(result=result(), run=run, worst_rows=worst))
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 6


def test_text_cannot_leave_an_attribute() -> None:
    evil = '"><img src=x onerror=alert(1)> \' onmouseover=alert(2) x="'
    worst = [{"name": evil, "value": -1.0, "stderr": 0.1, "cells": {evil: evil}}]
    run = {
        **RUN,
        "command": evil,
        "valuation": evil,
        "judge": {"model": evil, "scorer": evil},
        "versions": {evil: evil},
    }
    page = render_report(
        ReportData(result(algorithm=evil, stop_reason=evil), run, worst_rows=worst)
    )
    elements = Elements(page)
    assert "img" not in {tag for tag, _ in elements.tags}
    assert not [name for _, attributes in elements.tags for name in attributes if name[:2] == "on"]
    assert sum(evil == attributes.get("title") for _, attributes in elements.tags) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"values": np.full(N, np.nan), "counts": np.zeros(N), "stop_reason": INTERRUPTED},
        {"values": np.zeros(N), "stderr": np.zeros(N)},
        {"stderr": np.full(N, np.inf)},
        {"values": np.full(N, 1e300), "stderr": np.full(N, 1e299)},
        {"values": np.full(N, 1e-300), "variances": np.zeros(N)},
        {"values": np.where(np.arange(N) % 2, 0.1, np.nextafter(0.1, 1)), "stderr": np.zeros(N)},
    ],
    ids=["nothing-known", "all-equal", "errors-unknown", "huge", "tiny", "rounding"],
)
def test_odd_values_still_make_a_page(changes: dict) -> None:
    page = render_report(ReportData(result(**changes), RUN))
    assert "40 rows were valued by shapley" in page
    assert "What are the rows worth?" in page


def test_one_player_makes_a_page() -> None:
    page = render_report(ReportData(result()[:1], RUN))
    assert "valued by shapley" in page


def test_the_same_data_gives_the_same_page() -> None:
    assert render_report(ReportData(result(), RUN)) == render_report(ReportData(result(), RUN))


def test_the_summary_says_what_how_and_how_sure() -> None:
    text = said()
    assert "40 rows were valued by shapley" in text
    assert "test accuracy of 0.875" in text
    assert "13 rows have a value below zero; for 12 of them the whole 95 % interval" in text
    assert "rankings are reliable" in text


@pytest.mark.parametrize(
    ("stderr", "verdict"), [(0.3, "rankings are rough"), (2.0, "rankings are mostly noise")]
)
def test_the_summary_admits_noise(stderr: float, verdict: str) -> None:
    assert verdict in said(result=result(stderr=np.full(N, stderr)))


def test_the_summary_of_exact_values() -> None:
    text = said(result=result(stderr=np.zeros(N)))
    assert "The values are exact for this method and data." in text
    assert "13 rows have a value below zero: the score is better without." in text
    assert "No value is below zero" in said(result=result(values=np.linspace(0, 1, N)))


def test_the_summary_of_a_run_that_was_cut() -> None:
    values = np.where(np.arange(N) < 4, np.nan, 1.0)
    cut = result(values=values, counts=np.where(np.isnan(values), 0, 9), stop_reason=INTERRUPTED)
    text = said(result=cut)
    assert "interrupted: these are partial results" in text
    assert "4 rows have no value" in text


def test_the_summary_counts_failures_and_planted_errors() -> None:
    assert "1 training was impossible" in said(result=result(n_failures=1))
    text = said(result=result(n_failures=5), known_bad={"planted": 9, "found": 8, "examined": 20})
    assert "5 trainings were impossible" in text
    assert "Of 9 errors planted on purpose, 8 are among the 20 lowest values" in text


def test_the_summary_speaks_of_groups() -> None:
    run = {**RUN, "data": {**RUN["data"], "group_by": "seller"}}
    assert "40 groups were valued" in said(run=run)


def test_removal_is_what_the_utility_says() -> None:
    weights = np.array([1.0, -3.0, 2.0, -0.5])
    known = result(
        values=weights, stderr=[0] * 4, variances=[0] * 4, counts=[1] * 4, converged=[True] * 4
    )
    curve = removal_curve(AdditiveGame(weights), known, fractions=[0, 0.25, 0.5, 0.75], n_random=50)
    np.testing.assert_allclose(curve.lowest, [-0.5, 2.5, 3.0, 2.0])
    assert curve.random_mean[0] == -0.5
    # Without k of n players at random, the mean is (1 - k / n) of the whole; 50 draws of 4 players.
    np.testing.assert_allclose(curve.random_mean[1:], [-0.375, -0.25, -0.125], atol=1.2)
    assert "At best, removing the lowest 50% takes the test score from -0.5 to 3" in said(
        removal=curve
    )


def test_players_without_a_value_are_removed_last() -> None:
    weights = np.array([1.0, 5.0, -2.0, 3.0])
    known = result(
        values=[1.0, np.nan, -2.0, 3.0],
        stderr=[0, np.inf, 0, 0],
        variances=[0] * 4,
        counts=[1, 0, 1, 1],
        converged=[True] * 4,
    )
    fractions = [0, 0.25, 0.5, 0.75, 1]
    curve = removal_curve(AdditiveGame(weights), known, fractions=fractions)
    np.testing.assert_allclose(curve.lowest, [7, 9, 8, 5, 0])


def test_a_removal_curve_is_the_same_for_the_same_seed_and_survives_json() -> None:
    game, known = AdditiveGame(np.linspace(-1, 2, N)), result()
    one = removal_curve(game, known, seed=4)
    assert one.to_dict() == removal_curve(game, known, seed=4).to_dict()
    assert one.to_dict() != removal_curve(game, known, seed=5).to_dict()
    again = RemovalCurve.from_dict(json.loads(json.dumps(one.to_dict())))
    assert again.to_dict() == one.to_dict()


def test_removal_that_does_not_help_is_said() -> None:
    weights = np.array([1.0, 2.0, 3.0, 4.0])
    known = result(
        values=weights, stderr=[0] * 4, variances=[0] * 4, counts=[1] * 4, converged=[True] * 4
    )
    curve = removal_curve(AdditiveGame(weights), known, fractions=[0, 0.5])
    assert "does not improve the test score" in said(removal=curve)


def test_the_summary_of_values_that_nothing_or_everything_is_known_of() -> None:
    unknown = {"values": np.full(N, np.nan), "counts": np.zeros(N), "stderr": np.full(N, np.inf)}
    text = said(result=result(**unknown, stop_reason=INTERRUPTED))
    assert "below zero" not in text
    assert "40 rows have no value" in text
    drawn = result(values=np.linspace(0, 1, N), counts=np.zeros(N), stderr=np.zeros(N))
    assert "No evaluation informs these values." in said(result=drawn)
    agreed = result(stderr=np.zeros(N), extras={"guarantee": "unbiased"})
    assert "no error can be told" in said(result=agreed)


def test_the_summary_of_values_on_one_side_of_zero_and_of_equal_ones() -> None:
    assert "All values are below zero; the lowest are" in said(result=result(values=-1 - LINE))
    assert "All values are equal." in said(result=result(values=np.full(N, 0.25)))
    one = np.where(np.arange(N) == 3, -1.0, 1.0)
    assert "1 row has a value below zero" in said(result=result(values=one))
