"""DataInf from inner products of gradients, of which those of layers need no gradients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from dvl_influence.data import Batch
from dvl_influence.errors import ModelError
from dvl_influence.fitting import FittedBlock
from dvl_influence.gradient_rows import PointGradients
from dvl_influence.layer_factors import DenseFactors, LayerFactors, gram
from dvl_influence.layers import Layers, find_layers, layer_factors
from dvl_influence.trees import rows

__all__ = ["LayerProducts", "layer_products"]

Factors = Mapping[str, LayerFactors]

FORMING = 30
"""Multiplications that take as long as an entry of the gradient of a point, measured."""


@dataclass(frozen=True)
class LayerProducts:
    """Scores from inner products k of gradients that factorise by layer.

    ``s[q, i] = sum_b 1/lambda_b [k_qi - 1/n sum_j k_qj k_ji / (lambda_b + k_jj)]`` over blocks b,
    with j the n training points of the fit: what `mean_of_inverses` gives, in another order of
    summation.

    Parameters
    ----------
    layers : Layers
        The layers of the model.
    blocks : dict of sequence of str
        Names of the layers of each block.
    dampings : dict of float
        lambda of each block.
    gradients : PointGradients
        Those of the fit, which are not computed.
    work : int
        Multiplications for the inner product of two gradients.
    """

    layers: Layers
    blocks: Mapping[str, Sequence[str]]
    dampings: Mapping[str, float]
    gradients: PointGradients
    work: int

    def pays(self, n_test: int, n_train: int) -> bool:
        """Return whether this takes fewer multiplications, and the factors of points fit."""
        n, p = self.gradients.n_points, self.gradients.objective.size
        each = self.layers.numbers_per_point * self.gradients.objective.vector.element_size()
        if (n_test + n_train) * each > self.gradients.memory_budget:
            return False
        products = self.work * (n_test * n_train + n * (n_test + n_train))
        sums = len(self.blocks) * n * n_test * n_train
        formed = FORMING * p * (n + n_test + n_train)
        return products + sums < formed + p * n_test * (2 * n + n_train)

    def scores(self, test: Batch, train: Batch) -> torch.Tensor:
        """Return the scores [n_test, n_train]."""
        left, right = layer_factors(self.layers, test), layer_factors(self.layers, train)
        total = torch.zeros((), device=self.gradients.objective.device)
        for fitted in self._fitted():
            for name, damping in self.dampings.items():
                own = self._of(fitted, name)
                weights = gram(self._of(left, name), own) / (damping + _squares(own))
                total = total + weights @ gram(self._of(right, name), own).T / damping
        plain = sum(
            gram(self._of(left, name), self._of(right, name)) / damping
            for name, damping in self.dampings.items()
        )
        return plain - total / self.gradients.n_points

    def self_scores(self, batch: Batch) -> torch.Tensor:
        """Return the scores of points on themselves [b]."""
        points = layer_factors(self.layers, batch)
        total = torch.zeros((), device=self.gradients.objective.device)
        for fitted in self._fitted():
            for name, damping in self.dampings.items():
                own = self._of(fitted, name)
                products = gram(self._of(points, name), own)
                total = total + (products**2 / (damping + _squares(own))).sum(dim=1) / damping
        plain = sum(
            _squares(self._of(points, name)) / damping for name, damping in self.dampings.items()
        )
        return plain - total / self.gradients.n_points

    def _fitted(self) -> Iterator[Factors]:
        """Yield the factors of the training points of the fit."""
        for batch in self.gradients.batches():
            for piece in self.layers.pieces(batch, self.gradients.memory_budget):
                yield layer_factors(self.layers, piece)

    def _of(self, factors: Factors, block: str) -> Factors:
        """Return the factors of the layers of a block."""
        return {name: factors[name] for name in self.blocks[block]}


def layer_products(blocks: Mapping[str, FittedBlock]) -> LayerProducts | None:
    """Return scores from inner products; None unless every block consists of whole layers.

    Parameters
    ----------
    blocks : dict of FittedBlock
        Of a fitted `DataInfInfluence`.
    """
    gradients: PointGradients = next(iter(blocks.values())).state.gradients.whole
    batch = next(iter(gradients.points))
    try:
        layers = find_layers(gradients.objective, batch)
    except ModelError:
        return None
    members = {}
    for name, block in blocks.items():
        names = set(block.state.gradients.objective.names)
        inside = [layer for layer in layers.layers if names.issuperset(layer.names)]
        if sum(layer.size for layer in inside) < len(block.positions):
            return None
        members[name] = [layer.name for layer in inside]
    dampings = {name: block.damping.value for name, block in blocks.items()}
    one = layer_factors(layers, Batch(*(rows(tree, slice(0, 1)) for tree in batch)))
    return LayerProducts(layers, members, dampings, gradients, sum(map(_work, one.values())))


def _work(factors: LayerFactors) -> int:
    """Return the multiplications for an inner product of two gradients by a layer."""
    d_out, d_in = factors.shape
    return min(factors.positions**2 * (d_out + d_in), d_out * d_in)


def _squares(factors: Factors) -> torch.Tensor:
    """Return the squared norms of the gradients [b]."""
    total = torch.zeros(())
    for own in factors.values():
        if isinstance(own, DenseFactors):
            inputs = own.a @ own.a.transpose(1, 2)
        else:
            inputs = own.index[:, :, None] == own.index[:, None, :]
        outputs = own.delta @ own.delta.transpose(1, 2)
        total = total.to(outputs) + (inputs * outputs).sum(dim=(1, 2))
    return total
