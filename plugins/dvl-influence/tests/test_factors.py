"""Factors of test points, lazy and stored: what is computed from them is what solving gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import zarr
from torch.nn.functional import cross_entropy

from dvl_core import JoblibBackend
from dvl_core.errors import CheckpointError, DataError, DvlError, InvalidOptionError
from dvl_influence import (
    GradientCosineInfluence,
    GradientDotInfluence,
    InfluenceModel,
    RelativeInfluence,
    SequentialInfluenceCalculator,
    TracInInfluence,
    TrakInfluence,
)
from dvl_influence.stored_factors import StoredFactors
from dvl_influence.testing import Counting, DenseInverse, batches, classes, mlp

TEST, TRAIN = classes(9, seed=3), classes(24)
TEST_LOADER, TRAIN_LOADER = batches(*TEST, 4), batches(*TRAIN, 5)
N_PARAMETERS = 31


class Options(Counting):
    """The same with an option."""

    def __init__(self, tolerance: float) -> None:
        super().__init__()
        self.tolerance = tolerance


def doubled(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return 2 * cross_entropy(output, target)


def fitted(inverse=None, seed: int = 0, loss=cross_entropy, train=TRAIN, **options):
    options = {"regularization": 0.5, "curvature": "ggn", **options}
    model = InfluenceModel(mlp(seed), loss, inverse or Counting(), **options)
    return model.fit(batches(*train, 10))


def calculator(inverse=None, budget: int = 2**30, **options) -> SequentialInfluenceCalculator:
    return SequentialInfluenceCalculator(fitted(inverse, **options), memory_budget=budget)


@pytest.mark.parametrize("budget", [2**30, 3000, 1])
@pytest.mark.parametrize("sizes", [[4, 4, 1], [1, 7, 1], [9]])
def test_batches_and_budget_do_not_matter(sizes, budget) -> None:
    loader = list(zip(*(part.split(sizes) for part in TEST), strict=True))
    model = fitted(DenseInverse())
    factors = SequentialInfluenceCalculator(model, memory_budget=budget).influence_factors(loader)
    expected = model.influence_factors(*TEST)
    assert factors.shape == (9, N_PARAMETERS)
    assert factors.dtype == torch.float64
    found = factors.compute()
    assert torch.allclose(found, expected, rtol=1e-12, atol=1e-14)
    parts = list(factors)
    assert torch.equal(torch.cat([part.factors for part in parts]), found)
    assert [q for part in parts for q in range(9)[part.test]] == list(range(9))
    assert max(len(part.factors) for part in parts) == min(
        max(sizes), {1: 1, 3000: 4}.get(budget, 9)
    )


@pytest.mark.parametrize("n_test", [1, 40])
def test_one_test_point_and_more_than_parameters(tmp_path, n_test) -> None:
    test = batches(*classes(n_test, seed=3), 7)
    here = calculator()
    array = here.influence_factors(test).to_zarr(tmp_path / "factors")
    assert array.shape == (n_test, N_PARAMETERS)
    lazy = here.influences_from_factors(array, TRAIN_LOADER)
    assert torch.equal(lazy.compute(), here.influences(test, TRAIN_LOADER).compute())


def test_nothing_is_solved_before_it_is_asked_for() -> None:
    inverse = Counting()
    factors = calculator(inverse).influence_factors(TEST_LOADER)
    assert factors.shape == (9, N_PARAMETERS)
    assert inverse.solved == 0


@pytest.mark.parametrize("chunks", [None, (1, 16), (2, 7), (9, 40)])
@pytest.mark.parametrize("budget", [2**30, 1])
def test_each_test_point_is_solved_for_once(tmp_path, chunks, budget) -> None:
    inverse = Counting()
    factors = calculator(inverse, budget).influence_factors(TEST_LOADER)
    array = factors.to_zarr(tmp_path / "factors", chunks=chunks)
    assert inverse.solved == 9
    height, width = chunks or ((4, 31) if budget > 1 else (1, 31))
    assert array.chunks == (height, min(width, 31))
    assert np.allclose(array[:], fitted().influence_factors(*TEST), rtol=1e-12, atol=1e-14)


def test_the_array_says_what_it_holds(tmp_path) -> None:
    array = calculator().influence_factors(TEST_LOADER).to_zarr(tmp_path / "factors")
    assert array.attrs["content"] == "influence factors"
    assert array.attrs["complete"] is True
    assert array.attrs["report"]["n_train"] == 24
    assert array.metadata.dimension_names == ("test", "component")
    assert "inner products" in array.attrs["description"]
    assert array.attrs["identity"].keys() >= {"model parameters", "test data", "options", "loss"}


def test_broken_off_and_finished(tmp_path) -> None:
    folder = tmp_path / "factors"
    with pytest.raises(DvlError, match="broken off"):
        calculator(Counting(8)).influence_factors(TEST_LOADER).to_zarr(folder)
    there = zarr.open_array(folder)
    assert not there.attrs["complete"]
    assert np.isnan(there[:]).any(axis=1).tolist() == [False] * 8 + [True]
    with pytest.raises(CheckpointError, match=r"incomplete: .* goes on where it stopped"):
        calculator().influences_from_factors(folder, TRAIN_LOADER)
    inverse = Counting()
    factors = calculator(inverse).influence_factors(TEST_LOADER)
    array = factors.to_zarr(folder)
    assert inverse.solved == 1
    assert np.array_equal(array[:], factors.compute())
    inverse.solved = 0
    assert np.array_equal(factors.to_zarr(folder)[:], array[:])
    assert inverse.solved == 0


def test_a_garbled_chunk_is_solved_for_anew(tmp_path) -> None:
    folder = tmp_path / "factors"
    whole = calculator().influence_factors(TEST_LOADER).to_zarr(folder)[:]
    zarr.open_array(folder, mode="r+").attrs["complete"] = False
    chunk = folder / "c" / "1" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-3])
    inverse = Counting()
    array = calculator(inverse).influence_factors(TEST_LOADER).to_zarr(folder)
    assert inverse.solved == 4
    assert np.array_equal(array[:], whole)


OTHERS = [
    ({"seed": 1}, "model parameters"),
    ({"regularization": 0.4}, "regularization"),
    ({"curvature": "hessian"}, "curvature"),
    ({"dtype": torch.float32}, "precision"),
    ({"inverse": Options(0.1)}, "options"),
    ({"inverse": "identity"}, "method"),
    ({"loss": doubled}, "loss"),
    ({"train": classes(24, seed=4)}, "train_digest"),
]


@pytest.mark.parametrize(("change", "named"), OTHERS, ids=[named for _, named in OTHERS])
def test_factors_of_another_model(tmp_path, change, named) -> None:
    folder = tmp_path / "factors"
    calculator().influence_factors(TEST_LOADER).to_zarr(folder)
    other = calculator(**change)
    with pytest.raises(CheckpointError, match=f"different are .*{named}.* give the model"):
        other.influences_from_factors(folder, TRAIN_LOADER)
    factors = other.influence_factors(TEST_LOADER)
    with pytest.raises(CheckpointError, match=f"different are .*{named}.*overwrite=True"):
        factors.to_zarr(folder)
    array = factors.to_zarr(folder, overwrite=True)
    lazy = other.influences_from_factors(array, TRAIN_LOADER)
    assert torch.equal(lazy.compute(), other.influences(TEST_LOADER, TRAIN_LOADER).compute())


def test_factors_of_other_test_points(tmp_path) -> None:
    folder = tmp_path / "factors"
    calculator().influence_factors(TEST_LOADER).to_zarr(folder)
    with pytest.raises(CheckpointError, match="different are test data"):
        calculator().influence_factors(TRAIN_LOADER).to_zarr(folder)


def test_options_below_relative_influences(tmp_path) -> None:
    folder = tmp_path / "factors"
    one, other = (RelativeInfluence(fitted(Options(t))) for t in (0.1, 0.2))
    SequentialInfluenceCalculator(one).influence_factors(TEST_LOADER).to_zarr(folder)
    with pytest.raises(CheckpointError, match="options"):
        SequentialInfluenceCalculator(other).influences_from_factors(folder, TRAIN_LOADER)


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *((kind, "up") for kind in ("array", "path", "text", "URL", "numpy", "torch", "mapped")),
        ("array", "perturbation"),
        ("numpy", "perturbation"),
    ],
)
def test_influences_from_factors(tmp_path, monkeypatch, kind, mode) -> None:
    model = fitted(DenseInverse())
    here = SequentialInfluenceCalculator(model)
    factors = here.influence_factors(TEST_LOADER)
    folder = tmp_path / "factors"
    array = factors.to_zarr(folder)
    np.save(tmp_path / "factors.npy", array[:])
    stored = {
        "array": array,
        "path": folder,
        "text": str(folder),
        "URL": f"file://{folder}",
        "numpy": array[:],
        "torch": factors.compute(),
        "mapped": np.load(tmp_path / "factors.npy", mmap_mode="r"),
    }[kind]
    expected = here.influences(TEST_LOADER, TRAIN_LOADER, mode)
    scores = expected.compute()
    best = expected.top_k(3) if mode == "up" else ()
    monkeypatch.setattr(model.approximator, "solve", None)
    lazy = here.influences_from_factors(stored, TRAIN_LOADER, mode)
    assert lazy.shape == scores.shape
    assert torch.equal(lazy.compute(), scores)
    assert all(torch.equal(chunk.scores, scores[chunk.test, chunk.train]) for chunk in lazy)
    assert np.array_equal(lazy.to_zarr(tmp_path / "scores")[:], scores)
    if mode == "up":
        assert all(torch.equal(a, b) for a, b in zip(lazy.top_k(3), best, strict=True))


@pytest.mark.parametrize("budget", [1, 1500])
def test_no_more_factors_are_read_than_the_budget_allows(tmp_path, monkeypatch, budget) -> None:
    array = calculator().influence_factors(TEST_LOADER).to_zarr(tmp_path / "factors")
    read: list[int] = []
    rows = StoredFactors.rows

    def counted(self, test):
        read.append(test.stop - test.start)
        return rows(self, test)

    monkeypatch.setattr(StoredFactors, "rows", counted)
    here = calculator(budget=budget)
    lazy = here.influences_from_factors(array, TRAIN_LOADER)
    expected = here.influences(TEST_LOADER, TRAIN_LOADER)
    assert torch.allclose(lazy.compute(), expected.compute(), rtol=1e-12, atol=1e-14)
    assert lazy.group_size() == expected.group_size() == max(read) < 9
    assert sum(read) == 9


@pytest.mark.parametrize("method", ["dot", "cosine", "tracin", "trak", "relative", "blocks"])
def test_every_method_that_scores(method, tmp_path) -> None:
    net = mlp()
    model = {
        "dot": lambda: GradientDotInfluence(net, cross_entropy),
        "cosine": lambda: GradientCosineInfluence(net, cross_entropy),
        "tracin": lambda: TracInInfluence(
            net,
            cross_entropy,
            checkpoints=[mlp(1).state_dict(), mlp(2).state_dict()],
            learning_rates=[0.1, 0.2],
        ),
        "trak": lambda: TrakInfluence(net, cross_entropy, dim=8),
        "relative": lambda: RelativeInfluence(fitted()),
        "blocks": lambda: InfluenceModel(net, cross_entropy, DenseInverse(), blocks="layer"),
    }[method]()
    model.fit(TRAIN_LOADER)
    here = SequentialInfluenceCalculator(model)
    factors = here.influence_factors(TEST_LOADER)
    length = {"tracin": 2 * N_PARAMETERS, "trak": 8}.get(method, N_PARAMETERS)
    assert factors.shape == (9, length)
    array = factors.to_zarr(tmp_path / "factors")
    lazy = here.influences_from_factors(array, TRAIN_LOADER)
    assert torch.equal(lazy.compute(), here.influences(TEST_LOADER, TRAIN_LOADER).compute())


def test_trak_fitted_to_other_points(tmp_path) -> None:
    one, other = (
        TrakInfluence(mlp(), cross_entropy, dim=8, regularization=0.1).fit(batches(*points, 5))
        for points in (TRAIN, classes(24, seed=4))
    )
    SequentialInfluenceCalculator(one).influence_factors(TEST_LOADER).to_zarr(tmp_path / "factors")
    with pytest.raises(CheckpointError, match="train_digest"):
        SequentialInfluenceCalculator(other).influences_from_factors(
            tmp_path / "factors", TRAIN_LOADER
        )


def test_single_precision(tmp_path) -> None:
    here = calculator(dtype=torch.float32)
    factors = here.influence_factors(TEST_LOADER)
    array = factors.to_zarr(tmp_path / "factors")
    assert array.dtype == np.float32
    expected = here.influences(TEST_LOADER, TRAIN_LOADER).compute()
    for stored in (array, array[:], array[:].astype(float), factors.compute().double()):
        lazy = here.influences_from_factors(stored, TRAIN_LOADER)
        assert lazy.dtype == torch.float32
        assert torch.equal(lazy.compute(), expected)


def test_where_factors_come_from_is_the_origin_of_influences(tmp_path) -> None:
    """Begun with the test data, finished with their factors, and the other way round."""
    here = calculator()
    array = here.influence_factors(TEST_LOADER).to_zarr(tmp_path / "factors")
    solved = here.influences(TEST_LOADER, TRAIN_LOADER)
    stored = here.influences_from_factors(array, TRAIN_LOADER)
    for first, second, folder in [(solved, stored, "one"), (stored, solved, "two")]:
        whole = first.to_zarr(tmp_path / folder)[:]
        zarr.open_array(tmp_path / folder, mode="r+").attrs["complete"] = False
        (tmp_path / folder / "c" / "1" / "2").unlink()
        assert np.array_equal(second.to_zarr(tmp_path / folder)[:], whole)
    plain = here.influences_from_factors(array[:], TRAIN_LOADER)
    with pytest.raises(CheckpointError, match="different are factors"):
        plain.to_zarr(tmp_path / "one")
    whole = plain.to_zarr(tmp_path / "three")[:]
    again = here.influences_from_factors(torch.as_tensor(array[:]), TRAIN_LOADER)
    assert np.array_equal(again.to_zarr(tmp_path / "three")[:], whole)
    other = here.influences_from_factors(2 * array[:], TRAIN_LOADER)
    with pytest.raises(CheckpointError, match="different are factors"):
        other.to_zarr(tmp_path / "three")
    with pytest.raises(CheckpointError, match="different are test data"):
        solved.to_zarr(tmp_path / "three")


def test_what_holds_no_factors(tmp_path) -> None:
    here = calculator()
    scores = here.influences(TEST_LOADER, TRAIN_LOADER).to_zarr(tmp_path / "scores")
    plain = zarr.create_array(tmp_path / "plain", shape=(9, 31), dtype="float64")
    for array in (scores, plain, tmp_path / "scores"):
        with pytest.raises(CheckpointError, match="holds no influence factors"):
            here.influences_from_factors(array, TRAIN_LOADER)
    for path in (tmp_path / "nothing", "memory://nothing"):
        with pytest.raises(CheckpointError, match=r"no array of zarr at .*nothing"):
            here.influences_from_factors(path, TRAIN_LOADER)
    assert not (tmp_path / "nothing").exists()
    factors = here.influence_factors(TEST_LOADER)
    with pytest.raises(InvalidOptionError, match="factors is a LazyFactors"):
        here.influences_from_factors(factors, TRAIN_LOADER)
    with pytest.raises(CheckpointError, match="not of influence factors"):
        factors.to_zarr(tmp_path / "scores")
    factors.to_zarr(tmp_path / "scores", overwrite=True)
    with pytest.raises(CheckpointError, match="not of influences"):
        here.influences(TEST_LOADER, TRAIN_LOADER).to_zarr(tmp_path / "scores")


def test_numbers_that_are_no_factors() -> None:
    here = calculator()
    good = fitted().influence_factors(*TEST).numpy()
    bad = good.copy()
    bad[5, 3] = np.nan
    for numbers, message in [
        (good[0], r"float64 \(31,\): .* \[n_test, p\]"),
        (good[:0], r"\(0, 31\)"),
        (np.ones((9, 31), dtype=int), "int64"),
        (torch.ones((9, 31), dtype=int), "int64"),
        (good[:, 1:], "must have 31 columns"),
        (bad, "test point 5 hold NaN"),
        (torch.as_tensor(bad), "test point 5 hold NaN"),
    ]:
        with pytest.raises(DataError, match=message):
            here.influences_from_factors(numbers, TRAIN_LOADER)
    with pytest.raises(DataError, match="the training data are empty"):
        here.influences_from_factors(good, [])
    with pytest.raises(InvalidOptionError, match="'up' or 'perturbation'"):
        here.influences_from_factors(good, TRAIN_LOADER, "down")


@pytest.mark.parametrize("damage", ["lost", "garbled"])
def test_factors_that_were_damaged(tmp_path, damage) -> None:
    folder = tmp_path / "factors"
    here = calculator()
    here.influence_factors(TEST_LOADER).to_zarr(folder)
    chunk = folder / "c" / "1" / "0"
    content = bytearray(chunk.read_bytes())
    content[40] ^= 1
    chunk.write_bytes(content)
    if damage == "lost":
        chunk.unlink()
    lazy = here.influences_from_factors(folder, TRAIN_LOADER)
    with pytest.raises(CheckpointError, match="factors of test points 0 to 8 cannot be read"):
        lazy.compute()


def test_workers() -> None:
    """Pieces of several batches are under way at the same time, and come back in order."""
    model = fitted()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        expected = SequentialInfluenceCalculator(model, backend="serial")
        here = SequentialInfluenceCalculator(model, backend=JoblibBackend(2, "threading"))
        factors = here.influence_factors(batches(*TEST, 2)).compute()
        assert torch.equal(factors, expected.influence_factors(batches(*TEST, 2)).compute())
        lazy = here.influences_from_factors(factors, TRAIN_LOADER)
        scores = expected.influences_from_factors(factors, TRAIN_LOADER).compute()
        assert torch.equal(lazy.compute(), scores)
    finally:
        torch.set_num_threads(before)
