"""The benchmarks of errors: the games, what the sides note, bounds, pages and figures."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import NearestCentroid

sys.path.append(str(Path(__file__).parent / "benchmarks"))

from accuracy import AccuracyCase, AccuracyResult, Bound, Entrant, GameResult, PlayedGame
from cases import estimators as cases
from cases import seconds_to_error
from page import error, section
from references import shapley_reference
from results import save
from seconds import SecondsCase, SecondsResult
from sides.estimators import Counted
from sides.estimators_ours import ESTIMATORS
from sides.games import GAMES

from dvl_core import ShapleySemivalue
from dvl_core.games import AdditiveGame, FunctionGame, RandomGame, SumOfUnanimityGames, exact_values

OURS = {"ours": Path(sys.executable)}


def coalitions(n: int, count: int = 60) -> np.ndarray:
    rng = np.random.default_rng(0)
    drawn = rng.random((count, n)) < rng.random((count, 1))
    drawn[0], drawn[1] = False, True
    return drawn


@pytest.mark.parametrize(
    ("kind", "arrays", "model"),
    [
        ("centroid", cases.noisy_line(60, 50, 5, 1), NearestCentroid()),
        ("logistic", cases.breast_cancer(60, 100, 0), LogisticRegression(tol=1e-9, max_iter=5_000)),
        ("ridge", cases.diabetes(60, 50, 0), Ridge(1.0)),
    ],
)
def test_games_of_models_are_those_of_scikit_learn(kind: str, arrays: dict, model: object) -> None:
    x, y = arrays["x_train"], arrays["y_train"]
    drawn = coalitions(60)
    found = GAMES[kind](arrays)(drawn)
    for coalition, value in zip(drawn, found, strict=True):
        if kind != "ridge" and len(np.unique(y[coalition])) < 2:
            continue
        if not coalition.any():
            continue
        fitted = clone(model).fit(x[coalition], y[coalition])
        predicted = fitted.predict(arrays["x_test"])
        if kind == "ridge":
            expected = -np.square(predicted - arrays["y_test"]).mean()
        else:
            expected = (predicted == arrays["y_test"]).mean()
        assert value == pytest.approx(expected, abs=1e-8)


def test_coalitions_of_one_class_and_of_nobody_guess() -> None:
    for kind in ("centroid", "logistic", "tree"):
        arrays = cases.breast_cancer(30, 50, 1)
        nobody, ones = np.zeros((1, 30), dtype=bool), (arrays["y_train"] == 1)[None]
        share = arrays["y_test"].mean()
        assert GAMES[kind](arrays)(nobody)[0] == pytest.approx(max(share, 1 - share))
        assert GAMES[kind](arrays)(ones)[0] == pytest.approx(share)


def test_the_tree_splits_as_a_search_through_all_splits_does() -> None:
    arrays = cases.breast_cancer(40, 30, 2)
    x, y, x_test = arrays["x_train"], arrays["y_train"], arrays["x_test"]
    octiles = np.quantile(x, np.arange(1, 8) / 8, axis=0)

    def purity(rows: np.ndarray) -> float:
        ones = y[rows].sum()
        return (ones**2 + (rows.sum() - ones) ** 2) / max(rows.sum(), 1)

    def split_purity(rows: np.ndarray, f: int, t: float) -> float:
        return purity(rows & (x[:, f] <= t)) + purity(rows & (x[:, f] > t))

    def labels(rows: np.ndarray, reached: np.ndarray, level: int, parent: bool) -> np.ndarray:
        label = 2 * y[rows].sum() > rows.sum() if rows.any() else parent
        if level == 3:
            return reached & label
        # In the order of the columns: of equally good ones the first is taken.
        splits = [(f, octiles[t, f]) for t in range(7) for f in range(x.shape[1])]
        f, t = max(splits, key=lambda split: split_purity(rows, *split))
        low, low_test = x[:, f] <= t, x_test[:, f] <= t
        return labels(rows & low, reached & low_test, level + 1, label) | labels(
            rows & ~low, reached & ~low_test, level + 1, label
        )

    drawn = coalitions(40, 20)[1:]
    found = GAMES["tree"](arrays)(drawn)
    everywhere = np.ones(len(x_test), dtype=bool)
    for coalition, value in zip(drawn, found, strict=True):
        predicted = labels(coalition, everywhere, 0, False)
        # Splits that are equally good may be taken in another order after rounding.
        assert value == pytest.approx((predicted == arrays["y_test"]).mean(), abs=0.1)


def test_the_other_games() -> None:
    own = SumOfUnanimityGames.random(9, 20, seed=3)
    arrays = {"carriers": own.carriers, "weights": own.weights}
    drawn = coalitions(9)
    np.testing.assert_allclose(GAMES["unanimity"](arrays)(drawn), own(drawn), atol=1e-12)
    made, truth_error = cases.neighbours(12, ShapleySemivalue(), 0.5)(Path())
    assert truth_error == 0
    quiet = GAMES["neighbours"](made)
    exact = exact_values(FunctionGame(12, quiet), ShapleySemivalue())
    np.testing.assert_allclose(made["truth"], exact, atol=1e-12)
    noisy = GAMES["noisy-neighbours"]({**made, "noise_seed": np.array(1)})
    same = np.ones((4_000, 12), dtype=bool)
    noise = noisy(same) - quiet(same)
    assert noise.std() == pytest.approx(0.5, rel=0.05)
    assert abs(noise.mean()) < 0.04


def test_references_are_right_and_kept(tmp_path: Path) -> None:
    game = RandomGame(6, 1)
    values, squared = shapley_reference("random", game, {"a": np.ones(2)}, 20_000, tmp_path)
    exact = exact_values(game, ShapleySemivalue())
    assert np.square(values - exact).sum() / np.square(exact).sum() < 10 * squared < 0.1
    (file,) = tmp_path.iterdir()
    again = shapley_reference("random", game, {"a": np.ones(2)}, 20_000, tmp_path)
    np.testing.assert_array_equal(again[0], values)
    assert list(tmp_path.iterdir()) == [file]
    shapley_reference("random", game, {"a": np.zeros(2)}, 20_000, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_every_estimator_of_ours_finds_an_additive_game() -> None:
    weights = np.arange(1.0, 9.0)
    for name, estimate in ESTIMATORS.items():
        if name.startswith("models"):
            continue
        game = Counted(AdditiveGame(weights), {})
        values = estimate(game, 8, 600, 0)
        rough = name in ("adjusted, size", "Banzhaf, MSR", "Banzhaf, MSR, size control")
        np.testing.assert_allclose(values, weights, atol=2.5 if rough else 1e-6, err_msg=name)
        assert 100 < game.evaluations <= 600


def a_game(bounds: list[Bound]) -> PlayedGame:
    return PlayedGame(
        title="A game",
        what="Of eight.",
        kind="neighbours",
        n=12,
        make=cases.neighbours(12, ShapleySemivalue()),
        multiples=(10, 40),
        seeds=3,
        entrants=[
            Entrant("dvl", "least squares"),
            Entrant("dvl", "permutation", 2, (10,)),
            Entrant("pyDVL", "permutation"),
        ],
        bounds=bounds,
    )


def test_a_case_measures_errors_and_says_whether_bounds_hold(tmp_path: Path) -> None:
    bounds = [
        Bound("least squares", "permutation", 10, 0.9),
        Bound("least squares", "permutation", 10, 1e-9),
        Bound("least squares", None, 10, 1.2),
    ]
    lines = {"dvl: least squares": "ours", "dvl: permutation": "theirs"}
    case = AccuracyCase("tiny", "Tiny", "What.", [a_game(bounds)], lines, tmp_path)
    result = case.measure(OURS, tmp_path / "work", lambda _: None)
    (game,) = result.games
    assert [entrant.label for entrant, _ in game.runs] == list(lines)
    # Without peers there is nothing to compare the last bound with.
    assert len(game.bounds) == 2
    assert [game.reached(bound) for bound in game.bounds] == [True, False]
    assert not result.passed
    ours = game.of("dvl", "least squares")
    assert game.seeds(ours) == 3
    assert {record["evaluations"] <= 480 for record in ours["480"]} == {True}
    assert 0 <= game.error(ours, 40).value < game.error(ours, 10).value
    text = section(result)
    assert "| dvl: permutation | 2 |" in text
    assert "**reached**" in text
    assert "**missed**" in text
    save(result, tmp_path)
    (draw,) = result.figures().values()
    for name in ("a.svg", "b.svg"):
        draw(tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert b"A game, n = 12" in (tmp_path / "a.svg").read_bytes()


def test_the_best_peer_at_the_budget_is_the_one_to_beat() -> None:
    def records(*errors: float) -> dict:
        one = {"evaluations": 1, "seconds": 1.0, "in_game": 0.0}
        return {str(10 * (i + 1)): [{"error": e, **one}] for i, e in enumerate(errors)}

    runs = [
        (Entrant("dvl", "mine"), records(0.2, 0.1)),
        (Entrant("dvl", "other"), records(0.01, 0.01)),
        (Entrant("pyDVL", "a"), records(0.1, 0.4)),
        (Entrant("shapiq", "b"), records(0.3)),
    ]
    game = GameResult("G", "", 10, (1, 2), 0.0, runs, [])
    assert game.best(Bound("mine", None, 1, 1.2)) == ("pyDVL: a", 0.1)
    assert game.ratio(Bound("mine", None, 1, 1.2)) == pytest.approx(2)
    assert game.best(Bound("mine", None, 2, 1.2)) == ("pyDVL: a", 0.4)
    assert game.ratio(Bound("mine", "other", 2, 1.2)) == pytest.approx(10)


def power_law(factor: float, budgets: tuple[int, ...]) -> dict:
    return {
        str(b): [{"error": 10 / b, "seconds": factor * b, "in_game": 0.0, "evaluations": b}]
        for b in budgets
    }


def test_seconds_to_an_error_are_interpolated(tmp_path: Path) -> None:
    runs = [
        (Entrant("dvl", "mine"), power_law(0.01, (50, 200))),
        (Entrant("pyDVL", "slow"), power_law(1.0, (20, 40, 400))),
        (Entrant("pyDVL", "never"), power_law(0.001, (20, 40))),
    ]
    game = GameResult("G", "", 10, (2, 4, 5, 20, 40), 0.01, runs, [])
    result = SecondsResult("s", "S", "What.", game, 0.1, "mine", 60, {})
    assert result.seconds_to(runs[0][1]) == pytest.approx(1.0)
    assert result.fastest_peer == ("pyDVL: slow", pytest.approx(100.0))
    assert result.ratio == pytest.approx(100)
    assert result.passed
    assert not replace(result, at_least=101).passed
    early = replace(result, threshold=0.6)
    assert early.seconds_to(runs[1][1]) == pytest.approx(1 / 0.06)
    text = section(result)
    assert "| pyDVL: never | 1 |" in text
    assert "inf |" in text
    (draw,) = result.figures().values()
    draw(tmp_path / "s.svg")
    assert b"seconds" in (tmp_path / "s.svg").read_bytes()
    assert asdict(result)["threshold"] == 0.1


def test_models_are_valued_and_counted() -> None:
    arrays = dict(cases.breast_cancer(12, 60, 0))
    arrays["default"] = np.array(0.6)
    game = Counted(lambda _: np.zeros(0), arrays)
    values = ESTIMATORS["models, default"](game, 12, 300, 0)
    assert np.isfinite(values).all()
    assert 200 < game.evaluations <= 300


@pytest.mark.parametrize("game", cases.GAMES_PLAYED, ids=lambda game: game.title)
def test_entrants_exist_and_bounds_are_about_them(game: PlayedGame) -> None:
    folder = Path(__file__).parent / "benchmarks" / "sides"
    sources = {
        "dvl": "".join(ESTIMATORS),
        "pyDVL": (folder / "estimators_pydvl.py").read_text(),
        "shapiq": (folder / "estimators_shapiq.py").read_text(),
    }
    names = {(e.side, e.estimator) for e in game.entrants}
    assert len(names) == len(game.entrants)
    for entrant in game.entrants:
        assert entrant.estimator in sources[entrant.side]
    for bound in game.bounds:
        assert ("dvl", bound.ours) in names
        assert bound.others is None or ("dvl", bound.others) in names
        assert bound.multiple in game.multiples


def test_numbers_on_the_page() -> None:
    assert [error(x) for x in (0.00321, 0.456, 3.21, 45.6, 1234.5)] == [
        "0.0032",
        "0.46",
        "3.2",
        "46",
        "1,234",
    ]
    assert isinstance(seconds_to_error.CASE, SecondsCase)
    assert AccuracyResult.template != SecondsResult.template
