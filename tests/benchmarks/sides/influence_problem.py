"""Shared by the sides on influence: the net of a problem, its data, and how they come and go.

Runs in the environment of each side, so it needs numpy and torch alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sides.common import Arrays, Prepared

BATCH_SIZE = 256
cross_entropy = nn.functional.cross_entropy


class Problem(NamedTuple):
    """A trained net, training and test points, and what is added to the curvature."""

    model: nn.Module
    x: torch.Tensor
    y: torch.Tensor
    x_test: torch.Tensor
    y_test: torch.Tensor
    regularization: float

    def in_precision(self, dtype: torch.dtype) -> Problem:
        """Return the same problem with its net and its points in another precision."""
        model = self.model.to(dtype)
        return self._replace(model=model, x=self.x.to(dtype), x_test=self.x_test.to(dtype))

    @property
    def loader(self) -> DataLoader[Any]:
        """The training points in batches."""
        return DataLoader(TensorDataset(self.x, self.y), batch_size=BATCH_SIZE)


def net(sizes: list[int]) -> nn.Sequential:
    """Return linear layers with tanh between them; one layer alone is softmax regression."""
    layers: list[nn.Module] = []
    for d_in, d_out in itertools.pairwise(sizes):
        layers += [nn.Linear(d_in, d_out), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def problem_of(arrays: Arrays) -> Problem:
    """Return the problem that arrays describe, in the precision of `x`."""
    x, x_test = torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["x_test"])
    model = net(arrays["sizes"].tolist()).to(x.dtype)
    weights = torch.from_numpy(arrays["weights"]).to(x.dtype)
    nn.utils.vector_to_parameters(weights, model.parameters())
    y, y_test = torch.from_numpy(arrays["y"]), torch.from_numpy(arrays["y_test"])
    return Problem(model.eval(), x, y, x_test, y_test, float(arrays["regularization"]))


def scores_by(
    method: Callable[[Problem], Callable[[], Any]],
) -> Callable[[Arrays], Prepared]:
    """Return how a side prepares to compute all scores [n_test, n_train] of a problem."""

    def prepare(arrays: Arrays) -> Prepared:
        return Prepared(method(problem_of(arrays)), scores_only)

    return prepare


def scores_only(scores: Any) -> dict[str, NDArray[Any]]:
    """Return scores as an array."""
    return {"scores": np.asarray(scores.detach() if torch.is_tensor(scores) else scores)}
