"""Results: order, intervals, files, merging, and how notebooks show them."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dvl_core import MaxUpdates, ShapleySemivalue, ValuationResult
from dvl_core.errors import InvalidOptionError, NotFittedError, ResultError
from dvl_core.games import RandomGame
from dvl_core.statistics import RunningMoments
from dvl_shapley import DataShapleyValuation, PermutationSampler


def result(**changes: object) -> ValuationResult:
    arguments: dict = {
        "values": [0.5, -1.0, 2.0, np.nan],
        "stderr": [0.1, 0.2, 0.0, np.inf],
        "variances": [0.1, 0.4, 0.0, 0.0],
        "counts": [10, 10, 8, 0],
        "converged": [True, False, True, False],
        "names": ["ann", "bob", "cem", "dee"],
        "algorithm": "shapley",
        "seed": 1,
        "n_evaluations": 40,
        "n_computed": 30,
        "n_failures": 2,
        "stop_reason": "enough",
        "extras": {"elapsed": 1.5, "trace": np.arange(3)},
    }
    return ValuationResult(**{**arguments, **changes})


def same(one: ValuationResult, other: ValuationResult) -> bool:
    scalars = ("algorithm", "seed", "n_evaluations", "n_computed", "n_failures", "stop_reason")
    return one.equals(other) and all(getattr(one, s) == getattr(other, s) for s in scalars)


def test_slices_masks_and_integers() -> None:
    r = result()
    assert len(r) == 4
    assert list(r[:2].names) == ["ann", "bob"]
    assert list(r[r.counts > 9].names) == ["ann", "bob"]
    assert list(r[[2, 0]].names) == ["cem", "ann"]
    assert r[-2].name == "cem"
    assert [player.value for player in r[:3]] == [0.5, -1.0, 2.0]
    assert r[1:].seed == 1
    with pytest.raises(IndexError, match="4 is out of range for 4 players"):
        r[4]


def test_sorting_is_stable_and_puts_players_without_a_value_last() -> None:
    r = result(values=[1.0, np.nan, 0.0, 1.0], counts=[1, 0, 1, 1])
    assert list(r.sort().names) == ["cem", "ann", "dee", "bob"]
    assert list(r.sort(descending=True).names) == ["ann", "dee", "cem", "bob"]
    assert list(r.sort("name", descending=True).names) == ["dee", "cem", "bob", "ann"]
    assert list(r.sort("count").names) == ["bob", "ann", "cem", "dee"]
    assert list(r.sort().sort("index").names) == list(r.names)
    with pytest.raises(InvalidOptionError, match="cannot sort by 'size'"):
        r.sort("size")  # type: ignore[arg-type]


def test_a_frame_has_the_rows_of_the_current_order() -> None:
    # pyDVL's B10: variances and counts of sorted results ended up in other rows.
    frame = result().sort().to_frame()
    assert list(frame["name"]) == ["bob", "ann", "cem", "dee"]
    assert list(frame["variance"]) == [0.4, 0.1, 0.0, 0.0]
    assert list(frame["count"]) == [10, 10, 8, 0]


def test_intervals_are_students() -> None:
    interval = result().confidence_interval(0.9)
    half = stats.t.ppf(0.95, 9) * 0.1
    np.testing.assert_allclose(interval[0], [0.5 - half, 0.5 + half])
    np.testing.assert_array_equal(interval[2], [2.0, 2.0])
    assert np.isnan(interval[3]).all() or np.isinf(interval[3]).all()
    with pytest.raises(InvalidOptionError, match="between 0 and 1"):
        result().confidence_interval(95)


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_intervals_cover_as_often_as_they_say(level: float) -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(1000):
        moments = RunningMoments(4)
        moments.add_rows(rng.normal(size=(5, 4)))
        e = moments.estimate()
        r = result(values=e.values, stderr=e.stderr, variances=e.variances, counts=e.counts)
        low, high = r.confidence_interval(level).T
        covered += int(((low < 0) & (high > 0)).sum())
    # 4,000 intervals: 4.5 standard errors.
    assert abs(covered / 4000 - level) < 4.5 * np.sqrt(level * (1 - level) / 4000)


def test_no_players_at_all() -> None:
    nobody = result()[:0]
    assert len(nobody) == len(list(nobody)) == len(nobody.to_frame()) == 0
    assert nobody.confidence_interval().shape == (0, 2)
    assert len(nobody.sort()) == 0
    assert "0 players" in nobody._repr_html_()


def test_results_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValueError, match="read-only"):
        result().values[0] = 3.0


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
@pytest.mark.parametrize("names", [["ann", "bob", "c,m", "日本"], [7, 8, 9, 10], None])
def test_what_is_saved_is_loaded_to_the_bit(
    tmp_path: Path, suffix: str, names: list | None
) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    r = result(names=names, values=[0.1, -0.0, 5e-324, np.nan])
    r.save(tmp_path / f"r{suffix}")
    loaded = ValuationResult.load(tmp_path / f"r{suffix}")
    assert same(r, loaded)
    assert loaded.extras["elapsed"] == 1.5
    np.testing.assert_array_equal(loaded.extras["trace"], [0, 1, 2])
    assert loaded.extras["trace"].dtype == np.arange(3).dtype


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
@pytest.mark.parametrize(
    "names",
    [["ann", "b"], [2**62, -1], np.array([1, 2], np.uint8), [0.5, -0.0], [True, False], []],
    ids=["str", "int", "uint8", "float", "bool", "nobody"],
)
def test_what_is_loaded_is_saved_to_the_same_bytes(
    tmp_path: Path, suffix: str, names: list | np.ndarray
) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    n = len(names)
    r = ValuationResult(
        values=[0.1] * n,
        stderr=[np.inf] * n,
        variances=[0.5] * n,
        counts=[1] * n,
        converged=[False] * n,
        names=names,
        seed=2**80,
        extras={
            "floats": np.array([[np.nan, -0.0], [np.inf, 5e-324]]),
            "texts": np.array(["a", "日本"]),
            "large": np.array([2**64 - 1], dtype=np.uint64),
            "empty": np.zeros((0, 3), dtype=np.float32),
            "scalar": np.array(3.0),
            "nested": {"status": "optimal", "gaps": [0.5, None]},
            "nan": float("nan"),
            7: "a key that is no text",
            "a/b c": np.arange(2),
        },
    )
    first, second = tmp_path / f"first{suffix}", tmp_path / f"second{suffix}"
    r.save(first)
    loaded = ValuationResult.load(first)
    loaded.save(second)
    assert first.read_bytes() == second.read_bytes()
    assert same(r, loaded)
    assert loaded.names.dtype == r.names.dtype
    for key, extra in r.extras.items():
        back = loaded.extras[str(key)]
        if isinstance(extra, np.ndarray):
            assert (back.dtype, back.shape) == (extra.dtype, extra.shape)
            assert back.tobytes() == extra.tobytes()
        else:
            assert back == extra or (np.isnan(back) and np.isnan(extra))


def test_a_result_of_the_engine_survives_a_file(tmp_path: Path) -> None:
    r = DataShapleyValuation(RandomGame(6, 0), PermutationSampler(), MaxUpdates(20), seed=0)
    r.fit().result.save(tmp_path / "r.npz")
    assert same(r.result, ValuationResult.load(tmp_path / "r.npz"))


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple:
            return (exec, ("raise SystemExit('the bomb went off')",))

    content = {f: getattr(result(), f) for f in ("values", "stderr", "counts")}
    np.savez(tmp_path / "r.npz", **content, names=np.array([Bomb()], dtype=object))
    with pytest.raises(ResultError, match="damaged or not a saved result"):
        ValuationResult.load(tmp_path / "r.npz")
    (tmp_path / "p.npz").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ResultError, match="damaged or not a saved result"):
        ValuationResult.load(tmp_path / "p.npz")


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
@pytest.mark.parametrize("keep", [0, 10, 200, -30, -1])
def test_a_cut_file_is_damaged(tmp_path: Path, suffix: str, keep: int) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"r{suffix}"
    result().save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ResultError, match=r"r\.(npz|parquet)' is damaged"):
        ValuationResult.load(path)


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
@pytest.mark.parametrize("mask", [0x01, 0xFF])
def test_a_flipped_byte_is_noticed_or_harmless(tmp_path: Path, suffix: str, mask: int) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"r{suffix}"
    r = result()
    r.save(path)
    content = path.read_bytes()
    refused = 0
    for position in range(0, len(content), 3):
        damaged = bytearray(content)
        damaged[position] ^= mask
        path.write_bytes(damaged)
        try:
            loaded = ValuationResult.load(path)
        except ResultError:
            refused += 1
        else:
            assert loaded.equals(r), position
    # Some bytes mean nothing: padding, time stamps, names of the writing program.
    assert refused > len(content) / 3 / 2


def test_files_of_others_are_no_results(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", x=np.arange(3))
    np.save(tmp_path / "array.npy", np.arange(3))
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    (tmp_path / "text.npz").write_text("{}")
    (tmp_path / "text.parquet").write_text("{}")
    for path in tmp_path.iterdir():
        with pytest.raises(ResultError, match="damaged or not a saved result"):
            ValuationResult.load(path)


def test_files_that_cannot_be_are_named(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="there is no saved result at"):
        ValuationResult.load(tmp_path / "nowhere.npz")
    with pytest.raises(ResultError, match=r"end it in \.npz or \.parquet"):
        result().save(tmp_path / "r.pkl")
    with pytest.raises(ResultError, match="cannot write"):
        result().save("/dev/null/r.npz")
    with pytest.raises(ResultError, match="an extra cannot be written as JSON"):
        result(extras={"model": object()}).save(tmp_path / "r.npz")


@settings(max_examples=50, deadline=None)
@given(
    first=st.integers(1, 30),
    second=st.integers(1, 30),
    seed=st.integers(0, 1000),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
)
def test_merging_is_as_one_pass(first: int, second: int, seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    rows = scale * (5 + rng.normal(size=(first + second, 3)))

    def of(part: np.ndarray, seed: int) -> ValuationResult:
        moments = RunningMoments(3)
        moments.add_rows(part)
        e = moments.estimate()
        return ValuationResult(
            values=e.values,
            stderr=e.stderr,
            variances=e.variances,
            counts=e.counts,
            converged=[True] * 3,
            algorithm="x",
            seed=seed,
            n_evaluations=len(part),
        )

    merged, one_pass = of(rows[:first], 1).merge(of(rows[first:], 2)[::-1]), of(rows, 3)
    np.testing.assert_array_equal(merged.counts, one_pass.counts)
    np.testing.assert_allclose(merged.values, one_pass.values, rtol=1e-12)
    np.testing.assert_allclose(merged.variances, one_pass.variances, rtol=1e-8, atol=1e-15 * scale)
    np.testing.assert_allclose(merged.stderr, one_pass.stderr, rtol=1e-8, atol=1e-15 * scale)
    assert merged.n_evaluations == first + second
    assert merged.extras["seeds"] == [1, 2]


def test_a_player_known_to_one_run_only_keeps_its_value() -> None:
    merged = result().merge(result(seed=2, values=[1.5, -1.0, 2.0, 7.0], counts=[10, 10, 8, 1]))
    np.testing.assert_allclose(merged.values, [1.0, -1.0, 2.0, 7.0])
    assert merged.counts.tolist() == [20, 20, 16, 1]
    assert np.isinf(merged.stderr[3])


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({}, "both results have the seed 1"),
        ({"seed": 2, "algorithm": "banzhaf"}, "cannot merge 'shapley' with 'banzhaf'"),
        ({"seed": 2, "indices": [0, 1, 2, 4]}, "different players"),
        ({"seed": 2, "names": ["ann", "bob", "cem", "eve"]}, "different names"),
    ],
)
def test_what_must_not_be_merged_is_refused(other: dict, message: str) -> None:
    with pytest.raises(ResultError, match=message):
        result().merge(result(**other))


def test_merged_results_are_not_merged_with_their_parts() -> None:
    merged = result().merge(result(seed=2))
    with pytest.raises(ResultError, match="seed 2"):
        merged.merge(result(seed=2))
    assert merged.merge(result(seed=3)).counts[0] == 30


def test_exact_values_are_not_merged() -> None:
    exact = result(stderr=np.zeros(4))
    with pytest.raises(ResultError, match="the values are exact"):
        exact.merge(exact.replaced(seed=2))
    known = result(seed=2, extras={"guarantee": "exact"})
    with pytest.raises(ResultError, match="the values are exact"):
        result().merge(known)


def test_values_that_no_seed_changes_are_not_counted_twice() -> None:
    first = result(n_evaluations=0)
    with pytest.raises(ResultError, match="both results are the same"):
        first.merge(first[::-1].replaced(seed=2))
    other = first.replaced(seed=2, values=[0.4, -1.0, 2.0, np.nan])
    assert first.merge(other).counts.tolist() == [20, 20, 16, 0]


def test_values_without_standard_errors_are_not_averaged() -> None:
    unknown = result(seed=2, stderr=np.full(4, np.inf))
    for one, other in ((result(), unknown), (unknown, result())):
        with pytest.raises(ResultError, match="'shapley' have no standard errors"):
            one.merge(other)
    # One observation each has no error yet, and two of them together have.
    single = result(counts=[1, 1, 1, 0], stderr=np.full(4, np.inf), variances=np.zeros(4))
    merged = single.merge(single.replaced(seed=2, values=[1.5, -1.0, 2.0, np.nan]))
    assert merged.stderr[0] == pytest.approx(0.5)


def test_arrays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ResultError, match=r"counts has shape \(3,\), but there are 4 values"):
        result(counts=[1, 2, 3])
    with pytest.raises(ResultError, match="player dee has the value NaN, yet a count"):
        result(counts=[1, 1, 1, 1])


def test_notebooks_show_names_as_text() -> None:
    page = result(names=["<script>alert(1)</script>", "b", "c", "d"])._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "<b>" not in result(algorithm="<b>", stop_reason="<b>")._repr_html_()
    assert "40 evaluations" in page
    assert "shapley: 4 players" in repr(result()).replace("<ValuationResult ", "")


def test_no_result_before_fit() -> None:
    valuation = DataShapleyValuation(RandomGame(3, 0))
    with pytest.raises(NotFittedError, match="call fit"):
        _ = valuation.result
    assert ShapleySemivalue().name == "shapley"
