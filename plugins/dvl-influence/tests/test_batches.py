"""Batches beyond pairs of tensors: dictionaries, tuples, masks, models that take keywords."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from dvl_influence import InfluenceModel
from dvl_influence.data import Points
from dvl_influence.testing import DenseInverse, batches, classes, mlp

KINDS = ["hessian", "ggn", "empirical-fisher"]


class TinyTransformer(nn.Module):
    """Classify sequences of tokens; takes keywords, as Hugging Face's models do."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 4)
        layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, dropout=0.1)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(4, 2)

    def forward(self, input_ids, attention_mask=None):
        padding = None if attention_mask is None else attention_mask == 0
        hidden = self.encoder(self.embedding(input_ids), src_key_padding_mask=padding)
        if attention_mask is None:
            return self.head(hidden.mean(dim=1))
        weight = attention_mask.unsqueeze(-1).to(hidden.dtype)
        return self.head((hidden * weight).sum(dim=1) / weight.sum(dim=1))


def transformer() -> nn.Module:
    torch.manual_seed(0)
    return TinyTransformer().double().eval()


def sequences(n: int = 7):
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, 11, (n, 5), generator=generator)
    mask = (torch.arange(5) < torch.randint(2, 6, (n, 1), generator=generator)).long()
    return tokens * mask, mask, torch.randint(0, 2, (n,), generator=generator)


def adapter(batch):
    inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    return inputs, batch["labels"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_transformer_that_takes_keywords_and_masks(kind) -> None:
    tokens, mask, labels = sequences()
    batch = {"input_ids": tokens, "attention_mask": mask, "labels": labels}
    halves = [
        {key: value[part] for key, value in batch.items()} for part in (slice(4), slice(4, 7))
    ]
    model = transformer()
    influence = InfluenceModel(
        model, cross_entropy, DenseInverse(), regularization=1.0, adapter=adapter, curvature=kind
    ).fit(halves)
    x = {"input_ids": tokens, "attention_mask": mask}
    scores = influence.influences(x, labels)
    assert scores.shape == (7, 7)
    assert torch.allclose(influence.self_influences(halves), scores.diagonal())

    # What is masked does not count: other tokens there leave every score as it is.
    other = {"input_ids": tokens + 3 * (1 - mask), "attention_mask": mask}
    assert torch.allclose(influence.influences(other, labels), scores)

    # The same by finite differences of the loss along the factors.
    factor = influence.influence_factors(x, labels)[0]
    objective = influence.objective
    step = 1e-5
    up, down = (
        torch.stack(
            [
                objective.point_loss(
                    objective.vector + sign * step * factor,
                    {key: value[i] for key, value in x.items()},
                    labels[i],
                )
                for i in range(7)
            ]
        )
        for sign in (1, -1)
    )
    assert torch.allclose((up - down) / (2 * step), scores[0], atol=1e-6)


def test_a_tuple_is_given_as_arguments() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = mlp(d=5)

        def forward(self, first, second):
            return self.inner(torch.cat([first, second], dim=1))

    x, y = classes(9, d=5)
    model = Two()
    joined = InfluenceModel(model.inner, cross_entropy, DenseInverse(), regularization=1.0)
    parts = InfluenceModel(
        model,
        cross_entropy,
        DenseInverse(),
        regularization=1.0,
        adapter=lambda batch: ((batch[0], batch[1]), batch[2]),
    ).fit([(x[:, :2], x[:, 2:], y)])
    pair = (x[:, :2], x[:, 2:])
    assert torch.allclose(joined.fit([(x, y)]).influences(x, y), parts.influences(pair, y))


def test_a_shuffled_loader_changes_nothing_but_rounding() -> None:
    x, y = classes(23)
    model = mlp()
    loader = DataLoader(TensorDataset(x, y), batch_size=5, shuffle=True)
    one, two = (
        InfluenceModel(model, cross_entropy, DenseInverse(), regularization=1.0).fit(pairs)
        for pairs in (loader, batches(x, y, 23))
    )
    assert torch.allclose(one.influences(x, y), two.influences(x, y), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("budget", [0, 2**30])
def test_data_that_do_not_fit_are_read_again(budget) -> None:
    x, y = classes(23)
    loader = DataLoader(TensorDataset(x, y), batch_size=5)
    points = Points(loader, x.device, x.dtype, memory_budget=budget)
    assert points.in_memory is (budget > 0)
    for _ in range(2):
        assert torch.equal(torch.cat([batch.x for batch in points]), x)
    rng = np.random.default_rng(0)
    drawn = torch.cat([points.sample(rng, 4).x for _ in range(100)])
    rows = {tuple(row.tolist()) for row in drawn}
    assert rows == {tuple(row.tolist()) for row in x}


def test_points_have_one_digest_in_any_order_and_batches() -> None:
    x, y = classes(23)
    order = torch.randperm(23, generator=torch.Generator().manual_seed(0))

    def digest(pairs) -> str:
        return Points(pairs, x.device, x.dtype).digest

    one = digest(batches(x, y, 5))
    assert one == digest(batches(x[order], y[order], 23))
    assert one != digest(batches(x, y[order], 23))
    assert one != digest([*batches(x, y, 5), (x[:1], y[:1])])
