"""TRAK against explicit projections and dense algebra."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from dvl_core.errors import InvalidOptionError, NotFittedError
from dvl_influence import InfluenceModel
from dvl_influence.errors import IndefiniteCurvatureError, ModelError
from dvl_influence.projection import RandomProjection
from dvl_influence.testing import DenseInverse, batches, classes, half_squares, mlp, ridge
from dvl_influence.trak import TrakInfluence, log_odds

NET = 31
"""Parameters of `mlp()`."""


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-9, atol=1e-11)


def odds_and_gradients(model, x, y):
    """The log-odds [n] and their gradients [n, p], by automatic differentiation point by point."""
    odds, rows = [], []
    for point, label in zip(x, y, strict=True):
        p = torch.softmax(model(point[None])[0], dim=0)[label]
        odds.append(torch.log(p / (1 - p)))
        grads = torch.autograd.grad(odds[-1], list(model.parameters()))
        rows.append(torch.cat([g.reshape(-1) for g in grads]))
    return torch.stack(odds).detach(), torch.stack(rows)


def matrix(dim, number=0, seed=0, size=NET):
    like = torch.zeros(size, dtype=torch.float64)
    return RandomProjection(like, dim, (seed, number))(torch.eye(size, dtype=torch.float64))


def by_hand(models, x, y, dim, damping):
    """The formula, with every matrix in full."""
    scores, wrong = 0, 0
    for number, model in enumerate(models):
        odds, gradients = odds_and_gradients(model, x, y)
        phi = gradients @ matrix(dim, number) if dim < NET else gradients
        kernel = phi.T @ phi / len(x) + damping * torch.eye(phi.shape[1], dtype=phi.dtype)
        scores = scores + phi @ torch.linalg.solve(kernel, phi.T) / len(models)
        wrong = wrong + (1 - torch.sigmoid(odds)) / len(models)
    return scores * wrong


@pytest.mark.parametrize("dim", [1, 4, NET - 1, NET, 100])
@pytest.mark.parametrize("size", [1, 7, 20])
def test_scores_are_those_of_explicit_projections(dim, size) -> None:
    # Also with more dimensions than points, and with more than parameters.
    model, (x, y) = mlp(), classes(20)
    trak = TrakInfluence(model, cross_entropy, dim=dim, regularization=0.01)
    trak.fit(batches(x, y, size))
    exact = by_hand([model], x, y, dim, 0.01)
    assert close(trak.influences(x, y), exact)
    assert close(trak.influences(x[:2], y[:2], x, y), exact[:2])
    assert close(trak.self_influences(batches(x, y, size)), exact.diagonal())
    assert close(trak.mean_influences(batches(x, y, 3), batches(x, y, size)), exact.mean(dim=0))


@pytest.mark.parametrize("memory_budget", [1, 2**12, 2**26])
def test_checkpoints_are_averaged_scores_and_probabilities_on_their_own(memory_budget) -> None:
    (x, y), models = classes(15), [mlp(seed) for seed in range(3)]
    states = [model.state_dict() for model in models]
    trak = TrakInfluence(
        mlp(9),
        cross_entropy,
        checkpoints=states,
        dim=6,
        regularization=0.1,
        memory_budget=memory_budget,
    ).fit(batches(x, y, 4))
    exact = by_hand(models, x, y, 6, 0.1)
    assert close(trak.influences(x, y), exact)
    assert close(trak.self_influences(batches(x, y, 7)), exact.diagonal())


def test_of_the_loss_it_is_the_influence_with_the_empirical_fisher_matrix() -> None:
    model, x, y, _ = ridge(12, 3)
    trak = TrakInfluence(model, half_squares, output="loss", dim=3, regularization=0.2)
    influence = InfluenceModel(
        model, half_squares, DenseInverse(), curvature="empirical-fisher", regularization=0.2
    )
    trak.fit(batches(x, y, 5)), influence.fit([(x, y)])
    assert close(trak.influences(x, y), influence.influences(x, y))


def test_automatic_regularization_is_a_tenth_of_the_mean_eigenvalue() -> None:
    model, (x, y) = mlp(), classes(20)
    trak = TrakInfluence(model, cross_entropy, dim=5).fit([(x, y)])
    phi = odds_and_gradients(model, x, y)[1] @ matrix(5)
    mean = torch.linalg.eigvalsh(phi.T @ phi / 20).mean().item()
    assert trak.report["regularization"] == [pytest.approx(0.1 * mean)]
    assert trak.report["dim"] == 5
    assert len(trak.report["checkpoints"]) == 1


@pytest.mark.parametrize(("n", "dim"), [(10, 20), (3, 100)])
def test_0_15_a_singular_kernel_is_refused_and_the_default_has_none(n, dim) -> None:
    model, (x, y) = mlp(), classes(n)
    with pytest.raises(IndefiniteCurvatureError, match="singular"):
        TrakInfluence(model, cross_entropy, dim=dim, regularization=0.0).fit([(x, y)])
    for precision in (torch.float32, torch.float64):
        trak = TrakInfluence(model, cross_entropy, dim=dim, dtype=precision).fit([(x, y)])
        scores = trak.influences(x, y)
        assert torch.isfinite(scores).all()
        assert (trak.self_influences([(x, y)]) > 0).all()
        assert scores.dtype == precision


def test_without_regularization_where_the_points_suffice() -> None:
    model, (x, y) = mlp(), classes(40)
    trak = TrakInfluence(model, cross_entropy, dim=4, regularization=0.0).fit([(x, y)])
    assert close(trak.influences(x, y), by_hand([model], x, y, 4, 0.0))


def test_flat_outputs_are_refused() -> None:
    x, y = classes(5)
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Hardtanh(-1e-9, 1e-9)).double()
    model[0].bias.data.fill_(1.0)
    with pytest.raises(IndefiniteCurvatureError, match="zero"):
        TrakInfluence(model, cross_entropy).fit([(0 * x, y % 2)])


def test_the_projection_depends_on_the_seed_only() -> None:
    model, (x, y) = mlp(), classes(10)
    one, same, other = (
        TrakInfluence(model, cross_entropy, dim=4, seed=seed, memory_budget=budget).fit([(x, y)])
        for seed, budget in ((0, 2**26), (0, 1), (1, 2**26))
    )
    assert close(one.influences(x, y), same.influences(x, y))
    assert not torch.allclose(one.influences(x, y), other.influences(x, y), rtol=0.1)


def test_projections_keep_inner_products_on_average() -> None:
    rng = np.random.default_rng(0)
    u, v = torch.tensor(rng.normal(size=(2, 5000)))
    v = v + u
    found = []
    for seed in range(200):
        projection = RandomProjection(u, 16, (seed,), memory_budget=1)
        pair = projection(torch.stack([u, v]))
        found.append(float(pair[0] @ pair[1]))
    spread = np.std(found) / 200**0.5
    # Each product has the variance (|u|^2 |v|^2 + (u.v)^2 - 2 sum u^2 v^2) / k.
    variance = (u @ u) * (v @ v) + (u @ v) ** 2 - 2 * (u**2 * v**2).sum()
    assert abs(np.mean(found) - float(u @ v)) < 3 * spread
    assert np.std(found) == pytest.approx((float(variance) / 16) ** 0.5, rel=0.2)


def test_signs_of_the_projection() -> None:
    drawn = matrix(64, size=5000)
    assert drawn.abs().unique().tolist() == [0.125]
    assert abs(float(drawn.mean())) < 4 * 0.125 / drawn.numel() ** 0.5


def test_log_odds_of_classes_and_of_single_logits() -> None:
    logits = torch.tensor([[0.3, -1.0, 2.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    p = torch.softmax(logits, dim=1)[[0, 1], [2, 0]]
    assert close(log_odds(logits, torch.tensor([2, 0])), torch.log(p / (1 - p)).mean())
    single = torch.tensor([0.5, -2.0], dtype=torch.float64)
    for output in (single, single[:, None]):
        assert close(log_odds(output, torch.tensor([1, 0])), torch.tensor(1.25).double())
    two = torch.stack([torch.zeros(2), single], dim=1)
    assert close(log_odds(two, torch.tensor([1, 0])), torch.tensor(1.25).double())


@pytest.mark.parametrize("shape", [(12,), (12, 1)])
def test_two_classes_by_one_logit_or_two(shape) -> None:
    x, y = classes(12)
    y = y % 2

    class Single(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(3, 1).double()

        def forward(self, x):
            return self.linear(x).reshape(-1, *shape[1:])

    class Pair(Single):
        def forward(self, x):
            logit = self.linear(x)
            return torch.cat([torch.zeros_like(logit), logit], dim=1)

    single, pair = Single(), Pair()
    pair.load_state_dict(single.state_dict())
    targets = y.double().reshape(shape)
    one = TrakInfluence(single, binary_cross_entropy_with_logits).fit([(x, targets)])
    two = TrakInfluence(pair, cross_entropy).fit([(x, y)])
    assert close(one.influences(x, targets), two.influences(x, y))


def test_a_loss_that_is_no_cross_entropy_is_refused() -> None:
    x, y = classes(6)
    smooth = torch.nn.CrossEntropyLoss(label_smoothing=0.3)
    with pytest.raises(InvalidOptionError, match="output='loss'"):
        TrakInfluence(mlp(), smooth).fit([(x, y)])
    assert TrakInfluence(mlp(), smooth, output="loss").fit([(x, y)]).influences(x, y).shape == (
        6,
        6,
    )
    model = torch.nn.Sequential(torch.nn.Linear(3, 6), torch.nn.Unflatten(1, (3, 2))).double()
    with pytest.raises(ModelError, match="output='loss'"):
        TrakInfluence(model, cross_entropy).fit([(x, torch.zeros(6, 2, dtype=torch.long))])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "margin"}, "'margin'"),
        ({"dim": 0}, "0"),
        ({"dim": 2.5}, "2.5"),
        ({"regularization": -1.0}, "-1.0"),
        ({"regularization": float("nan")}, "nan"),
        ({"regularization": "some"}, "some"),
        ({"checkpoints": []}, "at least one"),
    ],
)
def test_bad_options_are_refused(options, message) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        TrakInfluence(mlp(), cross_entropy, **options)


def test_before_fit_there_is_nothing_and_no_perturbation_after_it() -> None:
    x, y = classes(5)
    trak = TrakInfluence(mlp(), cross_entropy, dim=4)
    with pytest.raises(NotFittedError, match="fit"):
        trak.influences(x, y)
    with pytest.raises(InvalidOptionError, match="TrakInfluence"):
        trak.fit([(x, y)]).influences(x, y, mode="perturbation")
