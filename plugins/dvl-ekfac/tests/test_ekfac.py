"""Factors, eigenvalues and solutions against dense Fisher matrices and curvlinops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from dvl_core.errors import DataError, DvlWarning, InvalidOptionError
from dvl_core.testing.inverse_hessians import MatrixOperator
from dvl_core.testing.requirements import pickled_copy
from dvl_ekfac import EkfacApproximator
from dvl_influence import Curvature, DampedOperator, Objective
from dvl_influence.data import Batch
from dvl_influence.errors import IndefiniteCurvatureError, ModelError
from dvl_influence.jacobians import output_derivatives
from dvl_influence.testing import classes

CE, MSE, BCE = (
    functional.cross_entropy,
    functional.mse_loss,
    functional.binary_cross_entropy_with_logits,
)


def numbers(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def seeded(*modules: nn.Module) -> nn.Sequential:
    model = nn.Sequential(*modules).double().eval()
    with torch.no_grad():
        for k, parameter in enumerate(model.parameters()):
            parameter.copy_(numbers(*parameter.shape, seed=k))
    return model


def curvature_of(model, loss, x, y, kind="ggn", size=100):
    parts = [Batch(*pair) for pair in zip(x.split(size), y.split(size), strict=True)]
    return Curvature(Objective(model, loss), parts, kind)


def approximated(curvature, **options):
    """Return the approximated matrix, and the true one between layers set to zero."""
    ekfac = EkfacApproximator(**options)
    state = ekfac.init(DampedOperator(curvature, 0.1))
    truth = torch.zeros_like(curvature.dense())
    for where in ekfac.blocks(state).values():
        truth[where[:, None], where] = curvature.dense()[where[:, None], where]
    return ekfac.dense(state), truth


def net_problem(kind: str):
    """Return a net with a bias and without, a loss, and points."""
    x, y = classes(12)
    model = seeded(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3, bias=False))
    targets = {"ce": y, "mse": numbers(12, 3), "bce": (numbers(12, 3) > 0).double()}
    return model, {"ce": CE, "mse": MSE, "bce": BCE}[kind], x, targets[kind]


@pytest.mark.parametrize("kind", ["ce", "mse", "bce"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_0_5_b7_factors_are_those_of_the_dense_fisher(kind, wrapped):
    """Peers 0.5, B7: no cross terms between classes; known losses and those of which S is found."""
    model, loss, x, y = net_problem(kind)
    known = loss
    if wrapped:

        def loss(output, target):
            return known(output, target)

    curvature = curvature_of(model, loss, x, y)
    kfac, _ = approximated(curvature, factors="kfac")
    ekfac, truth = approximated(curvature)
    (part,) = output_derivatives(curvature.objective, Batch(x, y))
    hidden = torch.tanh(model[0](x)).detach()
    inputs = {"0": torch.cat([x, torch.ones(12, 1)], 1), "2": hidden}
    back = {"0": (1 - hidden**2)[:, :, None] * model[2].weight.detach().T, "2": torch.eye(3)}
    state = EkfacApproximator().init(DampedOperator(curvature, 0.1))
    for name, where in EkfacApproximator().blocks(state).items():
        a = inputs[name].T @ inputs[name] / 12
        to_output = back[name].expand(12, -1, 3).double()
        g = (to_output @ part.inner @ to_output.mT).mean(0)
        d_out, d_in = len(g), len(a)
        dense = torch.kron(g, a)
        if name == "0":
            weight = [o * d_in + i for o in range(d_out) for i in range(d_in - 1)]
            order = torch.tensor(weight + [o * d_in + d_in - 1 for o in range(d_out)])
            dense = dense[order[:, None], order]
        torch.testing.assert_close(kfac[where[:, None], where], dense, rtol=1e-9, atol=1e-10)
    assert float(ekfac.trace()) == pytest.approx(float(truth.trace()), rel=1e-10)
    assert torch.linalg.norm(truth - ekfac) <= torch.linalg.norm(truth - kfac) + 1e-12
    assert torch.linalg.norm(truth - ekfac) > 1e-3 * torch.linalg.norm(truth)


def test_0_5_a_uniform_prediction_has_curvature():
    """Peers 0.5: pyDVL's is zero there; with equal probabilities K-FAC of one layer is exact."""
    x, y = classes(15)
    model = seeded(nn.Linear(3, 3))
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.zero_()
    for factors in ("kfac", "ekfac"):
        found, truth = approximated(curvature_of(model, CE, x, y), factors=factors)
        torch.testing.assert_close(found, truth, rtol=1e-9, atol=1e-11)
        assert truth.trace() > 0.1


def test_equal_inputs_are_exact():
    x, y = classes(15)
    curvature = curvature_of(seeded(nn.Linear(3, 3)), CE, x[:1].expand(15, 3).contiguous(), y)
    for factors in ("kfac", "ekfac"):
        found, truth = approximated(curvature, factors=factors)
        torch.testing.assert_close(found, truth, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("factors", ["kfac", "ekfac"])
@pytest.mark.parametrize("kind", ["ce", "mse", "bce"])
def test_one_point_is_exact(kind, factors):
    """For squared errors S is constant; for others the factors hold it whole all the same."""
    model, loss, x, y = net_problem(kind)
    found, truth = approximated(curvature_of(model, loss, x[:1], y[:1]), factors=factors)
    torch.testing.assert_close(found, truth, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("factors", ["kfac", "ekfac"])
def test_deep_linear_nets_with_squares_are_exact(factors):
    model = seeded(nn.Linear(3, 4), nn.Linear(4, 3), nn.Linear(3, 2, bias=False))
    curvature = curvature_of(model, MSE, numbers(20, 3), numbers(20, 2), size=7)
    found, truth = approximated(curvature, factors=factors)
    torch.testing.assert_close(found, truth, rtol=1e-8, atol=1e-9)


def test_solutions_are_those_of_the_dense_matrix():
    """No rows, one, and more than parameters; zero and equal rows; numbers of float32."""
    model, loss, x, y = net_problem("ce")
    curvature = DampedOperator(curvature_of(model, loss, x, y, size=5), 0.03)
    ekfac = EkfacApproximator()
    state = ekfac.init(curvature)
    p = curvature.size
    rhs = numbers(3 * p, p)
    rhs[1], rhs[2] = 0.0, rhs[0]
    exact = torch.linalg.solve(ekfac.dense(state) + 0.03 * torch.eye(p).double(), rhs.T).T
    solution = ekfac.solve(state, rhs)
    torch.testing.assert_close(solution.value, exact, rtol=1e-9, atol=1e-10)
    assert not solution.value[1].any()
    assert not solution.converged
    left = torch.linalg.vector_norm(rhs - curvature.matvec(exact), dim=1)
    torch.testing.assert_close(solution.residual[3:], (left / rhs.norm(dim=1))[3:])
    assert ekfac.solve(state, rhs[:0]).value.shape == (0, p)
    torch.testing.assert_close(ekfac.solve(state, rhs[4:5]).value, exact[4:5])
    with pytest.raises(DataError, match="NaN"):
        ekfac.solve(state, rhs * float("nan"))


def test_batches_and_their_order_change_nothing():
    model, loss, x, y = net_problem("ce")
    whole, _ = approximated(curvature_of(model, loss, x, y))
    for size in (1, 5, 11):
        parts, _ = approximated(curvature_of(model, loss, x.flip(0), y.flip(0), size=size))
        torch.testing.assert_close(whole, parts, rtol=1e-8, atol=1e-10)
    draws = {"fisher": "sampled", "n_samples": 2}
    whole, _ = approximated(curvature_of(model, loss, x, y), factors="kfac", **draws)
    parts, _ = approximated(curvature_of(model, loss, x, y, size=5), factors="kfac", **draws)
    torch.testing.assert_close(whole, parts, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("kind", ["ce", "mse", "bce", "huber"])
def test_sampled_tends_to_exact(kind):
    """Unbiased: the traces of 30 seeds, and the matrix of very many samples."""
    model, loss, x, y = net_problem("mse" if kind == "huber" else kind)
    if kind == "huber":

        def loss(out, target):
            return functional.huber_loss(out, target, delta=20.0)

    curvature = curvature_of(model, loss, x, y)
    exact, truth = approximated(curvature, factors="kfac")
    many, _ = approximated(curvature, factors="kfac", fisher="sampled", n_samples=500)
    assert torch.linalg.norm(many - exact) <= 0.1 * torch.linalg.norm(exact)
    few = [
        float(approximated(curvature, fisher="sampled", seed=seed)[0].trace()) for seed in range(30)
    ]
    error = np.std(few, ddof=1) / np.sqrt(30)
    assert abs(np.mean(few) - float(truth.trace())) <= 4 * error + 1e-9
    assert len(set(few)) > 1


def test_a_sampler_of_the_user_draws_the_targets():
    """Classes by a sampler of our own give what cross-entropy knows by itself."""
    model, loss, x, y = net_problem("ce")
    curvature = curvature_of(model, loss, x, y)

    def draw(output: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return torch.multinomial(output.softmax(1), 1, generator=generator)[:, 0]

    exact, _ = approximated(curvature, factors="kfac")
    options = {"factors": "kfac", "fisher": "sampled", "n_samples": 500}
    found, _ = approximated(curvature, sampler=draw, **options)
    assert torch.linalg.norm(found - exact) <= 0.1 * torch.linalg.norm(exact)


def test_0_11_empirical_is_named_for_what_it_is():
    """Peers 0.11: true targets only when asked for; then the trace is that of the mean of g g^T."""
    model, loss, x, y = net_problem("ce")
    curvature = curvature_of(model, loss, x, y, "empirical-fisher")
    found, truth = approximated(curvature)
    assert float(found.trace()) == pytest.approx(float(truth.trace()), rel=1e-10)
    ekfac = EkfacApproximator()
    assert ekfac.init(DampedOperator(curvature, 0.1)).details["fisher"] == "empirical"
    with pytest.raises(InvalidOptionError, match="empirical-fisher"):
        EkfacApproximator(fisher="exact").init(curvature)
    exact, _ = approximated(curvature_of(model, loss, x, y))
    assert torch.linalg.norm(found - exact) > 0.1 * torch.linalg.norm(exact)


LAYERS = {
    "3-D": ([nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)], numbers(6, 5, 3)),
    "conv": ([nn.Conv2d(2, 3, 2, stride=2), nn.Tanh(), nn.Flatten()], numbers(6, 2, 5, 4)),
    "conv 1-D": ([nn.Conv1d(5, 3, 2, padding=1), nn.Flatten()], numbers(6, 5, 3)),
    "norm": ([nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2)], numbers(6, 3)),
    "embedding": ([nn.Embedding(7, 3), nn.LayerNorm(3), nn.Linear(3, 2)], torch.arange(24) % 7),
}


@pytest.mark.parametrize(("name", "budget"), [*((k, 2**26) for k in LAYERS), ("conv", 1)])
def test_0_11_b7_all_layers_keep_the_trace(name, budget):
    """Peers 0.11: inputs with more axes; eigenvalues take the positions of a point together."""
    modules, x = LAYERS[name]
    x = x.view(6, 4) if name == "embedding" else x

    def loss(out, y):
        return ((out.flatten(1) - y[:, None]) ** 2).mean()

    curvature = curvature_of(seeded(*modules), loss, x, numbers(6), size=4)
    curvature.memory_budget = budget
    ekfac, truth = approximated(curvature)
    kfac, _ = approximated(curvature, factors="kfac")
    assert float(ekfac.trace()) == pytest.approx(float(truth.trace()), rel=1e-9)
    assert torch.linalg.norm(truth - ekfac) <= torch.linalg.norm(truth - kfac) + 1e-12
    assert ekfac.trace() > 0


def test_layer_norm_is_exact():
    """With one column only, the covariance of the gradients is the whole block."""
    x, y = numbers(9, 4), torch.arange(9) % 4
    found, truth = approximated(curvature_of(seeded(nn.LayerNorm(4)), CE, x, y))
    torch.testing.assert_close(found, truth, rtol=1e-9, atol=1e-11)


def test_unsupported_layers_are_refused_or_left_out():
    x, y = classes(12)
    model = seeded(nn.Linear(3, 4), nn.PReLU(), nn.Linear(4, 3))
    curvature = DampedOperator(curvature_of(model, CE, x, y), 0.1)
    with pytest.raises(ModelError, match=r"'1\.weight': module '1' is a PReLU"):
        EkfacApproximator().init(curvature)
    ekfac = EkfacApproximator(unsupported="leave-out")
    with pytest.warns(DvlWarning, match=r"3\.12 % .* '1\.weight'"):
        state = ekfac.init(curvature)
    assert state.details["left_out_share"] == pytest.approx(1 / 32)
    assert list(state.details["left_out"]) == ["1.weight"]
    value = ekfac.solve(state, torch.ones(1, 32, dtype=torch.float64)).value
    where = curvature.undamped.objective.positions(["1.weight"])
    assert not value[0, where].any()
    assert (value != 0).sum() == 31


def test_0_12_damping_neither_adds_up_nor_is_that_of_the_first_layer():
    """Peers 0.12: sweeps there and back give equal bits; each layer may have its own."""
    model, loss, x, y = net_problem("ce")
    curvature = curvature_of(model, loss, x, y)
    ekfac = EkfacApproximator(damping="per-layer")
    state = ekfac.init(DampedOperator(curvature, 0.1))
    rhs = numbers(2, curvature.size)
    first = ekfac.solve(state, rhs).value
    other = ekfac.with_damping(state, 3.0)
    back = ekfac.with_damping(other, 0.1)
    assert torch.equal(ekfac.solve(state, rhs).value, first)
    assert torch.equal(ekfac.solve(back, rhs).value, first)
    assert not torch.allclose(ekfac.solve(other, rhs).value, first)
    fresh = ekfac.solve(ekfac.init(DampedOperator(curvature, 3.0)), rhs).value
    assert torch.equal(ekfac.solve(other, rhs).value, fresh)
    means = {name: float(own.values.mean()) for name, own in state.eigen.items()}
    total = sum(own.values.sum() for own in state.eigen.values()) / curvature.size
    for name, mean in means.items():
        assert state.damping[name] == pytest.approx(0.1 * mean / float(total))
    auto = ekfac.auto_damping(curvature)
    assert auto == pytest.approx(0.1 * float(total))


def test_a_layer_without_any_curvature():
    """Dead units: refused without regularization, finite with it."""
    model = seeded(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 3))
    with torch.no_grad():
        model[0].bias -= 100
    x, y = classes(8)
    curvature = curvature_of(model, CE, x, y)
    with pytest.raises(IndefiniteCurvatureError, match="'0' is singular"):
        EkfacApproximator().init(curvature)
    for damping in ("global", "per-layer"):
        ekfac = EkfacApproximator(damping=damping)
        state = ekfac.init(DampedOperator(curvature, 0.1))
        value = ekfac.solve(state, torch.ones(1, curvature.size, dtype=torch.float64)).value
        assert torch.isfinite(value).all()


def test_bad_input_is_refused():
    x, y = numbers(6, 3), numbers(6, 2)

    def bent(out, target):
        return torch.cos(out - target).mean()

    with pytest.raises(IndefiniteCurvatureError, match="not convex"):
        EkfacApproximator().init(curvature_of(seeded(nn.Linear(3, 2)), bent, x, y))
    with pytest.raises(InvalidOptionError, match="bare linear operator"):
        EkfacApproximator().init(MatrixOperator(np.eye(3)))
    for wrong in (
        {"factors": "lfac"},
        {"fisher": "true"},
        {"n_samples": 0},
        {"unsupported": "ignore"},
        {"damping": "none"},
        {"sampler": len},
    ):
        with pytest.raises(InvalidOptionError, match=next(iter(wrong))):
            EkfacApproximator(**wrong)


def test_it_can_be_pickled_and_shown():
    ekfac = EkfacApproximator(factors="kfac")
    ekfac.auto_damping(EkfacApproximator.example_curvature().undamped)
    assert repr(pickled_copy(ekfac)) == "EkfacApproximator(factors='kfac')"
