"""What cannot be computed is refused in a sentence that says why and what to do."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from dvl_core.errors import DataError, InvalidOptionError
from dvl_influence import InfluenceModel
from dvl_influence.errors import IndefiniteCurvatureError, ModelError
from dvl_influence.testing import DenseInverse, batches, classes, mlp


def fit(model, pairs, loss=cross_entropy, **options) -> InfluenceModel:
    options = {"regularization": 1.0, **options}
    return InfluenceModel(model, loss, DenseInverse(), **options).fit(pairs)


def test_an_empty_loader() -> None:
    with pytest.raises(DataError, match="training data are empty"):
        fit(mlp(), [])


def test_a_loader_that_can_be_read_once() -> None:
    with pytest.raises(DataError, match="once only"):
        fit(mlp(), iter([classes(3)]))


def test_data_without_batches() -> None:
    with pytest.raises(DataError, match="DataLoader"):
        fit(mlp(), 3)


def test_batches_that_are_no_pairs() -> None:
    x, y = classes(3)
    with pytest.raises(DataError, match="adapter"):
        fit(mlp(), [{"x": x, "y": y}])
    with pytest.raises(DataError, match="adapter must return"):
        fit(mlp(), [{"x": x, "y": y}], adapter=lambda batch: batch["x"])


def test_a_batch_that_holds_text() -> None:
    with pytest.raises(DataError, match="holds a str"):
        fit(mlp(), [(["a", "b"], torch.tensor([0, 1]))])


def test_lengths_that_differ() -> None:
    x, y = classes(5)
    with pytest.raises(DataError, match="5 points, but y has 4"):
        fit(mlp(), [(x, y[:4])])
    influence = fit(mlp(), [(x, y)])
    with pytest.raises(DataError, match="5 points, but y has 4"):
        influence.influences(x, y[:4], x, y)


def test_a_point_without_an_axis_of_points() -> None:
    x, y = classes(5)
    with pytest.raises(DataError, match="unsqueeze"):
        fit(mlp(), [(x, y[0])])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite(bad) -> None:
    x, y = classes(5)
    influence = fit(mlp(), [(x, y)])
    broken = x.clone()
    broken[2, 1] = bad
    with pytest.raises(DataError, match="x of the training data holds NaN or infinity"):
        fit(mlp(), [(broken, y)])
    with pytest.raises(DataError, match="x of the test points holds NaN or infinity"):
        influence.influences(broken, y)
    model = mlp()
    with torch.no_grad():
        model[0].weight[0, 0] = bad
    with pytest.raises(ModelError, match=r"0\.weight"):
        fit(model, [(x, y)])


def test_another_number_of_points_in_the_second_pass() -> None:
    class Shrinking:
        def __init__(self) -> None:
            self.left = 4

        def __iter__(self):
            self.left -= 1
            return iter([classes(5)] * self.left)

    from dvl_influence.data import Points

    points = Points(Shrinking(), torch.device("cpu"), torch.float64, memory_budget=0)
    assert not points.in_memory
    with pytest.raises(DataError, match="15 points at first and 10 now"):
        list(points)


def test_a_model_on_another_device() -> None:
    # The meta device stands for any other; its parameters are not looked into.
    x, y = classes(5)
    with pytest.raises(DataError, match="meta"):
        fit(mlp(), [(x.to("meta"), y)])
    model = mlp()
    model[2].to("meta")
    with pytest.raises(ModelError, match="several devices"):
        fit(model, [(x, y)])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype) -> None:
    x, y = classes(5)
    with pytest.raises(ModelError, match="half precision"):
        fit(mlp().to(dtype), [(x, y)])
    scores = fit(mlp().to(dtype), [(x, y)], dtype=torch.float32).influences(x, y)
    assert scores.dtype == torch.float32
    with pytest.raises(InvalidOptionError, match=r"float32 or torch\.float64"):
        fit(mlp(), [(x, y)], dtype=torch.float16)


def test_data_are_brought_to_the_precision_of_the_model() -> None:
    x, y = classes(5)
    assert torch.allclose(
        fit(mlp(), [(x.float(), y)]).influences(x, y),
        fit(mlp(), [(x, y)]).influences(x, y),
        rtol=1e-3,
    )


def test_a_loss_that_is_a_sum() -> None:
    with pytest.raises(ModelError, match="sum over the points"):
        fit(mlp(), [classes(5)], nn.CrossEntropyLoss(reduction="sum"))


def test_a_loss_of_each_point() -> None:
    with pytest.raises(ModelError, match=r"not \(5,\)"):
        fit(mlp(), [classes(5)], nn.CrossEntropyLoss(reduction="none"))


def test_a_loss_with_class_weights() -> None:
    weighted = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 25.0], dtype=torch.float64))
    with pytest.raises(ModelError, match="class weights"):
        fit(mlp(), [classes(8)], weighted)


def test_a_loss_that_is_not_finite() -> None:
    x, y = classes(5)
    with pytest.raises(ModelError, match="nan"):
        fit(mlp(), [(x, y)], lambda output, target: output.mean() * float("nan"))


def test_everything_frozen() -> None:
    with pytest.raises(ModelError, match="requires gradients"):
        fit(mlp().requires_grad_(False), [classes(5)])


@pytest.mark.parametrize("module", [nn.BatchNorm1d(3), nn.Dropout(0.5)])
def test_modules_in_train_mode(module) -> None:
    model = nn.Sequential(module, mlp()).double()
    with pytest.raises(ModelError, match=r"model\.eval\(\)"):
        fit(model, [classes(5)])
    x, y = classes(5)
    assert fit(model.eval(), [(x, y)]).influences(x, y).shape == (5, 5)


def test_modules_that_work_in_place() -> None:
    x, y = classes(5)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 3)).double()
    plain = nn.Sequential(model[0], nn.ReLU(), model[2])
    assert torch.allclose(
        fit(model, [(x, y)]).influences(x, y), fit(plain, [(x, y)]).influences(x, y)
    )


def test_a_model_that_cannot_be_differentiated_is_named_with_what_was_tried() -> None:
    class Decides(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = mlp()

        def forward(self, x):
            out = self.inner(x)
            return out if len(out) > 1 or out.sum().item() > 1e9 else 1.0 * out

    x, y = classes(5)
    influence = fit(Decides(), [(x, y)])
    with pytest.raises(ModelError, match="gradient of single points failed: RuntimeError"):
        influence.influences(x, y)


def test_a_flat_loss_has_no_automatic_regularization() -> None:
    x, y = classes(5)
    with pytest.raises(IndefiniteCurvatureError, match="give a number"):
        fit(mlp(), [(x, y)], lambda output, target: 0.0 * output.mean(), regularization="auto")


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ("rows", "'rows'"),
        ({}, "'full', 'layer'"),
        ({"a": []}, "not empty"),
        ({"a": "0.weight"}, "list"),
        ({"a": ["9.weight"]}, r"9\.weight"),
        ({"a": ["0.weight"], "b": ["0.weight"]}, "overlap"),
    ],
)
def test_blocks_that_are_none(blocks, message) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        fit(mlp(), [classes(5)], blocks=blocks)


def test_an_unknown_mode() -> None:
    x, y = classes(5)
    with pytest.raises(InvalidOptionError, match="'perturbation'"):
        fit(mlp(), [(x, y)]).influences(x, y, mode="down")


def test_perturbed_tokens() -> None:
    model = nn.Sequential(nn.Embedding(5, 2), nn.Flatten(), nn.Linear(4, 2)).double()
    x, y = torch.randint(0, 5, (6, 2)), torch.randint(0, 2, (6,))
    influence = fit(model, [(x, y)])
    with pytest.raises(DataError, match="embeddings"):
        influence.influences(x, y, mode="perturbation")


def test_a_gradient_that_is_not_finite() -> None:
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.zeros_(model.weight)
    x, y = torch.ones(3, 1).double(), torch.zeros(3, 1).double()
    influence = fit(model, [(x, y)], mse_loss)
    influence.objective.loss = lambda output, target: output.abs().sqrt().mean()
    with pytest.raises(DataError, match="NaN or infinite"):
        influence.influences(x, y)


def test_zero_test_gradients_have_zero_scores() -> None:
    model = nn.Linear(3, 1).double()
    x = torch.randn(6, 3, dtype=torch.float64)
    y = model(x).detach()
    scores = fit(model, batches(x, y, 4), mse_loss).influences(x, y, x, y + 1)
    assert torch.equal(scores, torch.zeros(6, 6, dtype=torch.float64))
