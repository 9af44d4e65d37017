from __future__ import annotations

import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from dvl_core.errors import DataError, InvalidOptionError, NotFittedError
from dvl_influence import InfluenceModel
from dvl_influence.testing import DenseInverse, batches, classes, half_squares, mlp, ridge

DECAY = 0.1


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-9, atol=1e-11)


def fitted(model, loss, pairs, **options) -> InfluenceModel:
    return InfluenceModel(model, loss, DenseInverse(), **{"regularization": DECAY, **options}).fit(
        pairs
    )


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), n=st.integers(2, 20), size=st.integers(1, 21))
def test_ridge_scores_are_the_closed_form(seed, n, size) -> None:
    model, x, y, hessian = ridge(n, 3, DECAY, seed)
    influence = fitted(model, half_squares, batches(x, y, size))
    gradients = (model(x) - y).detach() * x
    exact = gradients @ torch.linalg.solve(hessian, gradients.T)
    assert close(influence.influences(x, y), exact)
    assert close(influence.influences(x[:1], y[:1], x, y), exact[:1])
    assert close(influence.self_influences(batches(x, y, 4)), exact.diagonal())
    means = influence.mean_influences(batches(x, y, 3), batches(x, y, 5))
    assert close(means, exact.mean(dim=0))


def test_the_sign_and_the_unit_are_those_of_removal() -> None:
    # Removing i changes L_q by about + s / n: positive scores are of points that help.
    n = 2000
    model, x, y, hessian = ridge(n, 3, DECAY)
    influence = fitted(model, half_squares, [(x, y)])
    scores = influence.influences(x[:5], y[:5], x, y)
    for i in (0, 7, 100):
        # Weights stay 1 / n.
        left = hessian - torch.outer(x[i], x[i]) / n
        weight = torch.linalg.solve(left, (x.T @ y)[:, 0] / n - x[i] * y[i] / n)
        change = ((x[:5] @ weight - y[:5, 0]) ** 2 - (model(x[:5]) - y[:5])[:, 0] ** 2) / 2
        assert torch.allclose(change.detach(), scores[:, i] / n, rtol=2e-2, atol=1e-8)


def test_at_the_optimum_scores_add_up_to_the_pull_of_the_penalty() -> None:
    model, x, y, _ = ridge(25, 3, DECAY)
    influence = fitted(model, half_squares, batches(x, y, 10))
    factors = influence.influence_factors(x, y)
    total = influence.influences(x, y).sum(dim=1)
    assert close(total, -25 * DECAY * factors @ model.weight.detach()[0])


def test_scores_of_a_net_are_those_of_dense_algebra() -> None:
    model, (x, y) = mlp(), classes(20)
    influence = fitted(model, cross_entropy, batches(x, y, 6), regularization=1.0)
    objective = influence.objective

    def losses(vector):
        return nn.functional.cross_entropy(objective.output(vector, x), y, reduction="none")

    gradients = torch.func.jacrev(losses)(objective.vector)
    hessian = torch.func.hessian(lambda v: losses(v).mean())(objective.vector)
    exact = gradients @ torch.linalg.solve(hessian + torch.eye(len(hessian)), gradients.T)
    assert close(influence.influences(x, y), exact)
    assert close(exact, influence.influences(x, y).T)


def test_duplicated_data_leave_scores_as_they_are() -> None:
    model, (x, y) = mlp(), classes(12)
    once = fitted(model, cross_entropy, [(x, y)], regularization=1.0)
    twice = fitted(model, cross_entropy, [(x, y), (x, y)], regularization=1.0)
    assert close(once.influences(x, y), twice.influences(x, y))
    assert (once.n_train, twice.n_train) == (12, 24)


def test_a_loss_of_twice_the_scale_has_scores_of_twice_the_scale() -> None:
    model, (x, y) = mlp(), classes(12)
    one = fitted(model, cross_entropy, [(x, y)], regularization=1.0)
    two = fitted(model, lambda o, t: 2 * cross_entropy(o, t), [(x, y)], regularization=2.0)
    assert close(2 * one.influences(x, y), two.influences(x, y))


def test_perturbation_is_the_gradient_of_the_scores_by_the_inputs() -> None:
    model, (x, y) = mlp(), classes(6)
    influence = fitted(model, cross_entropy, [(x, y)], regularization=1.0)
    factors = influence.influence_factors(x[:2], y[:2])
    found = influence.influences_from_factors(factors, x, y, mode="perturbation")
    assert found.shape == (2, 6, 3)
    step = 1e-6
    for feature in range(3):
        shift = torch.zeros(3, dtype=torch.float64)
        shift[feature] = step
        up = influence.influences_from_factors(factors, x + shift, y)
        down = influence.influences_from_factors(factors, x - shift, y)
        assert torch.allclose(found[:, :, feature], (up - down) / (2 * step), atol=1e-6)
    assert close(found, influence.influences(x[:2], y[:2], x, y, mode="perturbation"))


@pytest.mark.parametrize("blocks", ["layer", "parameter", {"a": ["0.weight"], "b": ["2.bias"]}])
def test_blocks_are_inverted_one_by_one(blocks) -> None:
    model, (x, y) = mlp(), classes(15)
    full = fitted(model, cross_entropy, [(x, y)], regularization=1.0)
    influence = fitted(model, cross_entropy, batches(x, y, 4), regularization=1.0, blocks=blocks)
    parts = influence.influences_by_block(x[:3], y[:3], x, y)
    assert close(sum(parts.values()), influence.influences(x[:3], y[:3], x, y))
    gradients = full.objective
    for name, block in influence.fitted.items():
        members = [n for n in influence.objective.names if name in n or name in ("a", "b")]
        members = {"a": ["0.weight"], "b": ["2.bias"]}.get(name, members)
        where = gradients.positions(members)
        operator = next(iter(full.fitted.values())).operator
        matrix = operator.dense()[where][:, where]
        rows = torch.stack(
            [
                torch.func.grad(gradients.point_loss)(gradients.vector, x[i], y[i])[where]
                for i in range(15)
            ]
        )
        assert close(parts[name], rows[:3] @ torch.linalg.solve(matrix, rows.T)), name
        assert len(block.positions) == len(where)


def test_b5_each_block_has_its_own_regularization() -> None:
    model, (x, y) = mlp(), classes(15)
    given_ = {"0": 0.5, "2": 2.0}
    influence = fitted(model, cross_entropy, [(x, y)], regularization=given_, blocks="layer")
    told = influence.report["blocks"]
    assert {name: told[name]["regularization"] for name in told} == given_
    alone = fitted(
        model, cross_entropy, [(x, y)], regularization=0.5, blocks={"only": ["0.weight", "0.bias"]}
    )
    parts = influence.influences_by_block(x, y)
    assert close(parts["0"], alone.influences(x, y))


@pytest.mark.parametrize(
    ("regularization", "message"),
    [
        (-1.0, "-1.0"),
        (float("nan"), "nan"),
        (True, "True"),
        ("some", "'some'"),
        ({"0": 1.0}, "'2' has none"),
        ({"0": 1.0, "2": 1.0, "3": 1.0}, "'3' is no block"),
    ],
)
def test_b5_wrong_regularization_is_refused(regularization, message) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        fitted(mlp(), cross_entropy, [classes(5)], regularization=regularization, blocks="layer")


def test_b24_another_regularization_is_another_fit() -> None:
    model, (x, y) = mlp(), classes(15)
    one = fitted(model, cross_entropy, [(x, y)], regularization=1.0)
    two = one.with_regularization(3.0)
    fresh = fitted(model, cross_entropy, [(x, y)], regularization=3.0)
    assert close(two.influences(x, y), fresh.influences(x, y))
    assert two.report["blocks"]["full"]["regularization"] == 3.0
    assert one.report["blocks"]["full"]["regularization"] == 1.0


def test_automatic_regularization_makes_a_hessian_positive_definite_and_is_told() -> None:
    model, (x, y) = mlp(3, hidden=8), classes(30)
    influence = fitted(model, cross_entropy, [(x, y)], regularization="auto")
    told = influence.report["blocks"]["full"]
    eigenvalues = torch.linalg.eigvalsh(next(iter(influence.fitted.values())).operator.dense())
    assert eigenvalues[0] > 0
    assert told["regularization_reason"].startswith("auto: ")
    assert 0 < told["regularization"] < 5


def test_frozen_parameters_take_no_part() -> None:
    model, (x, y) = mlp(), classes(15)
    model[0].requires_grad_(False)
    influence = fitted(model, cross_entropy, [(x, y)])
    assert influence.objective.names == ("2.weight", "2.bias")
    assert influence.influence_factors(x, y).shape == (15, 15)


def test_double_precision_on_request_for_a_float_model() -> None:
    model, (x, y) = mlp(), classes(15)
    single = InfluenceModel(
        model.float(), cross_entropy, DenseInverse(), regularization=1.0, dtype=torch.float64
    ).fit([(x.float(), y)])
    assert single.influences(x, y).dtype == torch.float64
    assert next(model.parameters()).dtype == torch.float32


def test_the_model_comes_back_as_it_was() -> None:
    model, (x, y) = mlp().train(), classes(15)
    model[0].weight.grad = torch.ones_like(model[0].weight)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    influence = fitted(model, cross_entropy, batches(x, y, 4))
    influence.influences(x, y)
    influence.influences(x, y, mode="perturbation")
    assert model.training
    assert all(module.training for module in model.modules())
    assert torch.equal(model[0].weight.grad, torch.ones_like(model[0].weight))
    assert model[2].weight.grad is None
    assert not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(before[name], now) for name, now in model.state_dict().items())


def test_a_fit_keeps_the_parameters_it_was_made_with() -> None:
    model, (x, y) = mlp(), classes(15)
    influence = fitted(model, cross_entropy, [(x, y)])
    before = influence.influences(x, y)
    with torch.no_grad():
        model[0].weight.zero_()
    assert torch.equal(before, influence.influences(x, y))


def test_it_travels_to_other_processes() -> None:
    model, (x, y) = mlp(), classes(15)
    influence = fitted(model, cross_entropy, batches(x, y, 4))
    again = pickle.loads(pickle.dumps(influence))  # noqa: S301
    assert torch.equal(influence.influences(x, y), again.influences(x, y))


def test_before_fit_there_is_nothing() -> None:
    with pytest.raises(NotFittedError, match="fit"):
        InfluenceModel(mlp(), cross_entropy, DenseInverse()).influences(*classes(3))


def test_0_1_as_many_test_points_as_there_are_and_more_than_parameters() -> None:
    model, x, y, _ = ridge(30, 2, DECAY)
    scores = fitted(model, half_squares, [(x, y)]).influences(x, y)
    assert scores.shape == (30, 30)
    assert (scores.abs().amax(dim=1) > 0).all()


def test_saved_state_is_the_same_model(tmp_path) -> None:
    model, (x, y) = mlp(), classes(15)
    influence = fitted(model, cross_entropy, batches(x, y, 4), blocks="layer")
    influence.save(tmp_path / "state")
    again = InfluenceModel(model, cross_entropy, DenseInverse(), blocks="layer")
    with pytest.raises(NotFittedError, match="train_loader"):
        again.load(tmp_path / "state")
    again.load(tmp_path / "state", batches(x, y, 4))
    assert torch.equal(influence.influences(x, y), again.influences(x, y))
    assert again.report == influence.report


def test_a_state_of_another_model_is_refused(tmp_path) -> None:
    model, (x, y) = mlp(), classes(15)
    fitted(model, cross_entropy, [(x, y)]).save(tmp_path)
    with pytest.raises(DataError, match="another parameter digest"):
        InfluenceModel(mlp(1), cross_entropy, DenseInverse()).load(tmp_path, [(x, y)])
    with pytest.raises(DataError, match="another curvature"):
        InfluenceModel(model, cross_entropy, DenseInverse(), curvature="ggn").load(
            tmp_path, [(x, y)]
        )
    with pytest.raises(DataError, match="15 training points"):
        InfluenceModel(model, cross_entropy, DenseInverse()).load(tmp_path, [(x[:3], y[:3])])
    with pytest.raises(DataError, match="others"):
        InfluenceModel(model, cross_entropy, DenseInverse()).load(tmp_path, [(-x, y)])


@pytest.mark.parametrize("file", ["state.json", "state.safetensors"])
def test_a_damaged_state_is_named(tmp_path, file) -> None:
    model, (x, y) = mlp(), classes(15)
    fitted(model, cross_entropy, [(x, y)]).save(tmp_path)
    (tmp_path / file).write_bytes(b"\x80\x04K.")
    with pytest.raises(DataError, match="damaged"):
        InfluenceModel(model, cross_entropy, DenseInverse()).load(tmp_path, [(x, y)])
    (tmp_path / file).unlink()
    with pytest.raises(DataError, match=r"no saved influence model|damaged"):
        InfluenceModel(model, cross_entropy, DenseInverse()).load(tmp_path, [(x, y)])


def test_a_mean_squared_error_counts_outputs_too() -> None:
    # torch's mse_loss is the mean over points and outputs: its scores have half the scale for two.
    x, y = torch.randn(9, 2).double(), torch.randn(9, 2).double()
    model = nn.Linear(2, 2).double()
    influence = fitted(model, mse_loss, [(x, y)], regularization=0.0)
    summed = fitted(model, lambda o, t: ((o - t) ** 2).sum(1).mean(), [(x, y)], regularization=0.0)
    assert close(2 * influence.influences(x, y), summed.influences(x, y))


@pytest.mark.parametrize("curvature", ["fisher", "Hessian"])
def test_an_unknown_curvature_is_refused(curvature) -> None:
    with pytest.raises(InvalidOptionError, match=curvature):
        InfluenceModel(mlp(), cross_entropy, DenseInverse(), curvature=curvature)


def test_a_model_can_be_sent_away_while_it_runs() -> None:
    # Dask does so from another thread; here the model itself is the one who looks.
    original, sent = [], []

    class Looking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = mlp()

        def forward(self, x):
            sent.append(pickle.dumps(original[0].inner))
            return self.inner(x)

    model, (x, y) = Looking(), classes(15)
    original.append(model)
    fitted(model, cross_entropy, [(x, y)], regularization=1.0).influences(x, y)
    for text in sent:
        received = pickle.loads(text).state_dict()  # noqa: S301
        assert all(torch.equal(received[k], v) for k, v in model.inner.state_dict().items())
