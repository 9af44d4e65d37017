"""The factors of each layer: eigenvectors of the covariances, and eigenvalues in their basis."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch

from dvl_ekfac.cotangents import Cotangents
from dvl_influence.data import Batch
from dvl_influence.errors import ModelError
from dvl_influence.layer_calls import Layer
from dvl_influence.layer_factors import IndexFactors, LayerFactors
from dvl_influence.layers import Layers, Tape
from dvl_influence.memory import DEFAULT_BUDGET, share

__all__ = ["LayerEigen", "factorised"]


@dataclass(frozen=True)
class LayerEigen:
    """The curvature of a layer, ``(Q_out x Q_in) diag(values) (Q_out x Q_in)^T``.

    Parameters
    ----------
    outputs : float tensor [d_out, d_out]
        Eigenvectors of the covariance of the gradients by the outputs, in columns.
    inputs : float tensor [d_in, d_in] or None
        Eigenvectors of the covariance of the inputs; None: the unit vectors, for embeddings.
    values : float tensor [d_out, d_in]
        Eigenvalues, at least 0.
    """

    outputs: torch.Tensor
    inputs: torch.Tensor | None
    values: torch.Tensor

    def divided(self, matrices: torch.Tensor, damping: float) -> torch.Tensor:
        """Return (curvature + damping)^-1 times matrices [m, d_out, d_in]."""
        values = self.values.to(matrices.dtype) + damping
        return self.back(self.rotated(matrices) / values)

    def rotated(self, matrices: torch.Tensor) -> torch.Tensor:
        """Return ``Q_out^T M Q_in`` for matrices [m, d_out, d_in]."""
        turned = self.outputs.to(matrices.dtype).T @ matrices
        return turned if self.inputs is None else turned @ self.inputs.to(matrices.dtype)

    def back(self, matrices: torch.Tensor) -> torch.Tensor:
        """Return ``Q_out M Q_in^T``, the inverse of `rotated`."""
        turned = self.outputs.to(matrices.dtype) @ matrices
        return turned if self.inputs is None else turned @ self.inputs.to(matrices.dtype).T


class _Covariances:
    """Sums of outer products of inputs and of gradients by outputs."""

    def __init__(self, layer: Layer, like: torch.Tensor) -> None:
        d_out, d_in = layer.shape
        self._table = layer.kind == "embedding"
        shape = (d_in,) if self._table else (d_in, d_in)
        self._inputs = torch.zeros(shape, dtype=torch.float64, device=like.device)
        self._outputs = torch.zeros(d_out, d_out, dtype=torch.float64, device=like.device)
        self._positions = 0

    def add_inputs(self, factors: LayerFactors) -> None:
        if isinstance(factors, IndexFactors):
            index = factors.index.flatten()
            self._inputs += torch.bincount(index, minlength=len(self._inputs))
        else:
            flat = factors.a.flatten(0, 1)
            self._inputs += flat.T @ flat
        self._positions += factors.n_points * factors.positions

    def add_outputs(self, factors: LayerFactors) -> None:
        flat = factors.delta.flatten(0, 1)
        self._outputs += flat.T @ flat

    def eigen(self, n_points: int, dtype: torch.dtype) -> LayerEigen:
        """Return the eigenvectors, with the products of the eigenvalues."""
        if not torch.isfinite(self._outputs).all() or not torch.isfinite(self._inputs).all():
            raise ModelError(
                "the inputs of a layer, or the gradients by its outputs, hold NaN or infinity at "
                "the training points"
            )
        of_outputs, outputs = _eigh(self._outputs / n_points)
        if self._table:
            of_inputs, inputs = self._inputs / self._positions, None
        else:
            of_inputs, inputs = _eigh(self._inputs / self._positions)
            inputs = inputs.to(dtype)
        values = torch.outer(of_outputs, of_inputs)
        return LayerEigen(outputs.to(dtype), inputs, values.to(dtype))


def factorised(
    layers: Layers,
    points: Iterable[Batch],
    cotangents: Cotangents,
    factors: Literal["ekfac", "kfac"],
    *,
    memory_budget: int = DEFAULT_BUDGET,
) -> dict[str, LayerEigen]:
    """Return the factorised curvature by layer; one pass over the points, two for EK-FAC.

    Parameters
    ----------
    layers : Layers
        Of the model.
    points : iterable of Batch
        Training points, gone through once or twice.
    cotangents : Cotangents
        What is propagated back.
    factors : str
        ``"kfac"``: eigenvalues are products of those of the covariances; ``"ekfac"``: they are the
        mean squares of the gradients in the basis.
    memory_budget : int
        Bytes.
    """
    like = layers.objective.vector
    sums = {layer.name: _Covariances(layer, like) for layer in layers.layers}
    count = 0
    for batch in points:
        for piece in layers.pieces(batch, memory_budget):
            count += piece.n_points
            tape = Tape(layers, piece.x, piece.n_points)
            for k, cotangent in enumerate(cotangents.of(tape.output, piece)):
                for name, own in tape.factors(tape.output, cotangent).items():
                    if k == 0:
                        sums[name].add_inputs(own)
                    sums[name].add_outputs(own)
    found = {name: own.eigen(count, like.dtype) for name, own in sums.items()}
    if factors == "kfac":
        return found
    squares = {
        name: torch.zeros_like(own.values, dtype=torch.float64) for name, own in found.items()
    }
    for batch in points:
        for piece in layers.pieces(batch, memory_budget):
            tape = Tape(layers, piece.x, piece.n_points)
            for cotangent in cotangents.of(tape.output, piece):
                for name, own in tape.factors(tape.output, cotangent).items():
                    squares[name] += _squares(own, found[name], memory_budget)
    return {
        name: LayerEigen(own.outputs, own.inputs, (squares[name] / count).to(like.dtype))
        for name, own in found.items()
    }


def _squares(factors: LayerFactors, basis: LayerEigen, memory_budget: int) -> torch.Tensor:
    """Return the sum over points of the squared gradients in a basis [d_out, d_in]."""
    delta = factors.delta @ basis.outputs
    if isinstance(factors, IndexFactors):
        return _table_squares(factors.index, delta, factors.d_in)
    assert basis.inputs is not None
    a = factors.a @ basis.inputs
    if factors.positions == 1:
        return delta[:, 0].square().T @ a[:, 0].square()
    total = torch.zeros_like(basis.values)
    step = share(memory_budget, 2 * delta.element_size() * total.numel())
    for start in range(0, len(a), step):
        part = slice(start, start + step)
        total += (delta[part].transpose(1, 2) @ a[part]).square().sum(dim=0)
    return total


def _table_squares(index: torch.Tensor, delta: torch.Tensor, d_in: int) -> torch.Tensor:
    """Return the same for an embedding: positions with equal index add up within a point."""
    own = torch.arange(len(index), device=index.device)[:, None] * d_in + index
    pairs, place = own.flatten().unique(return_inverse=True)
    sums = delta.new_zeros(len(pairs), delta.shape[2])
    sums.index_add_(0, place, delta.flatten(0, 1))
    table = delta.new_zeros(d_in, delta.shape[2])
    return table.index_add_(0, pairs % d_in, sums.square()).T


def _eigh(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return eigenvalues, at least 0, and eigenvectors of a covariance."""
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    return values.clamp(min=0.0), vectors
